//! The commands, one file each.

mod api;
mod api_keys;
mod apply;
mod bootstrap;
mod completions;
mod config;
mod deliveries;
mod doctor;
mod endpoints;
mod events;
mod features;
mod keys;
mod lanes;
mod migrate;
mod quarantine;
mod serve;
mod sources;
mod table;

pub(crate) use quarantine::Names;

use anyhow::{Context, bail};
use longshore_store::{Keys, Profile, Settings, Store};

use crate::cli::{Command, KeysCommand};
use crate::config::{Config, Faults, Inputs, load::load, validate};

/// Runs a command to its end.
///
/// # Errors
/// [`Faults`] when usage or configuration is wrong; anything else is a failure.
pub(crate) fn run(command: Command, inputs: &Inputs) -> anyhow::Result<()> {
    match command {
        Command::Serve(_) => serve::run(inputs),
        Command::Migrate(command) => block_on(migrate::run(&command, &load(inputs)?.config)),
        Command::Apply(args) => block_on(apply::run(&args, &load(inputs)?.config)),
        Command::Sources(args) => block_on(sources::run(&args, &load(inputs)?.config)),
        Command::Quarantine(command) => block_on(quarantine::run(command, load(inputs)?.config)),
        Command::Deliveries(command) => block_on(deliveries::run(&command, &load(inputs)?.config)),
        Command::Events(command) => block_on(events::run(&command, &load(inputs)?.config)),
        Command::Lanes(command) => block_on(lanes::run(&command, &load(inputs)?.config)),
        Command::Config(command) => config::run(&command, inputs),
        Command::Completions { shell } => {
            completions::run(shell);
            Ok(())
        }
        Command::Keys(KeysCommand::Generate) => {
            keys::generate();
            Ok(())
        }
        Command::Keys(KeysCommand::List(args)) => block_on(api_keys::list(&args, &load(inputs)?.config)),
        Command::Keys(KeysCommand::Create(args)) => block_on(api_keys::create(&args, &load(inputs)?.config)),
        Command::Keys(KeysCommand::Revoke(args)) => block_on(api_keys::revoke(&args, &load(inputs)?.config)),
        Command::Keys(command) => block_on(keys::run(&command, &load(inputs)?.config)),
        Command::Doctor(args) => block_on(doctor::run(&args, &load(inputs)?.config)),
        Command::Features(args) => block_on(features::run(&args, &load(inputs)?.config)),
        Command::Api(command) => api::run(&command),
        Command::Bootstrap(args) => block_on(bootstrap::run(&args, &load(inputs)?.config)),
        Command::Endpoints(command) => block_on(endpoints::run(&command, &load(inputs)?.config)),
    }
}

/// Runs a short command on this thread.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the event loop")?.block_on(Box::pin(command))
}

/// Opens the database as configured.
///
/// # Errors
/// [`Faults`] when a setting is missing, else what the database says.
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    validate::require(config, true)?;
    let missing = || Faults::one("security.master_key", "not set");
    let keys = config.security.keys()?.ok_or_else(missing)?;
    connect(config, keys, Profile::Hot).await
}

/// Opens the database on connections of its own, for the public API.
///
/// # Errors
/// As [`open_store`].
pub(crate) async fn open_control_store(config: &Config) -> anyhow::Result<Store> {
    let missing = || Faults::one("security.master_key", "not set");
    let keys = config.security.keys()?.ok_or_else(missing)?;
    connect(config, keys, Profile::Control).await
}

/// Opens the database without the master key, for commands that touch nothing sealed.
///
/// # Errors
/// As [`open_store`].
pub(crate) async fn open_schema(config: &Config) -> anyhow::Result<Store> {
    validate::require(config, false)?;
    let keys = Keys::parse(NO_KEY).context("the placeholder key")?;
    connect(config, keys, Profile::Hot).await
}

/// Stands in where nothing is sealed or opened.
const NO_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

async fn connect(config: &Config, keys: Keys, profile: Profile) -> anyhow::Result<Store> {
    let missing = || Faults::one("database.url", "not set");
    let database = &config.database;
    let settings = Settings {
        url: database.url.clone().ok_or_else(missing)?,
        max_connections: match profile {
            Profile::Hot => database.max_connections.get(),
            Profile::Control => config.api.max_connections.get(),
        },
        connect_timeout: database.connect_timeout,
        statement_timeout: database.statement_timeout,
        lease: database.lease,
        profile,
    };
    longshore_store::connect(&settings, keys).await.context("cannot open the database")
}

/// An old schema is a reason not to start: the program would fail in the middle of its work.
///
/// # Errors
/// Migrations are pending; the sentence says what to do.
pub(crate) async fn require_schema(store: &Store) -> anyhow::Result<()> {
    let migrations = store.migrations().await.context("cannot read the schema's version")?;
    let pending = migrations.iter().filter(|migration| !migration.is_applied).count();
    if pending > 0 {
        bail!("the database lacks {pending} migrations; run `longshore migrate up`");
    }
    Ok(())
}

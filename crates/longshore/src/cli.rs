//! The command line: what can be asked for. What it does not do: any of it (`commands` does).

mod api;
mod bootstrap;
mod deliveries;
mod endpoints;
mod keys;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use longshore_core::quarantine::Reason;
use longshore_core::{LaneId, QuarantineId, duration};

use crate::config::Role;
use crate::config::load::{Flag, Inputs};

pub(crate) use api::{ApiCommand, DoctorArgs, FeaturesArgs};
pub(crate) use bootstrap::BootstrapArgs;
pub(crate) use deliveries::{DeliveriesCommand, EventsCommand, RetryArgs, TailArgs};
pub(crate) use endpoints::{EndpointsCommand, NamedEndpoint, RollArgs};
pub(crate) use keys::{CreateKeyArgs, KeyOwnerArgs, KeysCommand, ListKeysArgs, RevokeKeyArgs};

/// A webhooks gateway fed by message brokers.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, max_term_width = 100, propagate_version = false)]
#[command(after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage or configuration.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub(crate) struct SettingArgs {
    /// Configuration file (TOML). Every key and its default: `longshore config print`.
    #[arg(long, global = true, value_name = "FILE", env = "LONGSHORE_CONFIG")]
    config: Option<PathBuf>,
    /// Sets one key, e.g. `--set http.bind=127.0.0.1:8080`; beats file and environment. Repeatable.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Takes events in and delivers them, until told to stop.
    ///
    /// SIGTERM or SIGINT stops in order: no new work, then what is in progress is finished within
    /// `shutdown.drain`, then the rest is given back. A second signal stops at once.
    Serve(ServeArgs),
    /// Prepares the database.
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Makes the database's resources what a file says; repeating it changes nothing.
    ///
    /// Prints what it changes: `+` created, `~` changed, `-` deleted.
    Apply(ApplyArgs),
    /// Shows how the sources of every process are.
    ///
    /// Each consumer is a line: its state, what waits for it at the broker, what it has in hand, what it did. Reads the
    /// database, where the processes write it, so it works from any host. `?` behind a state: the process is gone.
    Sources(SourcesArgs),
    /// The endpoints of a project: shows them, pauses and activates them, rolls their secrets.
    #[command(subcommand)]
    Endpoints(EndpointsCommand),
    /// Deliveries: tries again what ended.
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// Events: shows them as they come.
    #[command(subcommand)]
    Events(EventsCommand),
    /// Messages that could become no event: looks at them, sends them again, discards them.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// What stopped in an ordered delivery: looks at it, tries it again, gives it up.
    #[command(subcommand)]
    Lanes(LanesCommand),
    /// Looks at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Looks at everything an installation stands on, and says what to do about what is wrong.
    ///
    /// Postgres and its settings, the schema, partitions, the clock, open files, and every declared source. Each is a line: `ok`,
    /// `warn` or `fail`. Fails when one of them does.
    Doctor(DoctorArgs),
    /// Lists features that are not done yet: how far they are, and where they are on.
    Features(FeaturesArgs),
    /// The public API.
    #[command(subcommand)]
    Api(ApiCommand),
    /// Prints a shell's completion script.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Makes an organisation with its first owner, and prints the owner's key: what the public API is used with.
    ///
    /// Safe to repeat: what is there is named, and nothing is made twice. Run it again for a further owner.
    Bootstrap(BootstrapArgs),
    /// API keys: lists, makes and revokes them. And the master key: shows its use, changes it.
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// What this process does (`runtime.role`).
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Where events are taken by HTTP (`http.bind`).
    #[arg(long, value_name = "ADDRESS")]
    http_bind: Option<String>,
    /// Where health and metrics are served (`ops.bind`).
    #[arg(long, value_name = "ADDRESS")]
    ops_bind: Option<String>,
}

/// `migrate …`
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Applies every pending migration. Safe to run twice and from several places at once.
    Up,
    /// Lists the migrations; fails when one is pending.
    Status,
}

/// `apply`
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The resources, in YAML or JSON; `-` for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Shows what would change and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Deletes what an earlier file declared and this one does not, within the projects of this file.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Writes without connecting to the sources that are new or changed.
    #[arg(long)]
    pub(crate) no_connect: bool,
}

/// `sources …`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SourcesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SourcesCommand>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `sources list`
#[derive(Debug, Subcommand)]
pub(crate) enum SourcesCommand {
    /// The same as without a subcommand.
    #[command(visible_alias = "status")]
    List(ListArgs),
}

/// How a list is printed.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `config …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says `ok`, or everything that is wrong.
    Check {
        /// Connects to Postgres and to each declared source as well.
        #[arg(long)]
        connect: bool,
    },
    /// Prints every key with its value and where the value comes from; secrets are hidden.
    Print,
}

/// `quarantine …`
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Lists messages, newest first, without their content.
    List(QuarantineListArgs),
    /// Shows one message: what is wrong with it, its headers and its body.
    Show {
        /// The message's id, as `list` prints it.
        #[arg(value_name = "ID")]
        id: QuarantineId,
        /// Writes the bytes of the body to standard output, and nothing else.
        #[arg(long)]
        raw: bool,
    },
    /// Makes events of messages after all, once what was wrong is put right.
    ///
    /// They are decoded with the source's configuration of today; deliveries go out by whatever process runs. A message
    /// becomes one event, however often it is replayed. What still is none stays, with the reason of today.
    Replay(QuarantineSelection),
    /// Deletes messages for good.
    Discard {
        #[command(flatten)]
        selection: QuarantineSelection,
        /// With `--all`: yes, delete all of them.
        #[arg(long)]
        yes: bool,
    },
}

/// `quarantine list`
#[derive(Debug, Args)]
pub(crate) struct QuarantineListArgs {
    #[command(flatten)]
    pub(crate) filter: QuarantineFilterArgs,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// Also those that became events meanwhile.
    #[arg(long)]
    pub(crate) replayed: bool,
    /// One JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which messages are meant: some by id, or all that pass the filter.
#[derive(Debug, Args)]
pub(crate) struct QuarantineSelection {
    /// Ids, as `list` prints them.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with_all = [
        "all", "project", "source", "reason", "newer_than", "older_than"
    ])]
    pub(crate) ids: Vec<QuarantineId>,
    /// All of them, or all that pass the filter.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: QuarantineFilterArgs,
}

/// Narrows down what is listed or meant.
#[derive(Debug, Default, Args)]
pub(crate) struct QuarantineFilterArgs {
    /// Of this project: its name or id.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// Of this source: its name or id.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// For this reason, e.g. `unknown_endpoint`.
    #[arg(long)]
    pub(crate) reason: Option<Reason>,
    /// Received within this time up to now, e.g. `2h`.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) newer_than: Option<Duration>,
    /// Received longer ago than this, e.g. `7d`.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) older_than: Option<Duration>,
}

/// `lanes …`
#[derive(Debug, Subcommand)]
pub(crate) enum LanesCommand {
    /// Lists deliveries that used up their attempts and wait for somebody: each is a line, with its lane.
    ///
    /// `blocked`: its lane waits for it. `parked`: its lane goes on without it.
    List(LanesListArgs),
    /// Tries what lanes stopped at again, with all attempts. What was parked comes out of order.
    Resume {
        #[command(flatten)]
        selection: LanesSelection,
    },
    /// Gives up what lanes stopped at, as discarded; the lanes go on with what is behind.
    Discard {
        #[command(flatten)]
        selection: LanesSelection,
    },
}

/// `lanes list`
#[derive(Debug, Args)]
pub(crate) struct LanesListArgs {
    /// Of this project: its name or id.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// One JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which lanes are meant.
#[derive(Debug, Args)]
pub(crate) struct LanesSelection {
    /// Lanes, as `list` prints them.
    #[arg(value_name = "LANE", required = true)]
    pub(crate) lanes: Vec<LaneId>,
}

impl Cli {
    /// What the configuration is read from, given the process's environment.
    pub(crate) fn inputs(&self, env: Vec<(String, String)>) -> Inputs {
        let set = self.settings.set.iter().map(|(key, value)| Flag {
            origin: format!("flag `--set {key}`"),
            key: key.clone(),
            value: value.clone(),
        });
        let mut flags: Vec<Flag> = set.collect();
        if let Command::Serve(args) = &self.command {
            flags.extend(args.flags());
        }
        Inputs { file: self.settings.config.clone(), env, flags }
    }
}

impl ServeArgs {
    fn flags(&self) -> impl Iterator<Item = Flag> {
        let role = self.role.map(|role| match role {
            Role::All => "all".to_owned(),
            Role::Data => "data".to_owned(),
            Role::Control => "control".to_owned(),
        });
        let named = [
            ("--role", "runtime.role", role),
            ("--http-bind", "http.bind", self.http_bind.clone()),
            ("--ops-bind", "ops.bind", self.ops_bind.clone()),
        ];
        named.into_iter().filter_map(|(flag, key, value)| {
            Some(Flag { origin: format!("flag `{flag}`"), key: key.to_owned(), value: value? })
        })
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected `section.key=value`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_become_settings() {
        let cli = Cli::parse_from([
            "longshore",
            "serve",
            "--set",
            "ops.bind=[::]:1",
            "--role",
            "data",
            "--http-bind",
            "[::]:2",
            "--config",
            "x",
        ]);

        let inputs = cli.inputs(Vec::new());

        let flags: Vec<_> =
            inputs.flags.iter().map(|flag| (flag.key.as_str(), flag.value.as_str())).collect();
        assert_eq!(flags, [("ops.bind", "[::]:1"), ("runtime.role", "data"), ("http.bind", "[::]:2")]);
        assert_eq!(inputs.file, Some(PathBuf::from("x")));
    }

    #[test]
    fn a_setting_needs_a_section_and_a_value() {
        for wrong in ["http.bind", "bind=1"] {
            assert!(
                Cli::try_parse_from(["longshore", "config", "print", "--set", wrong]).is_err(),
                "{wrong}"
            );
        }
    }
}

//! `longshore apply`: read, validate, compare, write, tell.

use std::fs;
use std::io::{Read, stdin};
use std::path::Path;

use anyhow::{Context, bail};
use longshore_core::{Clock, IdGenerator, Secret, SystemClock};
use longshore_store::admin::{ApplySession, Change};
use longshore_store::{ApiKeyHasher, ApiKeyText, Store};
use rand::rngs::{OsRng, StdRng};
use rand::{SeedableRng, TryRngCore};

use crate::apply::plan::{Plan, Supply, plan};
use crate::apply::read::read;
use crate::apply::show::show;
use crate::apply::wanted::{WantedProject, wanted};
use crate::cli::ApplyArgs;
use crate::commands::{open_store, require_schema};
use crate::config::Config;
use crate::failure::say;
use crate::sources::Broker;
use crate::sources::check::{Candidate, check};

/// Makes the database's resources what a file says.
pub(super) async fn run(args: &ApplyArgs, config: &Config) -> anyhow::Result<()> {
    let (text, name) = text(&args.file)?;
    let wanted = wanted(read(&text, &name)?, crate::egress::rules(config))?;
    let store = open_store(config).await?;
    require_schema(&store).await?;
    if !args.dry_run && !args.no_connect {
        // By a plan of its own: a broker that does not answer must not hold the lock.
        connect(
            &compare(&mut store.begin_apply().await.context("cannot begin")?, &store, &wanted, args).await?,
        )
        .await?;
    }
    let plan = compare_and_write(&store, &wanted, args).await?;
    store.close().await;
    say(&show(&plan, args.dry_run));
    if args.dry_run {
        return Ok(());
    }
    for (what, secret) in &plan.generated {
        say(&format!("generated {what}, shown only now: {}", secret.expose()));
    }
    Ok(())
}

async fn compare_and_write(
    store: &Store,
    wanted: &[WantedProject],
    args: &ApplyArgs,
) -> anyhow::Result<Plan> {
    let mut session = store.begin_apply().await.context("cannot begin")?;
    let plan = compare(&mut session, store, wanted, args).await?;
    if args.dry_run || plan.changes.is_empty() {
        return Ok(plan);
    }
    session.write(&plan.changes).await.context("nothing was changed")?;
    session.commit().await.context("cannot commit; apply again to be sure")?;
    Ok(plan)
}

async fn compare(
    session: &mut ApplySession,
    store: &Store,
    wanted: &[WantedProject],
    args: &ApplyArgs,
) -> anyhow::Result<Plan> {
    let mut supply = FreshSupply::new(store.api_key_hasher().await.context("cannot hash API keys")?);
    let mut stored = Vec::with_capacity(wanted.len());
    for project in wanted {
        stored.push(session.load(&project.name).await.context("cannot load what is stored")?);
    }
    Ok(plan(wanted, &stored, args.prune, &mut supply)?)
}

/// Connects to every source that is new or changed and is to run.
async fn connect(plan: &Plan) -> anyhow::Result<()> {
    // The brokers' clients that speak TLS ask for it; see `runtime::serve`.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let candidates = plan.changes.iter().filter_map(|change| match change {
        Change::PutSource(_, source) if !source.spec.is_disabled => Some(Candidate {
            name: format!("source `{}`", source.spec.name),
            broker: Broker::parse(&source.spec.kind, Some(source.spec.settings.expose())),
        }),
        _ => None,
    });
    let checked = check(candidates.collect()).await;
    let problems: Vec<String> = checked
        .iter()
        .filter(|checked| checked.outcome.is_err())
        .map(|checked| format!("\n  - {}", checked.lines()))
        .collect();
    if !problems.is_empty() {
        let problems = problems.concat();
        bail!(
            "nothing was changed: not every source can be used; put it right, or pass `--no-connect`:{problems}"
        );
    }
    for checked in checked.iter().filter(|checked| checked.outcome.as_ref().is_ok_and(|it| !it.is_empty())) {
        say(&checked.lines());
    }
    Ok(())
}

fn text(file: &Path) -> anyhow::Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok((text, "standard input".to_owned()));
    }
    let name = file.display().to_string();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{name}`"))?;
    if text.trim().is_empty() {
        bail!("`{name}` is empty; expected `projects:`");
    }
    Ok((text, name))
}

/// Ids and keys from the operating system's randomness.
struct FreshSupply {
    hasher: ApiKeyHasher,
    ids: IdGenerator,
    rng: StdRng,
}

impl FreshSupply {
    fn new(hasher: ApiKeyHasher) -> Self {
        let mut seed = OsRng.unwrap_err();
        let ids = IdGenerator::new(SystemClock.now(), StdRng::from_rng(&mut seed));
        Self { hasher, ids, rng: StdRng::from_rng(&mut seed) }
    }
}

impl Supply for FreshSupply {
    fn id(&mut self) -> u128 {
        self.ids.next(SystemClock.now())
    }

    fn endpoint_secret(&mut self) -> Secret<String> {
        Secret::new(longshore_core::signature::SigningKey::generate(&mut self.rng))
    }

    fn api_key(&mut self) -> Secret<String> {
        Secret::new(ApiKeyText::generate(&mut self.rng).expose().to_owned())
    }

    fn hash(&self, key: &str) -> Vec<u8> {
        self.hasher.hash(key).to_vec()
    }
}

//! `longshore doctor`: everything an installation stands on, looked at from this host, with what to do about what is wrong.
//!
//! What it does not do: change anything, or ask running processes. Invariant: it goes on past what is wrong, as far as the rest
//! can be looked at, so that one run tells everything.

mod findings;
mod postgres;

use anyhow::bail;
use longshore_pipeline::dispatch::egress::{ConnectionBudget, raise_open_files};
use longshore_store::Store;

use crate::cli::DoctorArgs;
use crate::commands::{config::stored_in, open_store};
use crate::config::Config;
use crate::sources::check::{Candidate, check};

use findings::{Findings, Level};

/// Looks at everything.
pub(super) async fn run(args: &DoctorArgs, config: &Config) -> anyhow::Result<()> {
    // The brokers' clients that speak TLS ask for it; see `runtime::serve`.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut findings = Findings::new(args.json);
    open_files(&mut findings, config);
    let in_file = config.sources.iter().map(|source| Candidate {
        name: format!("source `{}` (configuration file)", source.name),
        broker: source.broker(),
    });
    let mut candidates: Vec<Candidate> = in_file.collect();
    match open_store(config).await {
        Ok(store) => {
            candidates.extend(database(&mut findings, config, &store).await);
            store.close().await;
        }
        Err(problem) => {
            let advice = "check `database.url` and `security.master_key`, and that Postgres runs and lets this host in";
            findings.add(Level::Fail, "postgres", &format!("{problem:#}"), advice);
        }
    }
    if !args.no_connect {
        sources(&mut findings, candidates).await;
    }
    match findings.failed() {
        0 => Ok(()),
        failed => bail!(
            "{failed} of what this installation stands on is not as it must be; see the lines that begin with `fail`"
        ),
    }
}

/// The database, and the sources that are declared there.
async fn database(findings: &mut Findings, config: &Config, store: &Store) -> Vec<Candidate> {
    match store.checkup().await {
        Ok(checkup) => postgres::look(findings, config, &checkup),
        Err(error) => {
            let advice = "let the user of `database.url` read `pg_stat_activity` and `pg_settings`";
            findings.add(Level::Fail, "postgres", &error.to_string(), advice);
        }
    }
    if !postgres::schema(findings, store).await {
        return Vec::new();
    }
    postgres::partitions(findings, config, store).await;
    postgres::leader(findings, store).await;
    match stored_in(store).await {
        Ok(candidates) => candidates,
        Err(problem) => {
            let advice =
                "the row named cannot be read: declare it anew, or give the master key it was sealed with";
            findings.add(Level::Fail, "resources", &format!("{problem:#}"), advice);
            Vec::new()
        }
    }
}

async fn sources(findings: &mut Findings, candidates: Vec<Candidate>) {
    for checked in check(candidates).await {
        match &checked.outcome {
            Ok(warnings) if warnings.is_empty() => findings.ok(&checked.name, "reachable"),
            Ok(warnings) => {
                findings.add(
                    Level::Warn,
                    &checked.name,
                    &warnings.join("; "),
                    "see the source's settings in docs/sources.md",
                );
            }
            Err(problem) => {
                let advice = "check its settings, its credentials, and that the broker lets this host in";
                findings.add(Level::Fail, &checked.name, problem, advice);
            }
        }
    }
}

fn open_files(findings: &mut Findings, config: &Config) {
    let limit = raise_open_files();
    let others = config.http.max_in_flight.get() + config.database.max_connections.get() as usize;
    let budget = ConnectionBudget::of(limit, config.dispatch.max_in_flight.get(), others);
    let said = if limit == u64::MAX { "no limit".to_owned() } else { format!("{limit} at most") };
    let Some(wanted) = budget.wanted else { return findings.ok("open files", &said) };
    let advice = format!(
        "raise the hard limit to {wanted} or more (`LimitNOFILE=`, `ulimit -Hn`), or lower `dispatch.max_in_flight` and \
         `http.max_in_flight`"
    );
    findings.add(Level::Warn, "open files", &said, &advice);
}

//! `longshore sources`: how the sources of every process are, as the processes wrote it last.

use std::fmt::Write;
use std::time::Duration;

use longshore_core::duration;
use longshore_store::{SourceStatusFilter, StoredSourceStatus};
use serde_json::{Value, json};

use crate::cli::{SourcesArgs, SourcesCommand};
use crate::commands::{open_schema, require_schema};
use crate::config::Config;
use crate::failure::say;

/// Lists.
pub(super) async fn run(args: &SourcesArgs, config: &Config) -> anyhow::Result<()> {
    let args = match &args.command {
        Some(SourcesCommand::List(list)) => list,
        None => &args.list,
    };
    let store = open_schema(config).await?;
    require_schema(&store).await?;
    let found = store.source_status(SourceStatusFilter::default()).await?;
    store.close().await;
    if args.json {
        let lines: Vec<Value> = found.iter().map(as_json).collect();
        say(&serde_json::to_string_pretty(&lines)?);
    } else if found.is_empty() {
        say("no source is running; a process writes here once it has sources");
    } else {
        say(table(&found).trim_end());
    }
    Ok(())
}

/// The process is named by its host, and by the end of its id, which differs between processes of one host.
fn process(found: &StoredSourceStatus) -> String {
    let id = found.process.to_string();
    let end = id.get(id.len().saturating_sub(4)..).unwrap_or_default();
    format!("{}/{end}", if found.hostname.is_empty() { "?" } else { &found.hostname })
}

/// What a process that died said last is not how things are.
fn state(found: &StoredSourceStatus) -> String {
    let state = &found.status.report.state;
    if found.is_alive { state.clone() } else { format!("{state}?") }
}

fn as_json(found: &StoredSourceStatus) -> Value {
    let status = &found.status;
    let report = &status.report;
    let seconds = |age: Option<Duration>| age.map(|age| age.as_secs_f64());
    json!({
        "project": status.project.to_string(),
        "source": status.source.to_string(),
        "name": status.name,
        "kind": status.kind,
        "process": found.process.to_string(),
        "hostname": found.hostname,
        "is_alive": found.is_alive,
        "worker": status.worker,
        "state": report.state,
        "problem": report.problem,
        "warnings": report.warnings,
        "lag": report.lag,
        "in_flight": report.in_flight,
        "oldest_in_flight_seconds": seconds(report.oldest_in_flight),
        "last_progress_seconds": seconds(report.last_progress),
        "received": report.received,
        "stored": report.stored,
        "duplicate": report.duplicate,
        "redelivered": report.redelivered,
        "quarantined": report.quarantined,
        "returned": report.returned,
        "reconnects": report.reconnects,
        "updated_at": found.updated_at.to_string(),
    })
}

const HEAD: [&str; 12] = [
    "SOURCE",
    "KIND",
    "CONSUMER",
    "STATE",
    "LAG",
    "IN FLIGHT",
    "OLDEST",
    "PROGRESS",
    "RECEIVED",
    "STORED",
    "QUARANTINED",
    "RETURNED",
];

fn table(found: &[StoredSourceStatus]) -> String {
    let rows: Vec<[String; 12]> = found.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 12] = std::array::from_fn(width);
    let mut out = String::new();
    let mut line = |cells: &[String; 12], notes: &[String]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let cells = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", cells.trim_end());
        for note in notes {
            let _ = writeln!(out, "  {note}");
        }
    };
    line(&HEAD.map(str::to_owned), &[]);
    for (row, found) in rows.iter().zip(found) {
        let report = &found.status.report;
        let problem = report.problem.iter().map(|problem| format!("problem: {problem}"));
        let warnings = report.warnings.iter().map(|warning| format!("warning: {warning}"));
        line(row, &problem.chain(warnings).collect::<Vec<_>>());
    }
    out
}

fn row(found: &StoredSourceStatus) -> [String; 12] {
    let status = &found.status;
    let report = &status.report;
    let age = |age: Option<Duration>| {
        // To the second: nobody reads more.
        age.map_or_else(|| "-".to_owned(), |age| duration::format(Duration::from_secs(age.as_secs())))
    };
    [
        status.name.clone(),
        status.kind.clone(),
        format!("{}#{}", process(found), status.worker),
        state(found),
        report.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
        report.in_flight.to_string(),
        age(report.oldest_in_flight),
        age(report.last_progress),
        report.received.to_string(),
        report.stored.to_string(),
        report.quarantined.to_string(),
        report.returned.to_string(),
    ]
}

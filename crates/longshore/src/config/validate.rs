//! What types cannot say about a configuration.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::fault::{Fault, Faults};
use super::{Config, SmtpTls};

/// Everything that is wrong with a configuration that has been read.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut check = |is_right: bool, path: &str, problem: &str| {
        if !is_right {
            faults.push(Fault::new(path, problem));
        }
    };
    if let Some(url) = &config.database.url {
        let scheme = Url::parse(url.expose()).ok().map(|url| url.scheme().to_owned());
        let is_postgres = matches!(scheme.as_deref(), Some("postgres" | "postgresql"));
        check(
            is_postgres,
            "database.url",
            "not a Postgres URL; expected `postgres://user:password@host:5432/name`",
        );
    }
    let second = Duration::from_secs(1);
    check(config.database.lease >= second, "database.lease", "too short; expected 1s or more");
    check(config.database.lease <= 300 * second, "database.lease", "too long; expected 5m or less");
    check(!config.database.connect_timeout.is_zero(), "database.connect_timeout", "must not be zero");
    check(!config.database.statement_timeout.is_zero(), "database.statement_timeout", "must not be zero");
    check(!config.api.request_deadline.is_zero(), "api.request_deadline", "must not be zero");
    check(!config.http.request_deadline.is_zero(), "http.request_deadline", "must not be zero");
    check(config.http.max_in_flight_bytes.bytes() > 0, "http.max_in_flight_bytes", "must not be zero");
    check(config.http.batch_bytes.bytes() > 0, "http.batch_bytes", "must not be zero");
    let is_held_within = config.ingest.hold < config.http.request_deadline;
    check(is_held_within, "ingest.hold", "not shorter than `http.request_deadline`");
    check(
        config.ingest.batch_events.get() <= 10_000,
        "ingest.batch_events",
        "too many; expected at most 10000",
    );
    let is_share = |share: f64| (0.01..=0.9).contains(&share);
    check(is_share(config.dispatch.slow_share), "dispatch.slow_share", "expected 0.01 to 0.9");
    check(is_share(config.dispatch.retry_share), "dispatch.retry_share", "expected 0.01 to 0.9");
    check(config.dispatch.max_queued_bytes.bytes() > 0, "dispatch.max_queued_bytes", "must not be zero");
    check(!config.dispatch.poll.is_zero(), "dispatch.poll", "must not be zero");
    check(!config.dispatch.connect_timeout.is_zero(), "dispatch.connect_timeout", "must not be zero");
    let is_ordered = config.dispatch.dns_min_ttl <= config.dispatch.dns_max_ttl;
    check(is_ordered, "dispatch.dns_min_ttl", "longer than `dispatch.dns_max_ttl`");
    let is_agent = config.dispatch.user_agent.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    check(is_agent, "dispatch.user_agent", "expected visible ASCII characters");
    for (index, text) in config.security.egress_ips.iter().enumerate() {
        let is_place = text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
        let path = format!("security.egress_ips[{index}]");
        check(is_place, &path, "expected an address or a network in CIDR notation");
    }
    let smtp = &config.smtp;
    if !smtp.host.is_empty() {
        check(
            smtp.from.parse::<lettre::message::Mailbox>().is_ok(),
            "smtp.from",
            "not an address; expected e.g. `Longshore <alerts@example.com>`",
        );
        let is_here = smtp.host == "localhost"
            || smtp.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        check(
            smtp.tls != SmtpTls::None || is_here,
            "smtp.tls",
            "`none` is for a server on this machine; expected `starttls` or `tls`",
        );
        check(
            smtp.username.is_some() || smtp.password.is_none(),
            "smtp.username",
            "missing, though there is a password",
        );
    }
    check(config.retention.events >= 86_400 * second, "retention.events", "too short; expected 1d or more");
    check(
        config.retention.quarantine >= 86_400 * second,
        "retention.quarantine",
        "too short; expected 1d or more",
    );
    check(
        (1..=90).contains(&config.retention.partitions_ahead_days),
        "retention.partitions_ahead_days",
        "expected 1 to 90",
    );
    check(!config.shutdown.hard.is_zero(), "shutdown.hard", "must not be zero");
    check(
        config.http.bind != config.ops.bind || config.ops.bind.port() == 0,
        "ops.bind",
        "the same as `http.bind`",
    );
    check(
        EnvFilter::try_new(&config.log.filter).is_ok(),
        "log.filter",
        "not a filter; e.g. `info,longshore=debug`",
    );
    if let Err(problem) = config.api.limit() {
        faults.push(Fault::new("api.rate_limit", problem.to_string()));
    }
    faults.extend(config.features.switches().err().into_iter().flat_map(|faults| faults.0));
    faults.extend(config.security.keys().err().into_iter().flat_map(|faults| faults.0));
    faults.extend(source_faults(config));
    faults
}

fn source_faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    for (index, source) in config.sources.iter().enumerate() {
        let path = |key: &str| format!("sources[{index}].{key}");
        if source.name.is_empty() {
            faults.push(Fault::new(path("name"), "must not be empty"));
        }
        if !names.insert((&source.project, &source.name)) {
            let problem = format!("the project has another source `{}`", source.name);
            faults.push(Fault::new(path("name"), problem));
        }
        if !(1..=64).contains(&source.workers) {
            faults.push(Fault::new(path("workers"), "expected 1 to 64"));
        }
        if let Err(problem) = source.broker() {
            faults.push(Fault::new(path(&source.kind), problem));
        }
    }
    faults
}

/// What a process that opens the database cannot do without.
///
/// # Errors
/// One fault for each missing setting.
pub(crate) fn require(config: &Config, with_master_key: bool) -> Result<(), Faults> {
    let mut faults = Vec::new();
    let mut require = |is_there: bool, key: &str, hint: &str| {
        if !is_there {
            let variable = format!("LONGSHORE__{}", key.to_ascii_uppercase().replace('.', "__"));
            faults.push(Fault::new(key, format!("not set; give `{key}_file`, or `{variable}`{hint}")));
        }
    };
    require(config.database.url.is_some(), "database.url", "");
    let hint = "; `longshore keys generate` makes one";
    require(config.security.master_key.is_some() || !with_master_key, "security.master_key", hint);
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}

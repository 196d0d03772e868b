//! The configuration of a process: what keys exist and what they mean to the program.
//!
//! `config/defaults.toml` documents each key for people. What this module does not do: read anything
//! ([`load`] does). Invariants: every struct refuses unknown keys; a secret never prints, in whatever way the
//! configuration is shown; a loaded [`Config`] is valid.

pub(crate) mod fault;
pub(crate) mod load;
pub(crate) mod nearest;
pub(crate) mod print;
pub(crate) mod redact;
mod secret_file;
mod source;
mod units;
pub(crate) mod validate;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;
use longshore_core::features::{FeatureSwitches, UnknownFeature};
use longshore_core::rate::RateError;
use longshore_core::{RateLimit, Secret};
use longshore_store::Keys;
use serde::{Deserialize, Serialize, Serializer};

pub(crate) use fault::{Fault, Faults};
pub(crate) use load::Inputs;
pub(crate) use secret_file::read_secret_file;
pub(crate) use source::SourceConfig;
pub(crate) use units::ByteSize;

/// What stands for a secret wherever the configuration is shown.
pub(crate) const REDACTED: &str = "[redacted]";

/// What is said of a text that is no master key. It never shows the text.
const NO_MASTER_KEY: &str = "not 32 bytes in base64; make one with `longshore keys generate`";

/// Everything that can be configured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) database: Database,
    pub(crate) security: Security,
    pub(crate) http: Http,
    pub(crate) api: Api,
    pub(crate) features: Features,
    pub(crate) ops: Ops,
    pub(crate) ingest: Ingest,
    pub(crate) dispatch: Dispatch,
    pub(crate) smtp: Smtp,
    pub(crate) retention: Retention,
    pub(crate) shutdown: Shutdown,
    pub(crate) log: Log,
    pub(crate) runtime: Runtime,
    #[serde(default)]
    pub(crate) sources: Vec<SourceConfig>,
}

/// `[database]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    /// Present in a loaded configuration only when it was given, in whatever way.
    #[serde(default, serialize_with = "redacted")]
    pub(crate) url: Option<Secret<String>>,
    #[serde(default)]
    pub(crate) url_file: Option<String>,
    pub(crate) max_connections: NonZeroU32,
    #[serde(with = "longshore_core::duration")]
    pub(crate) connect_timeout: Duration,
    #[serde(with = "longshore_core::duration")]
    pub(crate) statement_timeout: Duration,
    #[serde(with = "longshore_core::duration")]
    pub(crate) lease: Duration,
}

/// `[security]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Security {
    #[serde(default, serialize_with = "redacted")]
    pub(crate) master_key: Option<Secret<String>>,
    #[serde(default)]
    pub(crate) master_key_file: Option<String>,
    /// Those that only open what they sealed.
    #[serde(serialize_with = "redacted_each")]
    pub(crate) previous_master_keys: Vec<Secret<String>>,
    pub(crate) previous_master_keys_files: Vec<String>,
    pub(crate) allow_http_endpoints: bool,
    pub(crate) allowed_networks: Vec<IpNet>,
    pub(crate) project_networks: Vec<IpNet>,
    pub(crate) allowed_ports: Vec<u16>,
    pub(crate) egress_ips: Vec<String>,
}

/// `[http]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) bind: SocketAddr,
    pub(crate) max_in_flight: NonZeroUsize,
    pub(crate) max_in_flight_bytes: ByteSize,
    #[serde(with = "longshore_core::duration")]
    pub(crate) request_deadline: Duration,
    pub(crate) batch_items: NonZeroUsize,
    pub(crate) batch_bytes: ByteSize,
}

/// `[api]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    pub(crate) max_connections: NonZeroU32,
    #[serde(with = "longshore_core::duration")]
    pub(crate) request_deadline: Duration,
    pub(crate) public_url: String,
    /// Empty for the newest.
    pub(crate) default_version: String,
    /// Zero for no limit.
    pub(crate) rate_limit: u32,
    #[serde(with = "longshore_core::duration")]
    pub(crate) rate_limit_per: Duration,
}

/// `[features]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Features {
    pub(crate) enabled: Vec<String>,
    pub(crate) disabled: Vec<String>,
}

/// `[ops]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ops {
    pub(crate) bind: SocketAddr,
}

/// `[ingest]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ingest {
    pub(crate) batch_events: NonZeroUsize,
    #[serde(with = "longshore_core::duration")]
    pub(crate) hold: Duration,
}

/// `[dispatch]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dispatch {
    pub(crate) max_in_flight: NonZeroUsize,
    pub(crate) slow_share: f64,
    pub(crate) retry_share: f64,
    pub(crate) max_queued: NonZeroUsize,
    pub(crate) max_queued_bytes: ByteSize,
    #[serde(with = "longshore_core::duration")]
    pub(crate) poll: Duration,
    pub(crate) response_bytes: ByteSize,
    pub(crate) user_agent: String,
    #[serde(with = "longshore_core::duration")]
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_per_host: NonZeroUsize,
    pub(crate) dns_servers: Vec<SocketAddr>,
    #[serde(with = "longshore_core::duration")]
    pub(crate) dns_min_ttl: Duration,
    #[serde(with = "longshore_core::duration")]
    pub(crate) dns_max_ttl: Duration,
    #[serde(with = "longshore_core::duration")]
    pub(crate) dns_negative_ttl: Duration,
}

/// `[smtp]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Smtp {
    /// Empty: nobody is mailed.
    pub(crate) host: String,
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) username: Option<String>,
    #[serde(default, serialize_with = "redacted")]
    pub(crate) password: Option<Secret<String>>,
    #[serde(default)]
    pub(crate) password_file: Option<String>,
    pub(crate) from: String,
    pub(crate) tls: SmtpTls,
}

/// How the SMTP server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SmtpTls {
    /// In the clear at first, then TLS, or not at all.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// In the clear: to this machine only.
    None,
}

/// `[retention]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retention {
    #[serde(with = "longshore_core::duration")]
    pub(crate) events: Duration,
    #[serde(with = "longshore_core::duration")]
    pub(crate) quarantine: Duration,
    pub(crate) partitions_ahead_days: u16,
}

/// `[shutdown]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shutdown {
    #[serde(with = "longshore_core::duration")]
    pub(crate) drain: Duration,
    #[serde(with = "longshore_core::duration")]
    pub(crate) hard: Duration,
}

/// `[log]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    Pretty,
    Json,
}

/// `[runtime]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runtime {
    pub(crate) role: Role,
    pub(crate) worker_threads: usize,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Everything.
    All,
    /// Ingest and deliver.
    Data,
    /// Partitions, retention and whatever else is not on the hot path.
    Control,
}

impl Security {
    /// The keys that seal and open; `None` without a master key.
    ///
    /// # Errors
    /// [`Faults`] names each key that is none.
    pub(crate) fn keys(&self) -> Result<Option<Keys>, Faults> {
        let Some(master) = &self.master_key else { return Ok(None) };
        let previous = self.previous_master_keys.iter().enumerate();
        let previous = previous.map(|(index, key)| (format!("security.previous_master_keys[{index}]"), key));
        let mut keys: Option<Keys> = None;
        let mut faults = Vec::new();
        for (path, key) in std::iter::once(("security.master_key".to_owned(), master)).chain(previous) {
            let with_it = match keys.clone() {
                None => Keys::parse(key.expose()),
                Some(keys) => keys.and_previous(key.expose()),
            };
            match with_it {
                Ok(with_it) => keys = Some(with_it),
                Err(_) => faults.push(Fault::new(path, NO_MASTER_KEY)),
            }
        }
        if faults.is_empty() { Ok(keys) } else { Err(Faults(faults)) }
    }
}

impl Features {
    /// What the installation decided.
    ///
    /// # Errors
    /// [`Faults`] names each entry that is no feature.
    pub(crate) fn switches(&self) -> Result<FeatureSwitches, Faults> {
        let mut faults = Vec::new();
        let mut read = |key: &str, names: &[String]| {
            let mut features = Vec::new();
            for (index, name) in names.iter().enumerate() {
                match name.parse() {
                    Ok(feature) => features.push(feature),
                    Err(problem) => {
                        let problem: UnknownFeature = problem;
                        faults.push(Fault::new(format!("features.{key}[{index}]"), problem.to_string()));
                    }
                }
            }
            features
        };
        let switches = FeatureSwitches::new(read("enabled", &self.enabled), read("disabled", &self.disabled));
        if faults.is_empty() { Ok(switches) } else { Err(Faults(faults)) }
    }
}

impl Api {
    /// The version for those who name none, as its date.
    pub(crate) fn version(&self) -> &str {
        if self.default_version.is_empty() { longshore_api::v1::NEWEST } else { &self.default_version }
    }

    /// Requests of one key; `None` for no limit.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn limit(&self) -> Result<Option<RateLimit>, RateError> {
        match self.rate_limit {
            0 => Ok(None),
            count => RateLimit::new(count, self.rate_limit_per).map(Some),
        }
    }
}

impl Role {
    pub(crate) const fn has_data(self) -> bool {
        matches!(self, Self::All | Self::Data)
    }

    pub(crate) const fn has_control(self) -> bool {
        matches!(self, Self::All | Self::Control)
    }
}

fn redacted<S: Serializer>(secret: &Option<Secret<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => serializer.serialize_some(REDACTED),
        None => serializer.serialize_none(),
    }
}

fn redacted_each<S: Serializer>(secrets: &[Secret<String>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(|_| REDACTED))
}

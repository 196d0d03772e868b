//! The settings of a Kafka source. Parsing and validation are pure; nothing here talks to a broker.
//!
//! `brokers`, `topic_name`, `consumer_group_id` and `auth` are named as in the public v1 contract.

mod auth;
mod span;

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_source::Context;
use regex::Regex;
use serde::Deserialize;

pub use self::auth::{Auth, AuthType, Hash, OauthBearer, Tls};
use crate::error::ConfigError;
use crate::properties;

/// The settings of a Kafka source. Everything but `brokers` and a topic is optional.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Addresses to start from, as `host:port`; the cluster names the others.
    pub brokers: Vec<String>,
    /// The topic to read.
    pub topic_name: Option<String>,
    /// More topics to read.
    pub topics: Vec<String>,
    /// A regular expression; every topic whose whole name matches is read, new ones included. Instead of names.
    pub topic_pattern: Option<String>,
    /// The consumer group; by default `longshore-` and the source's name. Who shares it shares the messages.
    pub consumer_group_id: Option<String>,
    /// Who we are; by default nobody in particular.
    pub auth: Option<Auth>,
    /// Certificates; present means TLS, with or without `auth`.
    pub tls: Option<Tls>,
    /// `classic` (the default), or `consumer`: the group protocol of KIP-848, from Kafka 4.0.
    pub group_protocol: GroupProtocol,
    /// How a classic group shares its partitions; by default `cooperative-sticky`. One group, one way.
    pub assignment: Option<Assignment>,
    /// Makes this a static member (KIP-345): a restart within the session timeout moves no partition. The host's
    /// name and the worker's number are appended, so that the members of a fleet differ.
    pub group_instance_id: Option<String>,
    /// How long a classic member may be silent before its partitions go to others; by default 45 s.
    #[serde(deserialize_with = "span::optional")]
    pub session_timeout: Option<Duration>,
    /// How long this process may be stopped before it leaves the group by itself; by default 5 min.
    #[serde(deserialize_with = "span::required")]
    pub max_poll_interval: Duration,
    /// Where to start when the group has no position, or has one that is gone.
    pub offset_reset: OffsetReset,
    /// Whether records of open and aborted transactions are read.
    pub isolation: Isolation,
    /// What becomes of records without a value.
    pub tombstones: Tombstones,
    /// How many messages may be unsettled at once, 1 to 1,000,000.
    pub max_in_flight: u32,
    /// How many bytes of them, at least 1024; a single larger message is still taken.
    pub max_in_flight_bytes: u64,
    /// How often positions are committed while messages flow; by default 1 s.
    #[serde(deserialize_with = "span::required")]
    pub commit_interval: Duration,
    /// How often topics and partitions are looked up, and hence how soon new ones are read; by default 10 s.
    #[serde(deserialize_with = "span::required")]
    pub metadata_refresh: Duration,
    /// A partition that has messages and yields none for this long has the consumer built anew; by default 60 s.
    #[serde(deserialize_with = "span::required")]
    pub stall_timeout: Duration,
    /// What brokers call this client in their logs and quotas; by default `longshore-` and the source's name.
    pub client_id: Option<String>,
    /// Our rack or zone: a replica that is near is read from (KIP-392), where brokers are set up for it.
    pub rack: Option<String>,
    /// Further settings of librdkafka, by its names. Those that Longshore's promises rest on are refused.
    pub properties: BTreeMap<String, String>,
}

/// The protocol by which a group shares its partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// Members share by `assignment`.
    #[default]
    Classic,
    /// The broker shares (KIP-848).
    Consumer,
}

/// How a classic group shares its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// Few partitions move, and the others go on meanwhile.
    CooperativeSticky,
    /// Neighbours to one member; everything stops meanwhile.
    Range,
    /// In turn; everything stops meanwhile.
    #[serde(rename = "roundrobin")]
    RoundRobin,
}

impl Assignment {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }
}

/// Where to start without a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OffsetReset {
    /// At the first record that is left.
    #[default]
    Earliest,
    /// After the last record: what was published before is never read.
    Latest,
    /// Nowhere: the source ends and says what to do.
    Error,
}

/// Which records are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Only those of committed transactions, and those of none.
    #[default]
    ReadCommitted,
    /// All, those of aborted transactions included.
    ReadUncommitted,
}

/// What becomes of records without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tombstones {
    /// Handed on as tombstones, for the quarantine.
    #[default]
    Quarantine,
    /// Passed over.
    Skip,
    /// Handed on as tombstones, to become events with an empty body.
    Event,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            topic_name: None,
            topics: Vec::new(),
            topic_pattern: None,
            consumer_group_id: None,
            auth: None,
            tls: None,
            group_protocol: GroupProtocol::default(),
            assignment: None,
            group_instance_id: None,
            session_timeout: None,
            max_poll_interval: Duration::from_secs(300),
            offset_reset: OffsetReset::default(),
            isolation: Isolation::default(),
            tombstones: Tombstones::default(),
            max_in_flight: 5_000,
            max_in_flight_bytes: 64 * 1024 * 1024,
            commit_interval: Duration::from_secs(1),
            metadata_refresh: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            client_id: None,
            rack: None,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// Whether the settings can work, without asking the broker.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_address()?;
        self.validate_group()?;
        self.validate_limits()?;
        if let Some(auth) = &self.auth {
            auth.validate()?;
        }
        if let Some(tls) = &self.tls {
            tls.validate()?;
        }
        properties::validate(self)
    }

    /// Every topic that is named.
    pub(crate) fn named_topics(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.topic_name.iter().chain(&self.topics).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What to subscribe to, as librdkafka wants it: names, or a pattern that begins with `^`.
    pub(crate) fn subscription(&self) -> Vec<String> {
        match &self.topic_pattern {
            Some(pattern) => vec![format!("^({})$", pattern.trim_start_matches('^').trim_end_matches('$'))],
            None => self.named_topics().into_iter().map(str::to_owned).collect(),
        }
    }

    /// The group's name for a source of that name.
    pub(crate) fn group(&self, context: &Context) -> String {
        self.consumer_group_id.clone().unwrap_or_else(|| format!("longshore-{}", context.name))
    }

    fn validate_address(&self) -> Result<(), ConfigError> {
        if self.brokers.is_empty() {
            return Err(ConfigError::new("brokers", "is empty; name at least one broker as `host:port`"));
        }
        for broker in &self.brokers {
            let port = broker.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(_))) if !host.is_empty() && !host.contains(['/', ',', ' '])) {
                return Err(ConfigError::new(
                    "brokers",
                    format!("holds `{broker}`, which is not `host:port`"),
                ));
            }
        }
        let names = self.named_topics();
        match &self.topic_pattern {
            None if names.is_empty() => {
                return Err(ConfigError::new(
                    "topic_name",
                    "is missing; give it, or `topics`, or `topic_pattern`",
                ));
            }
            Some(_) if !names.is_empty() => {
                return Err(ConfigError::new(
                    "topic_pattern",
                    "is given beside topic names; give one of them",
                ));
            }
            Some(pattern) if pattern.is_empty() || Regex::new(pattern).is_err() => {
                return Err(ConfigError::new("topic_pattern", "is not a regular expression"));
            }
            _ => {}
        }
        for name in names {
            // The rule of Kafka itself: org.apache.kafka.common.internals.Topic.
            let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
            if name.is_empty() || name.len() > 249 || !name.chars().all(legal) || matches!(name, "." | "..") {
                let field = if self.topic_name.as_deref() == Some(name) { "topic_name" } else { "topics" };
                let problem = format!(
                    "holds `{name}`: a topic's name has 1 to 249 of the characters a-z A-Z 0-9 . _ -"
                );
                return Err(ConfigError::new(field, problem));
            }
        }
        Ok(())
    }

    fn validate_group(&self) -> Result<(), ConfigError> {
        if self.consumer_group_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            let problem = "is blank: every source without a name for its group would be in the same one; name it, \
                           or leave it out";
            return Err(ConfigError::new("consumer_group_id", problem));
        }
        if self.group_instance_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            return Err(ConfigError::new("group_instance_id", "is blank; name it, or leave it out"));
        }
        if self.group_protocol == GroupProtocol::Consumer {
            let problem = "is the broker's business with `group_protocol = \"consumer\"`; leave it out";
            if self.session_timeout.is_some() {
                return Err(ConfigError::new("session_timeout", problem));
            }
            if self.assignment.is_some() {
                return Err(ConfigError::new("assignment", problem));
            }
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        if !(1..=1_000_000).contains(&self.max_in_flight) {
            return Err(ConfigError::new("max_in_flight", "must be 1 to 1000000"));
        }
        if self.max_in_flight_bytes < 1024 {
            return Err(ConfigError::new("max_in_flight_bytes", "must be at least 1024"));
        }
        let within = |field, value: Duration, least: u64, most: u64| {
            if (Duration::from_millis(least)..=Duration::from_millis(most)).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::new(field, format!("must be {least} ms to {most} ms")))
        };
        if let Some(session) = self.session_timeout {
            within("session_timeout", session, 1_000, 3_600_000)?;
            if session > self.max_poll_interval {
                return Err(ConfigError::new("session_timeout", "must not be above `max_poll_interval`"));
            }
        }
        within("max_poll_interval", self.max_poll_interval, 5_000, 86_400_000)?;
        within("commit_interval", self.commit_interval, 10, 60_000)?;
        within("metadata_refresh", self.metadata_refresh, 100, 3_600_000)?;
        within("stall_timeout", self.stall_timeout, 1_000, 86_400_000)
    }
}

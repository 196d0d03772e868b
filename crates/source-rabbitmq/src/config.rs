//! The settings of a RabbitMQ source. Parsing and validation are pure; nothing here talks to a broker.
//!
//! The connection is given either by `urls`, or by the separate fields of the public v1 contract (`schema`,
//! `host`, `port`, `vhost`, `auth`), whose names are kept as they are there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_source::Secret;
use serde::{Deserialize, Deserializer};

use crate::error::ConfigError;
use crate::redact::AmqpUrl;

/// The settings of a RabbitMQ source. Everything but `queue` and an address is optional.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RabbitMqConfig {
    /// AMQP URIs of the cluster's nodes, tried in turn; instead of `schema`, `host`, `hosts`, `port`, `vhost`
    /// and `auth`. A vhost in a URI is percent-encoded; none, or an empty one, is `/`.
    pub urls: Vec<AmqpUrl>,
    /// `amqp` (the default) or `amqps`.
    pub schema: Option<Schema>,
    /// A node's host name or address.
    pub host: Option<String>,
    /// More nodes of the same cluster, as `host` or `host:port`, tried in turn.
    pub hosts: Vec<String>,
    /// The port as a number or as text; by default 5672, with TLS 5671.
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
    /// The virtual host, not encoded; by default `/`.
    pub vhost: Option<String>,
    /// Who we are; by default `guest`.
    pub auth: Option<Auth>,
    /// The queue to consume. It must exist, unless `declare` is given.
    pub queue: String,
    /// With `declare`: the exchange to bind the queue to.
    #[serde(rename = "bindExchange", alias = "bind_exchange")]
    pub bind_exchange: Option<BindExchange>,
    /// With `declare`: the queue's dead-letter exchange (argument `x-dead-letter-exchange`).
    #[serde(rename = "deadLetterExchange", alias = "dead_letter_exchange")]
    pub dead_letter_exchange: Option<String>,
    /// Declares the queue with exactly these arguments. Without it the queue is only looked up, never changed.
    pub declare: Option<Declare>,
    /// How many messages may be unacknowledged at once, 1 to 65535.
    pub prefetch: u16,
    /// Seconds between heartbeats; a connection that is silent for two of them is given up. At least 1.
    pub heartbeat: u16,
    /// The consumer's name at the broker; by default the broker makes one up.
    pub consumer_tag: Option<String>,
    /// Arguments of the subscription, e.g. `x-priority`; for a stream `x-stream-offset` (`first`, `last`, `next`,
    /// an offset, or an age such as `1h`).
    pub consumer_arguments: BTreeMap<String, Argument>,
    /// Certificates for `amqps`.
    pub tls: Option<Tls>,
}

/// The protocol, plain or inside TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Plain TCP.
    #[default]
    Amqp,
    /// TLS.
    Amqps,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The user's name.
    pub user: String,
    /// The password.
    #[serde(default)]
    pub password: Secret,
}

/// Where to bind a declared queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BindExchange {
    /// The exchange, which must exist; empty means no binding.
    pub exchange: String,
    /// The routing key; may be empty.
    #[serde(rename = "routingKey", alias = "routing_key")]
    pub routing_key: String,
}

/// How to declare the queue.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Declare {
    /// Whether the queue survives a restart of the broker. Quorum queues and streams always do.
    pub durable: bool,
    /// The kind of queue (argument `x-queue-type`); by default what the vhost says.
    #[serde(rename = "type")]
    pub kind: Option<QueueType>,
    /// Further arguments, e.g. `x-max-length`.
    pub arguments: BTreeMap<String, Argument>,
}

impl Default for Declare {
    fn default() -> Self {
        Self { durable: true, kind: None, arguments: BTreeMap::new() }
    }
}

/// The kind of queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// One node, not replicated.
    Classic,
    /// Replicated; counts deliveries.
    Quorum,
    /// A log; messages stay and are read by offset.
    Stream,
}

impl QueueType {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
            Self::Stream => "stream",
        }
    }
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    /// A truth value.
    Bool(bool),
    /// A signed 64-bit number.
    Integer(i64),
    /// Text.
    Text(String),
}

/// Certificates for `amqps`, all PEM unless said otherwise. They are read anew at each connection, so a renewed
/// certificate needs no restart. The broker's certificate is always verified, host name included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificate authorities to trust in addition to the public ones.
    pub ca_file: Option<PathBuf>,
    /// Our certificate chain, with `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// The private key of `client_cert_file`, not encrypted.
    pub client_key_file: Option<PathBuf>,
    /// Our certificate and key as PKCS#12 (DER), instead of the two files above.
    pub client_pkcs12_file: Option<PathBuf>,
    /// The password of `client_pkcs12_file`.
    pub client_pkcs12_password: Secret,
}

impl Default for RabbitMqConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            schema: None,
            host: None,
            hosts: Vec::new(),
            port: None,
            vhost: None,
            auth: None,
            queue: String::new(),
            bind_exchange: None,
            dead_letter_exchange: None,
            declare: None,
            prefetch: 1000,
            heartbeat: 15,
            consumer_tag: None,
            consumer_arguments: BTreeMap::new(),
            tls: None,
        }
    }
}

impl RabbitMqConfig {
    /// Whether the settings can work, without asking the broker.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.queue.is_empty() {
            return Err(ConfigError::new("queue", "is empty; name the queue to consume"));
        }
        if self.queue.len() > 255 {
            return Err(ConfigError::new("queue", "is longer than AMQP's 255 bytes"));
        }
        if self.prefetch == 0 {
            return Err(ConfigError::new("prefetch", "is 0, which AMQP reads as no limit; use 1 to 65535"));
        }
        if self.heartbeat == 0 {
            return Err(ConfigError::new(
                "heartbeat",
                "is 0, which turns heartbeats off; use at least 1 (seconds)",
            ));
        }
        self.validate_declare()?;
        self.validate_tls()?;
        crate::address::addresses(self).map(|_| ())
    }

    /// Whether the queue is known to be a stream before anything was read from it.
    pub(crate) fn is_stream(&self) -> bool {
        self.consumer_arguments.contains_key("x-stream-offset")
            || self.declare.as_ref().is_some_and(|declare| declare.kind == Some(QueueType::Stream))
    }

    fn validate_declare(&self) -> Result<(), ConfigError> {
        let Some(declare) = &self.declare else { return Ok(()) };
        if declare.kind.is_some() && declare.arguments.contains_key("x-queue-type") {
            return Err(ConfigError::new(
                "declare.arguments",
                "holds `x-queue-type` beside `declare.type`; give one",
            ));
        }
        if self.dead_letter_exchange.is_some() && declare.arguments.contains_key("x-dead-letter-exchange") {
            let problem = "holds `x-dead-letter-exchange` beside `deadLetterExchange`; give one";
            return Err(ConfigError::new("declare.arguments", problem));
        }
        if !declare.durable && matches!(declare.kind, Some(QueueType::Quorum | QueueType::Stream)) {
            return Err(ConfigError::new(
                "declare.durable",
                "is false, but quorum queues and streams are durable",
            ));
        }
        Ok(())
    }

    fn validate_tls(&self) -> Result<(), ConfigError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        if tls.client_cert_file.is_some() != tls.client_key_file.is_some() {
            return Err(ConfigError::new(
                "tls.client_key_file",
                "and `tls.client_cert_file` belong together; give both",
            ));
        }
        if tls.client_pkcs12_file.is_some() && tls.client_cert_file.is_some() {
            return Err(ConfigError::new(
                "tls.client_pkcs12_file",
                "is given beside `tls.client_cert_file`; give one",
            ));
        }
        Ok(())
    }
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Port {
        Number(u16),
        Text(String),
    }
    match Option::<Port>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Port::Number(port)) => Ok(Some(port)),
        Some(Port::Text(text)) if text.is_empty() => Ok(None),
        Some(Port::Text(text)) => {
            text.parse().map(Some).map_err(|_| serde::de::Error::custom("`port` is not a number up to 65535"))
        }
    }
}

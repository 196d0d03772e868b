//! From the settings to librdkafka's own. Its reference is CONFIGURATION.md of librdkafka 2.12.

use std::path::Path;

use longshore_source::Context;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::config::{Assignment, AuthType, GroupProtocol, Hash, Isolation, KafkaConfig, OffsetReset};
use crate::error::ConfigError;

/// How often librdkafka reports its statistics, from which lag comes.
pub(crate) const STATISTICS_MS: u64 = 1_000;

/// How often a member asks whether the group moves, at most.
const HEARTBEAT_MS: u128 = 1_000;

/// What librdkafka may keep fetched and not handed to us, in kilobytes: at least this much, for throughput.
const QUEUE_LEAST_KB: u64 = 1_024;
const QUEUE_MOST_KB: u64 = 16_384;

/// Settings that our promises rest on, and what to use instead.
const REFUSED: [(&str, &str); 26] = [
    ("enable.auto.commit", "positions are committed after the messages are stored"),
    ("auto.commit.interval.ms", "use `commit_interval`"),
    ("enable.auto.offset.store", "positions are committed after the messages are stored"),
    ("auto.offset.reset", "use `offset_reset`"),
    ("offset.store.method", "positions are kept at the broker"),
    ("enable.partition.eof", "it is not used"),
    ("bootstrap.servers", "use `brokers`"),
    ("metadata.broker.list", "use `brokers`"),
    ("group.id", "use `consumer_group_id`"),
    ("group.instance.id", "use `group_instance_id`"),
    ("group.protocol", "use `group_protocol`"),
    ("partition.assignment.strategy", "use `assignment`"),
    ("session.timeout.ms", "use `session_timeout`"),
    ("max.poll.interval.ms", "use `max_poll_interval`"),
    ("isolation.level", "use `isolation`"),
    ("security.protocol", "use `tls` and `auth`"),
    ("sasl.mechanism", "use `auth.type`"),
    ("sasl.mechanisms", "use `auth.type`"),
    ("sasl.username", "use `auth.username`"),
    ("sasl.password", "use `auth.password`"),
    ("sasl.oauthbearer.method", "use `auth.oauthbearer`"),
    ("statistics.interval.ms", "it is what lag comes from"),
    ("topic.metadata.refresh.interval.ms", "use `metadata_refresh`"),
    ("debug", "it is what a re-created topic is recognised by"),
    ("log_level", "it is what a re-created topic is recognised by"),
    ("check.crcs", "records are always checked"),
];

pub(crate) fn validate(config: &KafkaConfig) -> Result<(), ConfigError> {
    for (refused, instead) in REFUSED {
        if config.properties.contains_key(refused) {
            return Err(ConfigError::new("properties", format!("holds `{refused}`: {instead}")));
        }
    }
    let context = Context::new("kafka", "check");
    match client(config, &context).create_native_config() {
        Err(KafkaError::ClientConfig(_, problem, key, _)) => {
            Err(ConfigError::new("properties", format!("`{key}`: {problem}")))
        }
        _ => Ok(()),
    }
}

/// What a consumer is built from.
pub(crate) fn client(config: &KafkaConfig, context: &Context) -> ClientConfig {
    let mut client = ClientConfig::new();
    // Before ours, which win.
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    let ms = |span: std::time::Duration| span.as_millis().to_string();
    let named = || format!("longshore-{}", context.name);
    let queue_kb = (config.max_in_flight_bytes / 1024).clamp(QUEUE_LEAST_KB, QUEUE_MOST_KB);
    let isolation = match config.isolation {
        Isolation::ReadCommitted => "read_committed",
        Isolation::ReadUncommitted => "read_uncommitted",
    };
    let reset = match config.offset_reset {
        OffsetReset::Earliest => "earliest",
        OffsetReset::Latest => "latest",
        OffsetReset::Error => "error",
    };
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", config.client_id.clone().unwrap_or_else(named))
        .set("client.software.name", "longshore")
        .set("group.id", config.group(context))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", reset)
        .set("isolation.level", isolation)
        .set("check.crcs", "true")
        .set("max.poll.interval.ms", ms(config.max_poll_interval))
        .set("topic.metadata.refresh.interval.ms", ms(config.metadata_refresh))
        .set("statistics.interval.ms", STATISTICS_MS.to_string())
        // The only place where librdkafka says that a topic is another one under the same name; see `events`.
        .set("debug", "topic")
        .set_log_level(RDKafkaLogLevel::Debug);
    let mut unless_given = |name: &str, value: String| {
        if !config.properties.contains_key(name) {
            client.set(name, value);
        }
    };
    unless_given("queued.max.messages.kbytes", queue_kb.to_string());
    // Its default, a second, is a second without messages whenever the queue was full.
    unless_given("fetch.queue.backoff.ms", "20".to_owned());
    unless_given("socket.keepalive.enable", "true".to_owned());
    unless_given("reconnect.backoff.max.ms", "5000".to_owned());
    // A topic that is gone is noticed, and so is one that has come back.
    unless_given("topic.metadata.propagation.max.ms", "5000".to_owned());
    set_group(&mut client, config, context);
    set_security(&mut client, config);
    if let Some(rack) = &config.rack {
        client.set("client.rack", rack);
    }
    client
}

fn set_group(client: &mut ClientConfig, config: &KafkaConfig, context: &Context) {
    match config.group_protocol {
        GroupProtocol::Consumer => {
            client.set("group.protocol", "consumer");
        }
        GroupProtocol::Classic => {
            let assignment = config.assignment.unwrap_or(Assignment::CooperativeSticky);
            client.set("group.protocol", "classic").set("partition.assignment.strategy", assignment.as_str());
            if let Some(session) = config.session_timeout {
                client.set("session.timeout.ms", session.as_millis().to_string());
            }
            // A third of a session, as librdkafka and brokers advise, and a second at most: a member learns of a
            // rebalance by its next heartbeat, and everybody waits until the last one has.
            let heartbeat = config.session_timeout.map_or(HEARTBEAT_MS, |session| session.as_millis() / 3);
            if !config.properties.contains_key("heartbeat.interval.ms") {
                client.set("heartbeat.interval.ms", heartbeat.clamp(1, HEARTBEAT_MS).to_string());
            }
        }
    }
    if let Some(id) = &config.group_instance_id {
        client.set("group.instance.id", format!("{id}-{}-{}", host(), context.worker));
    }
}

/// This machine's name, which is the pod's in Kubernetes: stable there for a StatefulSet, new with each pod of a
/// Deployment, whose static members then simply come and go.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

fn set_security(client: &mut ClientConfig, config: &KafkaConfig) {
    let tls = config.tls.as_ref().filter(|tls| tls.enabled);
    let secure = tls.is_some() || config.auth.as_ref().is_some_and(|auth| auth.tls);
    let protocol = match (&config.auth, secure) {
        (None, false) => "plaintext",
        (None, true) => "ssl",
        (Some(_), false) => "sasl_plaintext",
        (Some(_), true) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(auth) = &config.auth {
        let mechanism = match (auth.kind, auth.hash) {
            (AuthType::Plain, _) => "PLAIN",
            (AuthType::Scram, Hash::Sha256) => "SCRAM-SHA-256",
            (AuthType::Scram, Hash::Sha512) => "SCRAM-SHA-512",
            (AuthType::OauthBearer, _) => "OAUTHBEARER",
        };
        client.set("sasl.mechanisms", mechanism);
        if auth.kind != AuthType::OauthBearer {
            client.set("sasl.username", &auth.username).set("sasl.password", auth.password.reveal());
        }
    }
    let Some(tls) = tls else { return };
    let path = |path: &Path| path.to_string_lossy().into_owned();
    if let Some(file) = &tls.ca_file {
        client.set("ssl.ca.location", path(file));
    }
    if let Some(file) = &tls.cert_file {
        client.set("ssl.certificate.location", path(file));
    }
    if let Some(file) = &tls.key_file {
        client.set("ssl.key.location", path(file));
    }
    if let Some(password) = &tls.key_password {
        client.set("ssl.key.password", password.reveal());
    }
}

//! The settings of a Pub/Sub source. Parsing and validation are pure; nothing here talks to the service.
//!
//! `project_id`, `subscription_id` and `service_account` have the names and meaning of the public v1 contract.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::account::ServiceAccount;
use crate::error::ConfigError;

/// Where the service is unless `endpoint` says otherwise.
const SERVICE: &str = "https://pubsub.googleapis.com";

/// The bytes of a stream's share: twice the largest message.
const LEAST_SHARE: u64 = 20_000_000;

/// The settings of a Pub/Sub source. Everything but `project_id` and `subscription_id` is optional.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PubSubConfig {
    /// The project of the subscription.
    pub project_id: String,
    /// The subscription's id within the project; a pull subscription, which must exist.
    pub subscription_id: String,
    /// The key of a service account: the JSON file's text, plain or in base64, or the object itself. Without it the
    /// machine's own credentials are used (workload identity, `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud`).
    #[serde(deserialize_with = "maybe_account")]
    pub service_account: Option<ServiceAccount>,
    /// A regional endpoint such as `europe-west1-pubsub.googleapis.com`, as exactly-once subscriptions need it.
    /// `http://host:port` is an emulator, without TLS and credentials, and so is what the variable
    /// `PUBSUB_EMULATOR_HOST` names while this is not given.
    pub endpoint: Option<String>,
    /// Streams that are open at once, 1 to 10. One carries some 10 MB/s. Fewer are opened where `max_in_flight_bytes`
    /// leaves one less than 20 MB.
    pub streams: u16,
    /// How many messages may be unsettled at once, 1 to 100,000; divided among the streams.
    pub max_in_flight: u32,
    /// How many bytes of messages may be unsettled at once; divided among the streams. The last message of each stream
    /// may go beyond by its own size (10 MB at most).
    pub max_in_flight_bytes: u64,
    /// Seconds for which a message is leased, and to which the lease is extended again and again while the message is
    /// worked on; 10 to 600. After a crash of ours its messages come back when this has passed.
    pub ack_deadline: u16,
    /// Seconds after which a message's lease is not extended any more, so that it is delivered again; at least
    /// `ack_deadline`.
    pub max_extension: u32,
}

impl Default for PubSubConfig {
    fn default() -> Self {
        Self {
            project_id: String::new(),
            subscription_id: String::new(),
            service_account: None,
            endpoint: None,
            streams: 2,
            max_in_flight: 1000,
            max_in_flight_bytes: 100 * 1024 * 1024,
            ack_deadline: 60,
            max_extension: 3600,
        }
    }
}

impl PubSubConfig {
    /// Whether the settings can work, without asking the service.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named("project_id", &self.project_id, "the project's id")?;
        named("subscription_id", &self.subscription_id, "the subscription's id alone, e.g. `orders`")?;
        if !(1..=10).contains(&self.streams) {
            return Err(ConfigError::new("streams", "is not 1 to 10"));
        }
        if !(1..=100_000).contains(&self.max_in_flight) {
            return Err(ConfigError::new("max_in_flight", "is not 1 to 100000"));
        }
        if self.max_in_flight_bytes == 0 {
            return Err(ConfigError::new("max_in_flight_bytes", "is 0, which lets nothing through"));
        }
        if !(10..=600).contains(&self.ack_deadline) {
            return Err(ConfigError::new(
                "ack_deadline",
                "is not 10 to 600 (seconds), which is what Pub/Sub takes",
            ));
        }
        if self.max_extension < self.ack_deadline.into() {
            return Err(ConfigError::new("max_extension", "is less than `ack_deadline`"));
        }
        self.place(None).map(|_| ())
    }

    /// The subscription's full name.
    pub(crate) fn subscription(&self) -> String {
        format!("projects/{}/subscriptions/{}", self.project_id, self.subscription_id)
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.ack_deadline.into())
    }

    /// Flow control per stream, messages and bytes: together never more than what may be in flight. Each stream may go
    /// beyond its share by a message, so where shares would be small there are fewer.
    pub(crate) fn shares(&self) -> Vec<(i64, i64)> {
        let roomy = u32::try_from(self.max_in_flight_bytes / LEAST_SHARE).unwrap_or(u32::MAX).max(1);
        let streams = u32::from(self.streams).min(self.max_in_flight).min(roomy);
        let bytes = (self.max_in_flight_bytes / u64::from(streams)).max(1);
        let share = |index| {
            let messages = self.max_in_flight / streams + u32::from(index < self.max_in_flight % streams);
            (i64::from(messages), i64::try_from(bytes).unwrap_or(i64::MAX))
        };
        (0..streams).map(share).collect()
    }

    /// Where to connect. `emulator` is what `PUBSUB_EMULATOR_HOST` holds.
    pub(crate) fn place(&self, emulator: Option<&str>) -> Result<Place, ConfigError> {
        let emulator = emulator.filter(|host| !host.is_empty());
        let url = match (self.endpoint.as_deref(), emulator) {
            (Some(given), _) if given.contains("://") => given.to_owned(),
            (Some(given), _) => format!("https://{given}"),
            (None, Some(host)) if host.contains("://") => host.to_owned(),
            (None, Some(host)) => format!("http://{host}"),
            (None, None) => SERVICE.to_owned(),
        };
        let wrong = || {
            ConfigError::new(
                "endpoint",
                "is not `host`, `host:port`, `https://host[:port]` or, for an emulator, `http://host:port`",
            )
        };
        let uri: http::Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let is_emulator = match uri.scheme_str() {
            Some("http") => true,
            Some("https") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?.to_owned();
        if uri.path() != "/" || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong());
        }
        Ok(Place { uri, host, is_emulator })
    }
}

/// Where the service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) uri: http::Uri,
    pub(crate) host: String,
    pub(crate) is_emulator: bool,
}

impl Place {
    /// Whether it is Google's endpoint for the whole world.
    pub(crate) fn is_global(&self) -> bool {
        self.host == "pubsub.googleapis.com"
    }
}

fn named(field: &'static str, name: &str, what: &str) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::new(field, format!("is empty; give {what}")));
    }
    // Ids are part of paths and headers; a domain's project is `example.com:project`.
    let fits = |char: char| char.is_ascii_alphanumeric() || "-_.~+%:".contains(char);
    if !name.chars().all(fits) || name.len() > 255 {
        return Err(ConfigError::new(field, format!("is no id; give {what}")));
    }
    Ok(())
}

fn maybe_account<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServiceAccount>, D::Error> {
    Option::<ServiceAccount>::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: Option<&str>, emulator: Option<&str>) -> Result<(String, bool), String> {
        let config = PubSubConfig { endpoint: endpoint.map(str::to_owned), ..PubSubConfig::default() };
        let place = config.place(emulator).map_err(|error| error.to_string())?;
        Ok((place.uri.to_string(), place.is_emulator))
    }

    #[test]
    fn the_endpoint_says_where_and_the_emulator_stands_in_for_none() {
        let at = |url: &str, emulator| Ok((url.to_owned(), emulator));
        assert_eq!(place(None, None), at("https://pubsub.googleapis.com/", false));
        assert_eq!(place(None, Some("")), at("https://pubsub.googleapis.com/", false));
        assert_eq!(place(None, Some("localhost:8085")), at("http://localhost:8085/", true));
        assert_eq!(place(Some("http://[::1]:1"), Some("localhost:8085")), at("http://[::1]:1/", true));
        let region = "europe-west1-pubsub.googleapis.com";
        assert_eq!(place(Some(region), None), at(&format!("https://{region}/"), false));
        for wrong in ["", "ftp://a", "https://a/b", "https://me:secret@a", "a b"] {
            let refused = place(Some(wrong), None).expect_err(wrong);
            assert!(refused.starts_with("`endpoint`") && !refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn the_streams_share_what_may_be_in_flight() {
        let shares = |streams, max_in_flight, max_in_flight_bytes| {
            PubSubConfig { streams, max_in_flight, max_in_flight_bytes, ..PubSubConfig::default() }.shares()
        };
        const MB: u64 = 1_000_000;
        assert_eq!(shares(3, 10, 90 * MB), [(4, 30_000_000), (3, 30_000_000), (3, 30_000_000)]);
        assert_eq!(shares(10, 2, 900 * MB), [(1, 450_000_000), (1, 450_000_000)]);
        // Three streams of ten megabytes each could hold three messages of as much beyond them.
        assert_eq!(shares(3, 10, 30 * MB), [(10, 30_000_000)]);
        assert_eq!(shares(3, 10, 1), [(10, 1)]);
    }
}

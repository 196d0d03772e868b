//! How an endpoint is served: limits and the form of its requests. Nothing in here is secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::HumanDuration;
use crate::rate::RateLimit;

const LONGEST_AGENT: usize = 200;
const MOST_BATCHED: u16 = 1_000;
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How an endpoint is served. Stored as JSON; absent keys take the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointSettings {
    /// Requests over the whole fleet; `None` for no limit.
    pub rate_limit: Option<RateLimit>,
    /// Whether the attempts at once follow latency and errors, below the fixed limit.
    pub adaptive_concurrency: bool,
    /// The form of the body.
    pub content_type: ContentType,
    /// Beats the installation's User-Agent; visible ASCII, at most 200 characters.
    pub user_agent: Option<String>,
    /// Whether events go out as CloudEvents, and how.
    pub cloudevents: Option<CloudEventsMode>,
    /// Whether several events share a request.
    pub batch: Option<BatchSettings>,
}

/// The form of the body. Words of the v1 contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentType {
    /// The event's own bytes.
    #[default]
    #[serde(rename = "application/json")]
    Json,
    /// The members of a JSON object as form fields.
    #[serde(rename = "application/x-www-form-urlencoded")]
    Form,
}

/// How an event becomes a CloudEvent (CloudEvents 1.0, HTTP binding, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudEventsMode {
    /// Attributes in `ce-` headers, the data as the body.
    Binary,
    /// One JSON object with attributes and data.
    Structured,
}

/// When a request with several events is sent: when it is full, or when its first event has waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSettings {
    /// Events per request at most, 2 to 1000.
    pub max_events: u16,
    /// How long the first event of a request waits for others, 1 ms to 60 s.
    pub max_wait: HumanDuration,
}

/// What is wrong with which setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct SettingsError {
    /// The setting, e.g. `batch.max_events`.
    pub field: &'static str,
    /// What is wrong, and what to write.
    pub problem: &'static str,
}

impl EndpointSettings {
    /// Events per request at most; 1 when they do not share requests.
    #[must_use]
    pub fn events_per_request(&self) -> u16 {
        self.batch.map_or(1, |batch| batch.max_events)
    }

    /// Whether the settings make sense, each and together.
    ///
    /// # Errors
    /// Every [`SettingsError`], in the order of the settings.
    pub fn validate(&self) -> Result<(), Vec<SettingsError>> {
        let mut errors = Vec::new();
        let mut fault = |field, problem| errors.push(SettingsError { field, problem });
        if let Some(agent) = &self.user_agent {
            let is_visible = agent.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            if agent.trim().is_empty() || agent.len() > LONGEST_AGENT || !is_visible {
                fault("user_agent", "write 1 to 200 visible ASCII characters, or leave it out");
            }
        }
        let is_form = self.content_type == ContentType::Form;
        if is_form && self.cloudevents.is_some() {
            fault("cloudevents", "a form cannot carry CloudEvents; use the content type `application/json`");
        }
        if let Some(batch) = &self.batch {
            if !(2..=MOST_BATCHED).contains(&batch.max_events) {
                fault("batch.max_events", "write 2 to 1000");
            }
            if !(Duration::from_millis(1)..=LONGEST_WAIT).contains(&batch.max_wait.0) {
                fault("batch.max_wait", "write a duration from `1ms` to `60s`");
            }
            if is_form {
                fault("batch", "a form holds one event; use the content type `application/json`");
            }
            if self.cloudevents == Some(CloudEventsMode::Binary) {
                fault("batch", "a binary CloudEvent is alone in its request; use `structured`");
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Vec<&'static str> {
        let settings: EndpointSettings = serde_json::from_str(json).unwrap();
        let errors = settings.validate().err().unwrap_or_default();
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn settings_are_validated_by_field() {
        let cases: [(&str, &[&str]); 9] = [
            ("{}", &[]),
            (r#"{"user_agent":"Acme/1"}"#, &[]),
            (r#"{"user_agent":"a\r\nb"}"#, &["user_agent"]),
            (r#"{"user_agent":" "}"#, &["user_agent"]),
            (r#"{"batch":{"max_events":2,"max_wait":"1ms"}}"#, &[]),
            (r#"{"batch":{"max_events":1,"max_wait":"61s"}}"#, &["batch.max_events", "batch.max_wait"]),
            (r#"{"batch":{"max_events":1001,"max_wait":"60s"}}"#, &["batch.max_events"]),
            (
                r#"{"content_type":"application/x-www-form-urlencoded","cloudevents":"structured"}"#,
                &["cloudevents"],
            ),
            (r#"{"cloudevents":"binary","batch":{"max_events":9,"max_wait":"1s"}}"#, &["batch"]),
        ];
        for (json, expected) in cases {
            assert_eq!(fields(json), expected, "{json}");
        }
    }
}

//! What a given `config` makes of a project's settings.

use std::time::Duration;

use http::HeaderName;
use longshore_core::duration::HumanDuration;
use longshore_core::project::ProjectSettings;
use longshore_core::rate::RateLimit;
use longshore_core::retry::RetrySchedule;
use longshore_core::{Clock, EventId, SystemClock};
use longshore_store::control::ProjectDraft;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::config::{CircuitBreakerConfig, ProjectConfig, RateLimitConfig, SignatureConfig, StrategyConfig};
use super::view;
use crate::v1::problem::Problem;

/// The longest delay of an exponential schedule, unless its first one is longer.
const CAP: Duration = Duration::from_secs(7_200);

impl ProjectConfig {
    /// Makes the draft what is given, and leaves the rest.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn apply(self, draft: &mut ProjectDraft, rng: &mut StdRng) -> Result<(), Problem> {
        let settings = &mut draft.settings;
        if let Some(bytes) = self.max_payload_read_size {
            let valid = usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
            settings.max_payload_bytes =
                valid.ok_or_else(|| Problem::invalid("config.max_payload_read_size", "must not be zero"))?;
        }
        if let Some(is_on) = self.add_event_id_trace_headers {
            settings.add_event_id_trace_headers = is_on;
        }
        if let Some(is_on) = self.disable_endpoint {
            settings.disable_endpoint = is_on;
        }
        if let Some(enforces) = self.ssl.and_then(|ssl| ssl.enforce_secure_endpoints) {
            settings.egress.allow_http = Some(!enforces);
        }
        if let Some(limit) = self.ratelimit {
            limit.apply(settings)?;
        }
        if let Some(strategy) = self.strategy {
            strategy.apply(settings)?;
        }
        if let Some(word) = self.event_types.filter(|word| !word.is_empty()) {
            settings.event_types = read_or("config.event_types", &word, "write `any`, `known` or `valid`")?;
        }
        if let Some(retry) = self.retry {
            settings.retry = read("config.retry", retry)?;
        }
        if let Some(policy) = self.retry_policy {
            settings.retry_policy = read("config.retry_policy", policy)?;
        }
        if let Some(name) = self.request_id_header.filter(|name| !name.is_empty()) {
            settings.idempotency_header = header("config.request_id_header", name)?;
        }
        if let Some(breaker) = &self.circuit_breaker {
            breaker.apply(settings)?;
        }
        let mut kept = [
            ("replay_attacks_prevention_enabled", self.replay_attacks_prevention_enabled.map(Value::from)),
            ("multiple_endpoint_subscriptions", self.multiple_endpoint_subscriptions.map(Value::from)),
            ("verify_dynamic_events", self.verify_dynamic_events.map(Value::from)),
            ("allow_unmatched_dynamic_urls", self.allow_unmatched_dynamic_urls.map(Value::from)),
            ("search_policy", self.search_policy.map(Value::from)),
            ("sample_rate", self.circuit_breaker.and_then(|breaker| breaker.sample_rate).map(Value::from)),
            ("signature_versions", None),
        ];
        if let Some(signature) = self.signature {
            kept[6].1 = signature.apply(settings, rng)?;
        }
        if let Some(settings) = draft.contract_settings.as_object_mut() {
            settings.extend(kept.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        match self.meta_event {
            Some(meta) => meta.apply(draft, rng),
            None => Ok(()),
        }
    }
}

impl RateLimitConfig {
    fn apply(self, settings: &mut ProjectSettings) -> Result<(), Problem> {
        let before = settings.ingest_rate_limit;
        let count = self.count.or(before.map(RateLimit::count)).unwrap_or_default();
        let seconds = self.duration.map(Duration::from_secs).or(before.map(RateLimit::per));
        settings.ingest_rate_limit = match (count, seconds) {
            (0, _) => None,
            (_, None) => {
                return Err(Problem::invalid("config.ratelimit.duration", "is missing: write seconds"));
            }
            (count, Some(per)) => {
                let limit = RateLimit::new(count, per);
                Some(limit.map_err(|error| Problem::invalid("config.ratelimit", error))?)
            }
        };
        Ok(())
    }
}

impl StrategyConfig {
    fn apply(self, settings: &mut ProjectSettings) -> Result<(), Problem> {
        let shown = view::strategy(&settings.retry);
        let kind = self.r#type.filter(|text| !text.is_empty()).or(shown.r#type).unwrap_or_default();
        let delay = Duration::from_secs(self.duration.or(shown.duration).unwrap_or_default());
        let attempts = self.retry_count.or(shown.retry_count).unwrap_or_default();
        let schedule = match kind.as_str() {
            "linear" => RetrySchedule::linear(delay, attempts),
            "exponential" => RetrySchedule::exponential(delay, CAP.max(delay), attempts),
            _ => return Err(Problem::invalid("config.strategy.type", "write `linear` or `exponential`")),
        };
        settings.retry = schedule.map_err(|error| {
            let text = error.to_string();
            let field = if text.contains("attempts") { "retry_count" } else { "duration" };
            Problem::invalid(&format!("config.strategy.{field}"), text)
        })?;
        Ok(())
    }
}

impl SignatureConfig {
    /// What is to be kept of the versions.
    fn apply(self, settings: &mut ProjectSettings, rng: &mut StdRng) -> Result<Option<Value>, Problem> {
        if let Some(name) = self.header.filter(|name| !name.is_empty()) {
            settings.signature.header = header("config.signature.header", name)?;
        }
        let Some(versions) = self.versions.filter(|versions| !versions.is_empty()) else { return Ok(None) };
        let mut kept = Vec::with_capacity(versions.len());
        for (at, version) in versions.into_iter().enumerate() {
            let field = |name: &str| format!("config.signature.versions[{at}].{name}");
            let hash = version.hash.map(|text| text.to_ascii_uppercase());
            if let Some(hash) = &hash {
                settings.signature.hash = read_or(&field("hash"), hash, "write `SHA256` or `SHA512`")?;
            }
            if let Some(encoding) = version.encoding.map(|text| text.to_ascii_lowercase()) {
                settings.signature.encoding =
                    read_or(&field("encoding"), &encoding, "write `hex` or `base64`")?;
            }
            let uid = version.uid.filter(|uid| !uid.is_empty());
            kept.push(json!({
                "uid": uid.unwrap_or_else(|| EventId::from_u128(rng.random()).to_string()),
                "hash": settings.signature.hash,
                "encoding": settings.signature.encoding,
                "created_at": version.created_at.unwrap_or_else(|| SystemClock.now().to_string()),
            }));
        }
        Ok(Some(Value::Array(kept)))
    }
}

impl CircuitBreakerConfig {
    fn apply(&self, settings: &mut ProjectSettings) -> Result<(), Problem> {
        let breaker = &mut settings.circuit_breaker;
        let seconds = |seconds: u64| HumanDuration(Duration::from_secs(seconds));
        breaker.error_timeout = self.error_timeout.map_or(breaker.error_timeout, seconds);
        breaker.observability_window = self
            .observability_window
            .map_or(breaker.observability_window, |minutes| seconds(minutes.saturating_mul(60)));
        // What does not fit is out of range as well.
        let percent =
            |given: Option<u64>, before| given.map_or(before, |it| u8::try_from(it).unwrap_or(u8::MAX));
        breaker.failure_threshold = percent(self.failure_threshold, breaker.failure_threshold);
        breaker.success_threshold = percent(self.success_threshold, breaker.success_threshold);
        let count =
            |given: Option<u64>, before| given.map_or(before, |it| u32::try_from(it).unwrap_or(u32::MAX));
        breaker.minimum_request_count = count(self.minimum_request_count, breaker.minimum_request_count);
        breaker.consecutive_failure_threshold =
            count(self.consecutive_failure_threshold, breaker.consecutive_failure_threshold);
        match breaker.validate() {
            Ok(()) => Ok(()),
            Err(faults) => {
                let (field, problem) = faults.first().copied().unwrap_or(("", "is wrong"));
                Err(Problem::invalid(&format!("config.circuit_breaker.{field}"), problem))
            }
        }
    }
}

fn header(field: &str, name: String) -> Result<String, Problem> {
    match name.parse::<HeaderName>() {
        Ok(_) => Ok(name),
        Err(_) => Err(Problem::invalid(field, "is no name of a header")),
    }
}

fn read<T: serde::de::DeserializeOwned>(field: &str, value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::invalid(field, error))
}

fn read_or<T: serde::de::DeserializeOwned>(field: &str, text: &str, advice: &str) -> Result<T, Problem> {
    serde_json::from_value(Value::from(text)).map_err(|_| Problem::invalid(field, advice))
}

//! Figures as JSON: percentiles, rates, and the surroundings they were measured in.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::setup::Rig;

/// p50, p90, p99 and the worst, in milliseconds. `null` when there is nothing.
#[must_use]
pub fn percentiles(mut durations: Vec<Duration>) -> Value {
    durations.sort_unstable();
    let Some(worst) = durations.last().copied() else { return Value::Null };
    let at = |share: f64| {
        let rank = (share * durations.len() as f64).ceil() as usize;
        millis(durations[rank.clamp(1, durations.len()) - 1])
    };
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": millis(worst) })
}

/// Milliseconds with two decimals.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// Events per second.
#[must_use]
pub fn rate(events: usize, took: Duration) -> f64 {
    (events as f64 / took.as_secs_f64().max(1e-9)).round()
}

/// From just before each event was published to its arrival, of those that `include` names.
#[must_use]
pub fn end_to_end(
    sent: &[Instant],
    arrivals: &[Option<Instant>],
    include: impl Fn(usize) -> bool,
) -> Vec<Duration> {
    let both = sent.iter().zip(arrivals).enumerate();
    both.filter(|(n, _)| include(*n))
        .filter_map(|(_, (sent, arrived))| Some(arrived.as_ref()?.saturating_duration_since(*sent)))
        .collect()
}

/// What became of the events: none may be lost, none stored twice. `redelivered` webhooks have a `webhook-id` that
/// came before; at-least-once allows them after a crash.
pub async fn fates(rig: &Rig, published: usize) -> Value {
    let stored = rig.stored().await;
    let state = rig.sink.state();
    json!({
        "published": published,
        "stored": stored,
        "delivered": state.events,
        "lost": published.saturating_sub(state.events),
        "duplicated": usize::try_from(stored).unwrap_or(0).max(state.ids()).saturating_sub(published),
        "redelivered": state.webhooks - state.ids(),
    })
}

/// Joins objects into one.
#[must_use]
pub fn merge(parts: impl IntoIterator<Item = Value>) -> Value {
    let objects = parts.into_iter().filter_map(|part| match part {
        Value::Object(object) => Some(object),
        _ => None,
    });
    Value::Object(objects.flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let durations = (1..=100).map(Duration::from_millis).collect();

        assert_eq!(percentiles(durations), json!({ "p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0 }));
        assert_eq!(percentiles(vec![Duration::from_millis(7)])["p99"], 7.0);
        assert_eq!(percentiles(Vec::new()), Value::Null);
    }
}

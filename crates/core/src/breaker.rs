//! The circuit breaker of an endpoint as a pure state machine: what opens it, and what closes it again.
//!
//! Closed → open when enough of enough attempts in the window failed. Open → half-open when its time is over and something
//! waits: one process sends a few of the deliveries as probes. Half-open → closed when enough of them succeed, else open
//! once more. Who keeps opening without closing in between is switched off, where the project says so.
//!
//! Invariant: a breaker says nothing about a delivery; what it holds back waits, and no attempt is counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::AttemptOutcome;
use crate::duration::HumanDuration;

/// When deliveries to an endpoint that keeps failing are parked. Names and defaults are the v1 contract's, where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// How long an attempt counts; 10 s to 24 h.
    pub observability_window: HumanDuration,
    /// Attempts in the window below which nothing is decided; at least 1.
    pub minimum_request_count: u32,
    /// Percent of them that must have failed to open it; 1 to 100.
    pub failure_threshold: u8,
    /// How long it stays open; 1 s to 24 h.
    pub error_timeout: HumanDuration,
    /// Deliveries sent to find out whether the endpoint is back; 1 to 100.
    pub probes: u16,
    /// Percent of the probes that must succeed to close it; 1 to 100.
    pub success_threshold: u8,
    /// Times it opens without closing in between before the endpoint is switched off, where the project has
    /// `disable_endpoint`; at least 1.
    pub consecutive_failure_threshold: u32,
    /// How long after closing the endpoint's concurrency takes to grow back to its limit; up to 1 h.
    pub ramp: HumanDuration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            observability_window: HumanDuration(Duration::from_secs(300)),
            minimum_request_count: 10,
            failure_threshold: 70,
            error_timeout: HumanDuration(Duration::from_secs(30)),
            probes: 5,
            success_threshold: 5,
            consecutive_failure_threshold: 10,
            ramp: HumanDuration(Duration::from_secs(30)),
        }
    }
}

/// Whether deliveries are sent. Spelled as in the public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// They are.
    Closed,
    /// They are parked.
    Open,
    /// One process sends a few, everything else is parked.
    HalfOpen,
}

impl BreakerState {
    /// As stored and as the public API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// Reads [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::HalfOpen].into_iter().find(|state| state.as_str() == text)
    }
}

/// A change of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// It opens for so long: from closed for the first time, from half-open once more.
    Open(Duration),
    /// One process begins to probe and has so long to conclude.
    Probe(Duration),
    /// It closes.
    Close,
    /// It has opened too often: the endpoint is switched off.
    Disable,
}

impl Shift {
    /// The state that it leaves. A breaker of an endpoint that is switched off has nothing to hold back.
    #[must_use]
    pub const fn state(self) -> BreakerState {
        match self {
            Self::Open(_) => BreakerState::Open,
            Self::Probe(_) => BreakerState::HalfOpen,
            Self::Close | Self::Disable => BreakerState::Closed,
        }
    }
}

impl BreakerSettings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// Every setting that does not, and what to write.
    pub fn validate(&self) -> Result<(), Vec<(&'static str, &'static str)>> {
        let is_in = |value: HumanDuration, from, to| {
            (Duration::from_secs(from)..=Duration::from_secs(to)).contains(&value.0)
        };
        let is_percent = |value| (1..=100).contains(&value);
        let checks = [
            ("observability_window", is_in(self.observability_window, 10, 86_400), "write `10s` to `24h`"),
            ("minimum_request_count", self.minimum_request_count >= 1, "write 1 or more"),
            ("failure_threshold", is_percent(self.failure_threshold), "write a percentage, 1 to 100"),
            ("error_timeout", is_in(self.error_timeout, 1, 86_400), "write `1s` to `24h`"),
            ("probes", (1..=100).contains(&self.probes), "write 1 to 100"),
            ("success_threshold", is_percent(self.success_threshold), "write a percentage, 1 to 100"),
            ("consecutive_failure_threshold", self.consecutive_failure_threshold >= 1, "write 1 or more"),
            ("ramp", is_in(self.ramp, 0, 3_600), "write `0s` to `1h`"),
        ];
        let faults: Vec<_> = checks
            .into_iter()
            .filter(|(_, is_valid, _)| !is_valid)
            .map(|(field, _, text)| (field, text))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Whether so many failures are a share that opens it, however few there are. If it is for all processes together, it is
    /// for one of them: that one speaks up.
    #[must_use]
    pub fn is_suspicious(&self, requests: u32, failures: u32) -> bool {
        failures > 0 && u64::from(failures) * 100 >= u64::from(requests) * u64::from(self.failure_threshold)
    }

    /// What the counts of all processes do to a closed breaker.
    #[must_use]
    pub fn judge(&self, requests: u32, failures: u32) -> Option<Shift> {
        let is_enough = requests >= self.minimum_request_count;
        (is_enough && self.is_suspicious(requests, failures)).then_some(Shift::Open(self.error_timeout.0))
    }

    /// What the outcomes of probes do to a half-open breaker that has opened so often; `None` without any outcome.
    #[must_use]
    pub fn conclude(&self, probes: u32, failures: u32, trips: u32, may_disable: bool) -> Option<Shift> {
        if probes == 0 {
            return None;
        }
        let successes = u64::from(probes.saturating_sub(failures));
        Some(if successes * 100 >= u64::from(probes) * u64::from(self.success_threshold) {
            Shift::Close
        } else if may_disable && trips + 1 >= self.consecutive_failure_threshold {
            Shift::Disable
        } else {
            Shift::Open(self.error_timeout.0)
        })
    }

    /// Attempts at once that an endpoint may have so long after its breaker closed; `None` when there is no limit any more.
    #[must_use]
    pub fn ramped(&self, closed_for: Duration, most: usize) -> Option<usize> {
        if closed_for >= self.ramp.0 {
            return None;
        }
        let part = closed_for.as_secs_f64() / self.ramp.0.as_secs_f64();
        Some(1 + (most.saturating_sub(1) as f64 * part) as usize)
    }
}

/// Whether an attempt tells that the endpoint is sick; `None` when it tells nothing about it.
///
/// Every answer but a 2xx counts as in the v1 contract, a `404` like a `500`: whoever gives it to nearly everything takes
/// nothing in, and parked deliveries use up no attempts. But `429` asks for patience, which is given without a breaker, and
/// what we refused or were not able to send says nothing about who would have got it.
#[must_use]
pub const fn is_failure(outcome: &AttemptOutcome) -> Option<bool> {
    match outcome {
        AttemptOutcome::Blocked
        | AttemptOutcome::Unsendable
        | AttemptOutcome::Response { status: 429, .. } => None,
        outcome => Some(!outcome.is_success()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS_JSON: &str = r#"{"enabled":true,"observability_window":"5m","minimum_request_count":10,
        "failure_threshold":70,"error_timeout":"30s","probes":5,"success_threshold":5,
        "consecutive_failure_threshold":10,"ramp":"30s"}"#;

    #[test]
    fn settings_are_read_as_they_are_written_and_default_to_the_contracts() {
        let read: BreakerSettings = serde_json::from_str(SETTINGS_JSON).unwrap();

        assert_eq!(read, BreakerSettings::default());
        assert_eq!(serde_json::from_str::<BreakerSettings>("{}").unwrap(), read);
        assert_eq!(
            serde_json::from_str::<BreakerSettings>(&serde_json::to_string(&read).unwrap()).unwrap(),
            read
        );
        assert!(serde_json::from_str::<BreakerSettings>(r#"{"window":"5m"}"#).is_err());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let faults = |json: &str| {
            let settings: BreakerSettings = serde_json::from_str(json).unwrap();
            settings
                .validate()
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|(field, _)| field)
                .collect::<Vec<_>>()
        };

        assert!(faults("{}").is_empty());
        assert!(
            faults(r#"{"observability_window":"10s","error_timeout":"1s","ramp":"0s","probes":1}"#)
                .is_empty()
        );
        assert!(
            faults(r#"{"observability_window":"24h","error_timeout":"24h","ramp":"1h","probes":100}"#)
                .is_empty()
        );
        assert_eq!(
            faults(r#"{"observability_window":"9s","error_timeout":"0s","ramp":"61m","probes":0}"#),
            ["observability_window", "error_timeout", "probes", "ramp"]
        );
        assert_eq!(
            faults(
                r#"{"failure_threshold":101,"success_threshold":0,"minimum_request_count":0,
                "consecutive_failure_threshold":0}"#
            ),
            [
                "minimum_request_count",
                "failure_threshold",
                "success_threshold",
                "consecutive_failure_threshold"
            ]
        );
    }

    #[test]
    fn it_opens_at_enough_failures_of_enough_attempts() {
        let settings = BreakerSettings::default();
        let open = Some(Shift::Open(Duration::from_secs(30)));

        for (requests, failures, expected) in
            [(9, 9, None), (10, 6, None), (10, 7, open), (1_000, 699, None), (1_000, 700, open), (0, 0, None)]
        {
            assert_eq!(settings.judge(requests, failures), expected, "{failures} of {requests}");
        }
    }

    #[test]
    fn what_is_suspicious_in_all_is_suspicious_to_somebody() {
        let settings = BreakerSettings::default();

        for (a, b) in [((4, 1), (6, 6)), ((5, 0), (20, 18)), ((1, 1), (9, 6))] {
            assert!(settings.judge(a.0 + b.0, a.1 + b.1).is_some());
            assert!(settings.is_suspicious(a.0, a.1) || settings.is_suspicious(b.0, b.1));
        }
        assert!(!settings.is_suspicious(100, 1));
        assert!(!settings.is_suspicious(5, 0));
    }

    #[test]
    fn the_whole_walk() {
        let settings = BreakerSettings { consecutive_failure_threshold: 3, ..BreakerSettings::default() };
        let open = Shift::Open(Duration::from_secs(30));

        assert_eq!(settings.judge(10, 10), Some(open));
        assert_eq!(settings.conclude(0, 0, 1, true), None);
        assert_eq!(settings.conclude(5, 5, 1, true), Some(open));
        assert_eq!(settings.conclude(5, 5, 2, true), Some(Shift::Disable));
        assert_eq!(settings.conclude(5, 5, 2, false), Some(open));
        assert_eq!(settings.conclude(5, 4, 2, true), Some(Shift::Close));
        assert_eq!(settings.conclude(1, 0, 9, true), Some(Shift::Close));
        let strict = BreakerSettings { success_threshold: 60, ..settings };
        assert_eq!(strict.conclude(5, 3, 1, false), Some(open));
        assert_eq!(strict.conclude(5, 2, 1, false), Some(Shift::Close));
        assert_eq!(
            [open, Shift::Probe(Duration::ZERO), Shift::Close, Shift::Disable]
                .map(|shift| shift.state().as_str()),
            ["open", "half_open", "closed", "closed"]
        );
    }

    #[test]
    fn the_ramp_grows_from_one_to_the_limit() {
        let settings = BreakerSettings::default();
        let at = |seconds| settings.ramped(Duration::from_secs(seconds), 31);

        assert_eq!([at(0), at(1), at(15), at(29), at(30)], [Some(1), Some(2), Some(16), Some(30), None]);
        let none = BreakerSettings { ramp: HumanDuration(Duration::ZERO), ..settings };
        assert_eq!(none.ramped(Duration::ZERO, 31), None);
    }

    #[test]
    fn what_says_nothing_about_the_endpoint_does_not_count() {
        let answer = |status| AttemptOutcome::Response { status, retry_after: None };

        for (outcome, expected) in [
            (answer(204), Some(false)),
            (answer(302), Some(true)),
            (answer(404), Some(true)),
            (answer(429), None),
            (answer(503), Some(true)),
            (AttemptOutcome::Timeout, Some(true)),
            (AttemptOutcome::Dns, Some(true)),
            (AttemptOutcome::Authentication, Some(true)),
            (AttemptOutcome::Blocked, None),
            (AttemptOutcome::Unsendable, None),
        ] {
            assert_eq!(is_failure(&outcome), expected, "{outcome:?}");
        }
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
            assert_eq!(BreakerState::parse(state.as_str()), Some(state));
        }
        assert_eq!(BreakerState::parse("ajar"), None);
    }
}

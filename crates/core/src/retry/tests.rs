use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn answer(status: u16, retry_after: Option<u64>) -> AttemptOutcome {
    AttemptOutcome::Response { status, retry_after: retry_after.map(secs) }
}

fn schedule(document: serde_json::Value) -> RetrySchedule {
    serde_json::from_value(document).unwrap()
}

/// The delay until the retry that follows, `None` when there is none.
fn delay(schedule: &RetrySchedule, attempt: u16, outcome: &AttemptOutcome, seed: u64) -> Option<Duration> {
    match judge(schedule, attempt, outcome, NOW, &mut SmallRng::seed_from_u64(seed)) {
        Verdict::RetryAt(at) => Some(at.since(NOW)),
        Verdict::Exhausted => None,
        Verdict::Delivered => panic!("a failure is not delivered"),
    }
}

fn delays(schedule: &RetrySchedule) -> Vec<Duration> {
    (1..).map_while(|attempt| delay(schedule, attempt, &AttemptOutcome::Timeout, 0)).collect()
}

#[test]
fn each_type_has_its_delays() {
    let linear = schedule(json!({"type": "linear", "delay": "10s", "attempts": 3}));
    let exponential =
        schedule(json!({"type": "exponential", "delay": 30, "cap": "2m", "attempts": 6, "jitter": 0}));
    let list = schedule(json!({"type": "list", "delays": ["500ms", "1m", 7]}));

    assert_eq!(delays(&linear), [secs(10), secs(10)]);
    assert_eq!(delays(&exponential), [30, 60, 120, 120, 120].map(secs));
    assert_eq!(delays(&list), [Duration::from_millis(500), secs(60), secs(7)]);
    assert_eq!((linear.attempts(), exponential.attempts(), list.attempts()), (3, 6, 4));
}

#[test]
fn the_default_is_ten_attempts_over_three_days() {
    let default = RetrySchedule::default();

    assert_eq!(delays(&default), [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map(secs));
    assert_eq!(default.attempts(), 10);
    assert_eq!(schedule(serde_json::to_value(&default).unwrap()), default);
}

#[test]
fn defaults_of_a_document_are_filled_in() {
    let exponential = schedule(json!({"type": "exponential", "delay": "5s", "attempts": 20}));

    assert_eq!(
        serde_json::to_value(exponential).unwrap(),
        json!({"type": "exponential", "delay": "5s", "cap": "2h", "attempts": 20, "jitter": 0.2})
    );
}

#[test]
fn a_success_is_delivered_even_on_the_last_attempt() {
    let once = schedule(json!({"type": "list", "delays": []}));
    let mut rng = SmallRng::seed_from_u64(0);

    assert_eq!(judge(&once, 1, &answer(204, None), NOW, &mut rng), Verdict::Delivered);
    assert_eq!(judge(&once, 1, &answer(302, None), NOW, &mut rng), Verdict::Exhausted);
    assert_eq!(judge(&once, 9, &answer(200, Some(5)), NOW, &mut rng), Verdict::Delivered);
}

#[test]
fn a_schedule_out_of_bounds_is_refused_with_advice() {
    let week_and_more = 7 * 24 * 3_600 + 1;
    let cases = [
        (json!({"type": "linear", "delay": "10s", "attempts": 0}), "1 to 100"),
        (json!({"type": "linear", "delay": "10s", "attempts": 101}), "1 to 100"),
        (json!({"type": "linear", "delay": 0, "attempts": 2}), "`1ms` to `7d`"),
        (json!({"type": "linear", "delay": week_and_more, "attempts": 2}), "`1ms` to `7d`"),
        (json!({"type": "linear", "delay": "10s", "attempts": 2, "jitter": 1.1}), "0 to 1"),
        (json!({"type": "linear", "delay": "10s", "attempts": 2, "jitter": -0.1}), "0 to 1"),
        (json!({"type": "linear", "delay": "10", "attempts": 2, "cap": 3}), "unknown field"),
        (json!({"type": "exponential", "delay": "3h", "attempts": 2}), "raise the cap"),
        (json!({"type": "exponential", "delay": "1s", "cap": "8d", "attempts": 2}), "`cap` is `8d`"),
        (json!({"type": "list", "delays": ["5s", "0s"]}), "`delays` is `0s`"),
        (json!({"type": "list", "delays": vec![1; 100]}), "1 to 100"),
        (json!({"type": "list", "delays": ["soon"]}), "`soon` is not a duration"),
        (json!({"type": "fibonacci"}), "linear"),
        (json!({}), "type"),
    ];
    for (document, advice) in cases {
        let error = serde_json::from_value::<RetrySchedule>(document.clone()).unwrap_err().to_string();
        assert!(error.contains(advice), "{document}: {error}");
    }
    for document in [
        json!({"type": "linear", "delay": "1ms", "attempts": 1, "jitter": 1}),
        json!({"type": "linear", "delay": "7d", "attempts": 100}),
        json!({"type": "list", "delays": vec![1; 99]}),
    ] {
        schedule(document);
    }
    assert!(RetrySchedule::default().with_jitter(f64::NAN).is_err());
}

#[test]
fn retry_after_stretches_up_to_its_ceiling_and_never_shortens() {
    let linear = schedule(json!({"type": "linear", "delay": "60s", "attempts": 5}));
    let slow = schedule(json!({"type": "linear", "delay": "10m", "attempts": 5}));
    let cases = [
        (&linear, answer(429, Some(90)), 90),
        (&linear, answer(503, Some(90)), 90),
        (&linear, answer(429, Some(5)), 60),
        (&linear, answer(429, Some(3_600)), 3_600),
        (&linear, answer(429, Some(3_601)), 3_600),
        (&linear, answer(429, Some(u64::MAX)), 3_600),
        (&slow, answer(429, Some(6_000)), 6_000),
        (&slow, answer(429, Some(6_001)), 6_000),
        (&linear, answer(301, Some(90)), 60),
        (&linear, answer(500, None), 60),
        (&linear, AttemptOutcome::Connect, 60),
    ];
    for (schedule, outcome, expected) in cases {
        assert_eq!(delay(schedule, 1, &outcome, 0), Some(secs(expected)), "{outcome:?}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let cases = [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("99999999999999999999", Some(u64::MAX)),
        ("Tue, 14 Nov 2023 22:14:20 GMT", Some(60)),
        ("Tue, 14 Nov 2023 22:12:20 GMT", Some(0)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
    ];
    for (value, expected) in cases {
        assert_eq!(parse_retry_after(value, NOW), expected.map(secs), "{value}");
    }
}

fn any_schedule() -> impl Strategy<Value = RetrySchedule> {
    let delay = (1_u64..=604_800_000).prop_map(Duration::from_millis);
    let steps =
        prop_oneof![
            (delay.clone(), 1_u16..=100).prop_map(|(delay, attempts)| RetrySchedule::linear(delay, attempts)),
            (delay.clone(), delay.clone(), 1_u16..=100)
                .prop_map(|(a, b, attempts)| RetrySchedule::exponential(a.min(b), a.max(b), attempts)),
            prop::collection::vec(delay, 0..=99).prop_map(RetrySchedule::list),
        ];
    (steps, 0.0..=1.0).prop_map(|(schedule, jitter)| schedule.unwrap().with_jitter(jitter).unwrap())
}

fn any_failure() -> impl Strategy<Value = AttemptOutcome> {
    prop_oneof![
        Just(AttemptOutcome::Timeout),
        (prop_oneof![100_u16..200, 300_u16..=999], any::<Option<u64>>())
            .prop_map(|(status, retry_after)| answer(status, retry_after)),
    ]
}

proptest! {
    #[test]
    fn exhausted_exactly_from_the_last_attempt_on(
        schedule in any_schedule(), attempt: u16, outcome in any_failure(), seed: u64
    ) {
        let verdict = delay(&schedule, attempt, &outcome, seed);

        prop_assert_eq!(verdict.is_none(), attempt.max(1) >= schedule.attempts());
    }

    #[test]
    fn a_retry_is_never_before_now_and_bounded(
        schedule in any_schedule(), attempt in 0_u16..=100, outcome in any_failure(), seed: u64, now: i64
    ) {
        let now = Timestamp::from_micros(now);
        let verdict = judge(&schedule, attempt, &outcome, now, &mut SmallRng::seed_from_u64(seed));

        if let Verdict::RetryAt(at) = verdict {
            let scheduled = schedule.delay_after(attempt).unwrap();
            let longest = (scheduled * RETRY_AFTER_FACTOR).max(RETRY_AFTER_CEILING);
            prop_assert!(at >= now.after((scheduled / 2).saturating_sub(Duration::from_micros(1))));
            prop_assert!(at <= now.after(longest));
        }
    }

    #[test]
    fn without_jitter_exponential_delays_never_shrink(
        first in 1_u64..=7_200_000, attempts in 2_u16..=100, attempt in 1_u16..=98
    ) {
        let cap = Duration::from_secs(7_200);
        let schedule = RetrySchedule::exponential(Duration::from_millis(first), cap, attempts).unwrap();

        if let (Some(now), Some(next)) = (schedule.delay_after(attempt), schedule.delay_after(attempt + 1)) {
            prop_assert!(now <= next && next <= cap);
        }
    }

    #[test]
    fn the_json_form_round_trips(schedule in any_schedule()) {
        let text = serde_json::to_string(&schedule).unwrap();
        let back: RetrySchedule = serde_json::from_str(&text).unwrap();

        prop_assert_eq!(back.attempts(), schedule.attempts());
        prop_assert!((0..=100).all(|attempt| back.delay_after(attempt) == schedule.delay_after(attempt)));
    }
}

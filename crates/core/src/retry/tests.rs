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

fn policy(document: serde_json::Value) -> RetryPolicy {
    serde_json::from_value(document).unwrap()
}

/// A policy that lets any delay be: for what is about schedules.
fn patient() -> RetryPolicy {
    policy(json!({"max_age": "90d"}))
}

/// Attempt number `made` of an event received right now.
const fn tried(made: u16) -> Tried {
    Tried { made, throttled: 0, received_at: NOW }
}

fn verdict(
    policy: &RetryPolicy,
    schedule: &RetrySchedule,
    tried: Tried,
    outcome: &AttemptOutcome,
) -> Verdict {
    judge(policy, schedule, tried, outcome, NOW, &mut SmallRng::seed_from_u64(0))
}

/// The delay until the retry that follows, `None` when there is none.
fn delay(schedule: &RetrySchedule, attempt: u16, outcome: &AttemptOutcome, seed: u64) -> Option<Duration> {
    match judge(&patient(), schedule, tried(attempt), outcome, NOW, &mut SmallRng::seed_from_u64(seed)) {
        Verdict::RetryAt(at) | Verdict::ThrottledUntil(at) => Some(at.since(NOW)),
        Verdict::Ended(_) => None,
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
    let of = |made, outcome| verdict(&RetryPolicy::default(), &once, tried(made), &outcome);

    assert_eq!(of(1, answer(204, None)), Verdict::Delivered);
    assert_eq!(of(1, answer(302, None)), Verdict::Ended(End::Exhausted));
    assert_eq!(of(9, answer(200, Some(5))), Verdict::Delivered);
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
        (json!({"type": "linear", "delay": "10s", "attempts": 2, "jitter": "half"}), "`full`"),
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

#[test]
fn too_many_requests_costs_no_attempt() {
    let list = schedule(json!({"type": "list", "delays": ["10s", "20s"]}));
    // Made, throttled before, what is answered, what follows in seconds.
    let cases = [
        (1, 0, answer(429, None), Some((true, 10))),
        (2, 1, answer(500, None), Some((false, 10))),
        (3, 1, answer(429, None), Some((true, 20))),
        (4, 2, answer(500, None), Some((false, 20))),
        (5, 2, answer(429, None), Some((true, 80))),
        (5, 2, answer(429, Some(30)), Some((true, 30))),
        (5, 2, answer(500, None), None),
        (3, 0, answer(429, None), Some((true, 20))),
        (3, 0, answer(503, Some(90)), None),
        (500, 499, answer(429, None), Some((true, 3_600))),
        (MOST_ATTEMPTS - 1, MOST_ATTEMPTS - 2, answer(429, Some(60)), Some((true, 60))),
        (MOST_ATTEMPTS, MOST_ATTEMPTS - 1, answer(429, Some(60)), None),
    ];
    for (made, throttled, outcome, expected) in cases {
        let tried = Tried { made, throttled, received_at: NOW };
        let expected = match expected {
            Some((true, after)) => Verdict::ThrottledUntil(NOW.after(secs(after))),
            Some((false, after)) => Verdict::RetryAt(NOW.after(secs(after))),
            None => Verdict::Ended(End::Exhausted),
        };
        assert_eq!(verdict(&patient(), &list, tried, &outcome), expected, "{made} {throttled} {outcome:?}");
    }
    let once = schedule(json!({"type": "list", "delays": []}));
    let end = verdict(&patient(), &once, tried(1), &answer(429, Some(1)));
    assert_eq!(end, Verdict::Ended(End::Exhausted), "a schedule without retries stays without");
}

#[test]
fn gone_is_the_end_whatever_is_left() {
    let list = schedule(json!({"type": "list", "delays": ["10s"]}));

    for attempt in [1, 2] {
        let gone = verdict(&patient(), &list, tried(attempt), &answer(410, Some(5)));
        assert_eq!(gone, Verdict::Ended(End::Gone));
    }
    assert_ne!(verdict(&patient(), &list, tried(1), &answer(409, None)), Verdict::Ended(End::Gone));
}

#[test]
fn what_a_policy_calls_final_is_not_tried_again() {
    let list = schedule(json!({"type": "list", "delays": ["10s"]}));
    let of = |words: serde_json::Value, outcome| {
        verdict(&policy(json!({ "final": words })), &list, tried(1), &outcome) == Verdict::Ended(End::Final)
    };

    assert!(of(json!(["client_error"]), answer(404, None)) && of(json!(["client_error"]), answer(400, None)));
    assert!(
        !of(json!(["client_error"]), answer(500, None)) && !of(json!(["client_error"]), answer(302, None))
    );
    for of_the_moment in [408, 425, 429] {
        assert!(!of(json!(["client_error"]), answer(of_the_moment, None)));
        assert!(of(json!([of_the_moment]), answer(of_the_moment, None)));
    }
    assert!(of(json!(["404"]), answer(404, None)) && !of(json!(["404"]), answer(403, None)));
    assert!(of(json!(["server_error", 404]), answer(404, None)));
    assert!(of(json!(["tls"]), AttemptOutcome::Tls) && !of(json!(["tls"]), AttemptOutcome::Connect));
    assert!(!of(json!([]), answer(404, None)));
    assert!(!of(json!(["client_error"]), answer(204, None)));
}

#[test]
fn a_retry_never_comes_after_the_age_limit() {
    let linear = schedule(json!({"type": "linear", "delay": "60s", "attempts": 5}));
    let hour = policy(json!({"max_age": "1h"}));
    let of = |age, outcome| {
        let tried = Tried { made: 2, throttled: 0, received_at: NOW.before(secs(age)) };
        verdict(&hour, &linear, tried, &outcome)
    };

    assert_eq!(of(3_540, AttemptOutcome::Timeout), Verdict::RetryAt(NOW.after(secs(60))));
    assert_eq!(of(3_541, AttemptOutcome::Timeout), Verdict::Ended(End::Expired));
    assert_eq!(of(3_541, answer(429, None)), Verdict::Ended(End::Expired));
    assert_eq!(of(3_400, answer(503, Some(200))), Verdict::RetryAt(NOW.after(secs(200))));
    assert_eq!(of(3_400, answer(503, Some(201))), Verdict::Ended(End::Expired));
    assert_eq!(of(9_999, answer(200, None)), Verdict::Delivered);
}

#[test]
fn the_cap_of_retry_after_is_the_policys() {
    let linear = schedule(json!({"type": "linear", "delay": "60s", "attempts": 5}));
    let of = |cap: &str, asked| {
        let policy = policy(json!({ "retry_after_cap": cap }));
        match verdict(&policy, &linear, tried(1), &answer(503, Some(asked))) {
            Verdict::RetryAt(at) => at.since(NOW),
            other => panic!("{other:?}"),
        }
    };

    assert_eq!((of("2m", 119), of("2m", 120), of("2m", 121)), (secs(119), secs(120), secs(120)));
    assert_eq!(of("2h", 7_000), secs(7_000));
    assert_eq!(of("0s", 7_000), secs(60), "not heeded at all");
}

#[test]
fn a_policy_out_of_bounds_is_refused_with_advice() {
    let cases = [
        (json!({"max_age": "999ms"}), "`1s` to `90d`"),
        (json!({"max_age": "91d"}), "`1s` to `90d`"),
        (json!({"retry_after_cap": "8d"}), "up to `7d`"),
        (json!({"final": ["success"]}), "client_error"),
        (json!({"final": [204]}), "from 300 to 599"),
        (json!({"final": [99_999]}), "from 300 to 599"),
        (json!({"storm_guard": {"percent": 0}}), "1 to 90"),
        (json!({"storm_guard": {"percent": 91}}), "1 to 90"),
        (json!({"storm_guard": {"per_second": 0}}), "1 to 100000"),
        (json!({"storm_guard": {"per_second": 100_001}}), "1 to 100000"),
        (json!({"maximum": 1}), "unknown field"),
    ];
    for (document, advice) in cases {
        let error = serde_json::from_value::<RetryPolicy>(document.clone()).unwrap_err().to_string();
        assert!(error.contains(advice), "{document}: {error}");
    }
    for document in [
        json!({"max_age": "1s", "retry_after_cap": "7d", "final": [300, "599"]}),
        json!({"max_age": "90d", "storm_guard": {"percent": 1, "per_second": 1}}),
        json!({"storm_guard": {"percent": 90, "per_second": 100_000}}),
        json!({"storm_guard": null}),
    ] {
        let read = policy(document);
        assert_eq!(policy(serde_json::to_value(&read).unwrap()), read);
    }
    assert_eq!(policy(json!({})), RetryPolicy::default());
}

#[test]
fn full_jitter_is_anything_up_to_what_is_scheduled() {
    let linear = schedule(json!({"type": "linear", "delay": "100s", "attempts": 2, "jitter": "full"}));

    let delays: Vec<_> =
        (0..200).filter_map(|seed| delay(&linear, 1, &AttemptOutcome::Timeout, seed)).collect();

    assert!(delays.iter().all(|delay| *delay <= secs(100)));
    assert!(delays.iter().min().unwrap() < &secs(10) && delays.iter().max().unwrap() > &secs(90));
    let asked = delay(&linear, 1, &answer(503, Some(100)), 0);
    assert_eq!(asked, Some(secs(100)), "what an endpoint asks for is not made shorter");
    assert_eq!(serde_json::to_value(&linear).unwrap()["jitter"], "full");
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
        (prop_oneof![100_u16..200, 300_u16..410, 411_u16..429, 430_u16..=999], any::<Option<u64>>())
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
        let tried = Tried { made: attempt, throttled: 0, received_at: now };
        let verdict = judge(&patient(), &schedule, tried, &outcome, now, &mut SmallRng::seed_from_u64(seed));

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

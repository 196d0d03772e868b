//! One attempt from claim to outcome: build and sign, send, judge.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::endpoint::{Endpoint, EndpointStatus};
use longshore_core::ports::{ClaimedDelivery, Next, Outcome};
use longshore_core::retry::{Verdict, judge};
use longshore_core::{Attempt, AttemptId, Clock, Snapshot};
use rand::Rng;

use super::egress::Route;
use super::request::{build, on_record};
use super::transport::Transport;

/// What is left of a delivery when its turn comes.
pub(super) enum Turn {
    /// It is sent.
    Send(Arc<Endpoint>),
    /// It is not: the endpoint is gone or switched off, or it pauses.
    Skip(Next),
}

/// How long a delivery to a paused endpoint waits before somebody looks again. Resuming does not wait for it: the
/// look-up is by endpoint, and only active ones are looked up.
const PAUSE: Duration = Duration::ZERO;

/// Looks at the endpoint as it is configured now.
pub(super) fn turn(delivery: &ClaimedDelivery, snapshot: &Snapshot) -> Turn {
    match snapshot.endpoint(delivery.endpoint) {
        Some(endpoint) => match endpoint.status {
            EndpointStatus::Active => Turn::Send(Arc::clone(endpoint)),
            EndpointStatus::Paused => Turn::Skip(Next::Parked(PAUSE)),
            EndpointStatus::Inactive => Turn::Skip(Next::Discarded),
        },
        None => Turn::Skip(Next::Discarded),
    }
}

/// The outcome of a delivery that was not sent.
pub(super) fn skip(delivery: &ClaimedDelivery, next: Next) -> Outcome {
    outcome(delivery, delivery.attempts, None, next)
}

/// Makes the attempt.
pub(super) async fn attempt(
    delivery: &ClaimedDelivery,
    endpoint: &Arc<Endpoint>,
    snapshot: &Snapshot,
    transport: &impl Transport,
    clock: &impl Clock,
    id: AttemptId,
    rng: &mut (impl Rng + Send),
) -> Outcome {
    let number = delivery.attempts.saturating_add(1);
    let project = snapshot.project(delivery.event.project);
    let settings = project.map(|project| &project.settings);
    let started_at = clock.now();
    let mut request = match settings {
        Some(settings) => build(delivery, endpoint, settings, started_at),
        None => build(delivery, endpoint, &longshore_core::project::ProjectSettings::default(), started_at),
    };
    request.route = Route::of(endpoint, project);
    let request_headers = on_record(&request.headers);
    let url = request.url.to_string();
    let started = tokio::time::Instant::now();
    let answer = transport.send(request).await;
    let duration = started.elapsed();

    let schedule = snapshot.retry_schedule(delivery.event.project, delivery.subscription);
    let now = clock.now();
    let next = match judge(schedule, number, &answer.outcome, now, rng) {
        Verdict::Delivered => Next::Success,
        Verdict::RetryAt(at) => Next::RetryAfter(at.since(now)),
        Verdict::Exhausted => Next::Failure,
    };
    metrics::counter!("dispatch_attempts_total", "outcome" => answer.outcome.class()).increment(1);
    metrics::histogram!("dispatch_attempt_seconds").record(duration.as_secs_f64());
    if !answer.outcome.is_success() {
        tracing::debug!(
            delivery.id = %delivery.id, endpoint.id = %endpoint.id, attempt = number,
            outcome = answer.outcome.class(), status = answer.outcome.status(), "attempt failed"
        );
    }
    let attempt = Attempt {
        id,
        number,
        url,
        started_at,
        duration,
        outcome: answer.outcome,
        error: answer.error,
        request_headers,
        response_headers: answer.headers,
        response_body: answer.body,
    };
    outcome(delivery, number, Some(attempt), next)
}

fn outcome(delivery: &ClaimedDelivery, attempts: u16, attempt: Option<Attempt>, next: Next) -> Outcome {
    Outcome {
        delivery: delivery.id,
        event: delivery.event.id,
        project: delivery.event.project,
        endpoint: delivery.endpoint,
        owner: delivery.owner,
        attempts,
        scheduled: delivery.scheduled,
        attempt,
        next,
    }
}

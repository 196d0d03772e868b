//! One attempt from claim to outcome: build and sign, send, judge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_core::endpoint::{Endpoint, EndpointStatus};
use longshore_core::event::Headers;
use longshore_core::ports::{Aftermath, ClaimedDelivery, Next, Outcome};
use longshore_core::project::ProjectSettings;
use longshore_core::retry::{End, Tried, Verdict, judge};
use longshore_core::subscription::{OnExhausted, Ordered};
use longshore_core::{
    Attempt, AttemptId, AttemptOutcome, Clock, EndpointId, NoticeKind, RetryPolicy, Snapshot, Timestamp,
};
use rand::Rng;
use tracing::Instrument;

use super::egress::Route;
use super::recorder::Done;
use super::request::{Terms, Trace, Unsendable, build, build_batch, on_record};
use super::transport::{Answer, SignedRequest, Transport};

/// What is left of a delivery, or of several to one endpoint, when their turn comes.
pub(super) enum Turn {
    /// They are sent.
    Send(Arc<Endpoint>),
    /// They are not: the endpoint is gone or switched off, or it pauses.
    Skip(Next),
}

/// How long a delivery to a paused endpoint waits before somebody looks again. Resuming does not wait for it: the
/// look-up is by endpoint, and only active ones are looked up.
const PAUSE: Duration = Duration::ZERO;

impl Answer {
    /// Of a request that could not be made.
    fn unsent(why: Unsendable) -> Self {
        Self {
            outcome: AttemptOutcome::Unsendable,
            headers: Headers::default(),
            body: Bytes::new(),
            error: why.to_string(),
            remote: None,
        }
    }
}

/// Looks at the endpoint as it is configured now.
pub(super) fn turn(endpoint: EndpointId, snapshot: &Snapshot) -> Turn {
    match snapshot.endpoint(endpoint) {
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
    outcome(delivery, delivery.attempts, None, next, Aftermath::default())
}

/// A delivery and the id of the attempt that is made of it.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) delivery: ClaimedDelivery,
    pub(super) id: AttemptId,
}

/// What goes out in one request: to one endpoint, more than one only where its events share requests.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) first: Sending,
    pub(super) more: Vec<Sending>,
}

impl Load {
    fn sendings(&self) -> impl Iterator<Item = &Sending> + Clone {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// Its deliveries, at least one.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = &ClaimedDelivery> + Clone {
        self.sendings().map(|sending| &sending.delivery)
    }
}

/// What every delivery of a request has in common.
struct Exchange {
    url: String,
    started_at: Timestamp,
    duration: Duration,
    request_headers: Headers,
    answer: Answer,
}

/// Makes the attempt: one request, and an outcome for each of its deliveries.
pub(super) async fn attempt(
    load: &Load,
    endpoint: &Arc<Endpoint>,
    snapshot: &Snapshot,
    transport: &impl Transport,
    clock: &impl Clock,
    rng: &mut (impl Rng + Send),
) -> Vec<Done> {
    let started_at = clock.now();
    let defaults;
    let project = snapshot.project(endpoint.project);
    let settings = match project {
        Some(project) => &project.settings,
        None => {
            defaults = ProjectSettings::default();
            &defaults
        }
    };
    let terms = Terms { endpoint, settings, at: started_at };
    let (request, trace) = match endpoint.settings.batch {
        None => {
            let trace = Trace::of(&load.first.delivery.event, rng);
            (build(&terms, &load.first.delivery, &trace), trace.id())
        }
        Some(_) => {
            let (request, trace) = build_batch(&terms, load.deliveries(), rng);
            (Ok(request), trace)
        }
    };
    let span = tracing::debug_span!("attempt", trace.id = %trace);
    let started = tokio::time::Instant::now();
    let (url, request_headers, answer) = match request {
        Ok(request) => {
            let request = SignedRequest { route: Route::of(endpoint, project), ..request };
            let (url, headers) = (request.url.to_string(), on_record(&request.headers));
            (url, headers, transport.send(request).instrument(span.clone()).await)
        }
        Err(unsendable) => (endpoint.url.to_string(), Headers::default(), Answer::unsent(unsendable)),
    };
    let duration = started.elapsed();
    let class = answer.outcome.class();
    metrics::counter!("dispatch_attempts_total", "outcome" => class).increment(1 + load.more.len() as u64);
    metrics::histogram!("dispatch_attempt_seconds").record(duration.as_secs_f64());
    if !answer.outcome.is_success() {
        tracing::debug!(
            parent: &span, delivery.id = %load.first.delivery.id, endpoint.id = %endpoint.id,
            attempt = load.first.delivery.attempts.saturating_add(1), deliveries = 1 + load.more.len(),
            outcome = class, status = answer.outcome.status(), "attempt failed"
        );
    }
    let exchange = Exchange { url, started_at, duration, request_headers, answer };
    conclude(load, exchange, snapshot, clock.now(), rng)
}

/// Judges each delivery by itself: their schedules and the attempts they have had differ.
fn conclude(
    load: &Load,
    exchange: Exchange,
    snapshot: &Snapshot,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Vec<Done> {
    let Exchange { url, started_at, duration, request_headers, answer } = exchange;
    let project = snapshot.project(load.first.delivery.event.project);
    let defaults;
    let policy = match project {
        Some(project) => &project.settings.retry_policy,
        None => {
            defaults = RetryPolicy::default();
            &defaults
        }
    };
    let mut next_of = |delivery: &ClaimedDelivery, made| {
        let tried = Tried { made, throttled: delivery.throttled, received_at: delivery.event.received_at };
        let schedule = snapshot.retry_schedule(delivery.event.project, delivery.subscription);
        let verdict = judge(policy, schedule, tried, &answer.outcome, now, rng);
        consequences(verdict, &answer.outcome, delivery, snapshot, now)
    };
    let template = Attempt {
        id: load.first.id,
        number: 0,
        url,
        started_at,
        duration,
        outcome: answer.outcome,
        error: answer.error,
        request_headers,
        response_headers: answer.headers,
        response_body: answer.body,
        remote: answer.remote,
    };
    let mut done = Vec::with_capacity(1 + load.more.len());
    let mut conclude = |Sending { delivery, id }: &Sending, attempt: Attempt| {
        let number = delivery.attempts.saturating_add(1);
        let attempt = Attempt { id: *id, number, ..attempt };
        let (next, aftermath) = next_of(delivery, number);
        done.push(Done::of(outcome(delivery, number, Some(attempt), next, aftermath), delivery));
    };
    for sending in &load.more {
        conclude(sending, template.clone());
    }
    conclude(&load.first, template);
    done
}

/// What becomes of a delivery that is given up: in a lane its subscription says what happens behind it. That of an endpoint
/// which is gone empties.
fn given_up(delivery: &ClaimedDelivery, end: End, snapshot: &Snapshot) -> Next {
    if end == End::Gone {
        return Next::Failure;
    }
    let subscription = delivery.subscription.and_then(|id| snapshot.subscription(id));
    let ordered = subscription.and_then(|subscription| subscription.ordered.as_ref());
    match (delivery.place, ordered.map(Ordered::on_exhausted)) {
        (Some(_), Some(OnExhausted::Block)) => Next::Blocked,
        (Some(_), Some(OnExhausted::Park)) => Next::SetAside,
        // A lane of a subscription that keeps no order any more empties.
        (_, Some(OnExhausted::Skip) | None) | (None, _) => Next::Failure,
    }
}

/// Where the delivery goes by that verdict, and what else follows.
fn consequences(
    verdict: Verdict,
    outcome: &AttemptOutcome,
    delivery: &ClaimedDelivery,
    snapshot: &Snapshot,
    now: Timestamp,
) -> (Next, Aftermath) {
    let project = snapshot.project(delivery.event.project);
    // What has no form was not sent: that says nothing of the endpoint.
    let is_watched = *outcome != AttemptOutcome::Unsendable
        && project.is_some_and(|project| project.settings.disable_endpoint);
    let aftermath = Aftermath { is_watched, ..Aftermath::default() };
    let is_told = |kind| project.is_some_and(|project| project.wants(kind));
    match verdict {
        Verdict::Delivered => {
            (Next::Success, Aftermath { is_told: is_told(NoticeKind::DeliverySuccess), ..aftermath })
        }
        Verdict::RetryAt(at) => (Next::RetryAfter(at.since(now)), aftermath),
        Verdict::ThrottledUntil(at) => {
            (Next::RetryAfter(at.since(now)), Aftermath { is_throttled: true, ..aftermath })
        }
        Verdict::Ended(end) => {
            let is_told = is_told(NoticeKind::DeliveryFailed);
            (given_up(delivery, end, snapshot), Aftermath { end: Some(end), is_told, ..aftermath })
        }
    }
}

fn outcome(
    delivery: &ClaimedDelivery,
    attempts: u16,
    attempt: Option<Attempt>,
    next: Next,
    aftermath: Aftermath,
) -> Outcome {
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
        lane: delivery.place.map(|place| place.lane),
        aftermath,
    }
}

//! Records outcomes in batches and gives back their room.
//!
//! Outcomes are gathered for a few milliseconds: recording is on nobody's latency path, and one transaction for
//! hundreds of outcomes costs a small part of hundreds of transactions.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use bytes::Bytes;
use longshore_core::event::Headers;
use longshore_core::ports::{ClaimedDelivery, DeliveryQueue, Next, Outcome, Recorded, StoreError};
use longshore_core::{DeliveryId, EndpointId, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims::{Claimed, MARGIN, claim_lease};
use crate::ledger::Ledger;

/// Outcomes per transaction at most.
const MOST: usize = 1_000;

/// How long outcomes are gathered once the next delivery of a lane waits for one of them.
const LANE_GATHER: Duration = Duration::from_millis(1);

/// An outcome and how many body bytes it gives back.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) bytes: usize,
}

impl Done {
    pub(super) fn of(outcome: Outcome, delivery: &ClaimedDelivery) -> Self {
        Self { outcome, bytes: delivery.event.body.len() }
    }
}

/// The task that records.
pub(super) struct Recorder<Q> {
    pub(super) queue: Arc<Q>,
    pub(super) ledger: Ledger,
    /// Unbounded, but every item owns room in the ledger.
    pub(super) done: mpsc::UnboundedReceiver<Done>,
    /// Told when a retry falls due, and of which endpoint.
    pub(super) due: mpsc::UnboundedSender<(Instant, EndpointId)>,
    /// Takes what is next in a lane, claimed with the record.
    pub(super) claimed: mpsc::UnboundedSender<Claimed>,
    pub(super) config: watch::Receiver<Arc<Snapshot>>,
    pub(super) gather: Duration,
    /// From then on nothing is claimed.
    pub(super) stop: CancellationToken,
    pub(super) hard: CancellationToken,
}

impl<Q: DeliveryQueue> Recorder<Q> {
    /// Runs until every sender of outcomes is gone and the last one is recorded, or `hard` is cancelled.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.gather(&mut batch).await {
            self.record_all(&mut batch).await;
            if self.hard.is_cancelled() {
                return;
            }
        }
    }

    /// Fills the batch; false when there is nothing and nothing more will come.
    async fn gather(&mut self, batch: &mut Vec<Done>) -> bool {
        if self.done.recv_many(batch, MOST).await == 0 {
            return false;
        }
        let (first, last) = (Instant::now() + LANE_GATHER, Instant::now() + self.gather);
        let mut seen = 0;
        let mut deadline = last;
        while batch.len() < MOST {
            if batch[seen..].iter().any(|done| done.outcome.lane.is_some()) {
                // The rest of its lane waits for this record.
                deadline = first;
            }
            seen = batch.len();
            let room = MOST - batch.len();
            match tokio::time::timeout_at(deadline, self.done.recv_many(batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    async fn record_all(&self, batch: &mut Vec<Done>) {
        // What is needed once the outcomes are on record: an outcome with its headers and body is moved, not copied.
        let (outcomes, held): (Vec<Outcome>, Vec<_>) = batch
            .drain(..)
            .map(|Done { outcome, bytes }| {
                let held = (outcome.delivery, outcome.endpoint, outcome.next, bytes);
                (outcome, held)
            })
            .unzip();
        let started = Instant::now();
        let (lost, next) = self.record(outcomes).await;
        metrics::histogram!("dispatch_record_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("dispatch_outcomes_recorded_total").increment((held.len() - lost.len()) as u64);
        for (delivery, endpoint, next, bytes) in held {
            if lost.contains(&delivery) {
                self.ledger.abandon(delivery, endpoint, bytes);
                continue;
            }
            self.ledger.release(delivery, endpoint, bytes, next == Next::Success);
            if let Next::RetryAfter(delay) = next {
                // Only a hint: polling finds it anyway.
                let _ = self.due.send((Instant::now() + delay, endpoint));
            }
        }
        // After the room of those before them is given back.
        next.into_iter().for_each(|claimed| self.take(claimed));
    }

    /// Hands over what is next in the lanes.
    fn take(&self, claimed: Claimed) {
        for delivery in &claimed.deliveries {
            self.ledger.take(delivery.endpoint, delivery.event.body.len());
        }
        if let Err(refused) = self.claimed.send(claimed) {
            // The dispatcher has ended; the claims end with the lease.
            for delivery in &refused.0.deliveries {
                self.ledger.release(delivery.id, delivery.endpoint, delivery.event.body.len(), false);
            }
        }
    }

    /// Something is due now for some of the endpoints whose lanes these outcomes left.
    fn hint_at_heads(&self, outcomes: &[Outcome]) {
        let left = outcomes.iter().filter(|outcome| outcome.lane.is_some() && outcome.next.leaves_lane());
        let endpoints: HashSet<EndpointId> = left.map(|outcome| outcome.endpoint).collect();
        for endpoint in endpoints {
            // Only a hint: polling finds it anyway.
            let _ = self.due.send((Instant::now(), endpoint));
        }
    }

    /// How long what is next in the lanes of these outcomes is claimed for: not at all when this process stops.
    fn lease(&self, outcomes: &[Outcome]) -> Duration {
        let mut laned = outcomes.iter().filter(|outcome| outcome.lane.is_some()).peekable();
        if laned.peek().is_none() || self.stop.is_cancelled() {
            return Duration::ZERO;
        }
        let snapshot = self.config.borrow();
        let endpoints = laned.filter_map(|outcome| snapshot.endpoint(outcome.endpoint));
        endpoints.map(claim_lease).max().unwrap_or(MARGIN)
    }

    /// Returns the deliveries whose outcome is not on record, and what is next in the lanes of the others.
    async fn record(&self, outcomes: Vec<Outcome>) -> (HashSet<DeliveryId>, Vec<Claimed>) {
        let mut pace = pace();
        let mut todo = vec![outcomes];
        let mut is_first_failure = true;
        let (mut lost, mut next) = (HashSet::new(), Vec::new());
        while let Some(mut part) = todo.pop() {
            let lease = self.lease(&part);
            // Measured from before the call: the database's clock starts later.
            let until = Instant::now() + lease;
            match self.queue.record(&part, lease).await {
                Ok(Recorded { refused, claimed, has_due }) => {
                    if refused > 0 {
                        // Somebody took the claim over: they deliver and record. The endpoint may see the event twice.
                        metrics::counter!("dispatch_outcomes_fenced_total").increment(refused as u64);
                        tracing::warn!(refused, "outcomes refused: the claims were taken over");
                    }
                    if has_due {
                        self.hint_at_heads(&part);
                    }
                    if !claimed.is_empty() {
                        next.push(Claimed { deliveries: claimed, until });
                    }
                }
                Err(StoreError::Rejected(_)) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    todo.extend([part, rest]);
                }
                Err(StoreError::Rejected(problem)) if part.iter().any(has_details) => {
                    tracing::warn!(%problem, "the database refuses an attempt's details; recording it without them");
                    part.iter_mut().for_each(strip);
                    todo.push(part);
                }
                Err(StoreError::Rejected(problem)) => {
                    metrics::counter!("dispatch_outcomes_lost_total").increment(1);
                    lost.extend(part.iter().map(|outcome| outcome.delivery));
                    tracing::error!(%problem, "an outcome cannot be recorded; its delivery is repeated by the next process");
                }
                Err(error) => {
                    if std::mem::take(&mut is_first_failure) {
                        tracing::warn!(%error, "outcomes not recorded; holding them until they are");
                    }
                    todo.push(part);
                    let pause = pace.next_backoff().unwrap_or(Duration::from_secs(2));
                    tokio::select! {
                        () = self.hard.cancelled() => {
                            lost.extend(todo.iter().flatten().map(|outcome| outcome.delivery));
                            return (lost, next);
                        }
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
        (lost, next)
    }
}

fn pace() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(50))
        .with_max_interval(Duration::from_secs(2))
        .with_max_elapsed_time(None)
        .build()
}

fn has_details(outcome: &Outcome) -> bool {
    outcome
        .attempt
        .as_ref()
        .is_some_and(|attempt| !attempt.response_headers.is_empty() || !attempt.error.is_empty())
}

fn strip(outcome: &mut Outcome) {
    if let Some(attempt) = &mut outcome.attempt {
        attempt.response_headers = Headers::default();
        attempt.request_headers = Headers::default();
        attempt.response_body = Bytes::new();
        attempt.error.clear();
    }
}

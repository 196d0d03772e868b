//! What holds deliveries back: rate limits and breakers, as the driver applies them.
//!
//! Invariant: whenever something that bounds an endpoint changes (a push, an attempt's begin, a grant, news of its breaker,
//! the configuration, time), the endpoint is settled: what may go is in the round, what must not wait here is parked.

use longshore_core::endpoint::EndpointStatus;
use longshore_core::ports::Next;
use longshore_core::{EndpointId, RateLimit, Snapshot};
use tokio::time::Instant;

use super::{Driver, limit};
use crate::dispatch::attempt::skip;
use crate::dispatch::breakers::board::{News, Order};
use crate::dispatch::rates::Review;
use crate::dispatch::rates::slices::Granted;
use crate::dispatch::recorder::Done;
use crate::dispatch::scheduler::Limit;

/// What is idle is forgotten every so many ticks.
const SWEEP: u64 = 60;

impl<Q, T, C> Driver<Q, T, C> {
    pub(super) fn limit(&self, snapshot: &Snapshot, endpoint: EndpointId, now: Instant) -> Limit {
        limit(snapshot, &self.rates, &self.breakers, endpoint, now)
    }

    /// Whether something but its concurrency bounds the endpoint.
    pub(super) fn is_bound(&self, snapshot: &Snapshot, endpoint: EndpointId) -> bool {
        self.breakers.is_known(endpoint)
            || snapshot.endpoint(endpoint).is_some_and(|found| found.settings.rate_limit.is_some())
    }

    /// Looks at an endpoint after something has changed.
    pub(super) fn settle(&mut self, endpoint: EndpointId, snapshot: &Snapshot, now: Instant) {
        let Some(found) = snapshot.endpoint(endpoint) else { return };
        if found.status == EndpointStatus::Active {
            if self.breakers.is_known(endpoint)
                && self.breakers.limit(endpoint, usize::MAX, snapshot, now) == 0
            {
                self.park(endpoint, "breaker");
                return;
            }
            if let Some(limit) = found.settings.rate_limit {
                let each = usize::from(found.settings.events_per_request());
                let queued = self.scheduler.queued_for(endpoint).div_ceil(each);
                match self.rates.review(endpoint, limit, queued, now) {
                    // Fails only when the process stops.
                    Review::Ask(ask) => drop(self.asks.send(ask)),
                    Review::Far(until) => {
                        self.ledger.shut(endpoint, Some(until));
                        self.park(endpoint, "rate");
                        return;
                    }
                    Review::Ready | Review::Waits => {}
                }
            }
        }
        let limit = self.limit(snapshot, endpoint, now);
        self.scheduler.rouse(endpoint, limit);
    }

    /// Gives back to Postgres what is queued for an endpoint; no attempt is counted.
    fn park(&mut self, endpoint: EndpointId, reason: &'static str) {
        let queued = self.scheduler.take_queue(endpoint);
        if queued.is_empty() {
            return;
        }
        metrics::counter!("dispatch_deliveries_parked_total", "reason" => reason)
            .increment(queued.len() as u64);
        self.ledger.spilled(std::iter::once(endpoint), true);
        for queued in queued {
            let outcome = skip(&queued.delivery, Next::Parked(std::time::Duration::ZERO));
            let done = Done::of(outcome, &queued.delivery);
            // Fails only when the recorder has ended, at a hard stop.
            let _ = self.done.send(done);
        }
    }

    /// Looks at endpoints whose slots have come or lapsed.
    pub(super) fn review_due(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        if self.rates.next_review().is_none_or(|at| at > now) {
            return;
        }
        for endpoint in self.rates.due(now) {
            self.review(endpoint, snapshot, now);
        }
    }

    fn review(&mut self, endpoint: EndpointId, snapshot: &Snapshot, now: Instant) {
        if rate_limit(snapshot, endpoint).is_none() && self.rates.forget(endpoint) {
            self.ledger.shut(endpoint, None);
        }
        self.settle(endpoint, snapshot, now);
    }

    pub(super) fn granted(&mut self, granted: Granted, snapshot: &Snapshot) {
        for (ask, grant) in granted.answers {
            self.rates.granted(ask, grant, granted.at);
            self.review(ask.endpoint, snapshot, Instant::now());
        }
    }

    pub(super) fn learn(&mut self, news: News, snapshot: &Snapshot) {
        for endpoint in self.breakers.learn(news) {
            self.bound(endpoint, snapshot, Instant::now());
        }
        for (state, count) in self.breakers.counts() {
            metrics::gauge!("dispatch_breakers", "state" => state.as_str()).set(count as f64);
        }
    }

    /// Applies what a breaker says to what is held and what is queued.
    fn bound(&mut self, endpoint: EndpointId, snapshot: &Snapshot, now: Instant) {
        self.ledger.cap(endpoint, self.breakers.cap(endpoint, snapshot, now));
        self.settle(endpoint, snapshot, now);
    }

    /// Tells the board what probes have shown that are over.
    pub(super) fn conclude(&mut self, snapshot: &Snapshot, now: Instant) {
        let order = Order::of(self.breakers.conclude(snapshot, now));
        self.order(order);
    }

    pub(super) fn tick(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        let (order, moved) = self.breakers.tick(snapshot, now);
        self.order(order);
        for endpoint in moved {
            self.bound(endpoint, snapshot, now);
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(SWEEP) {
            self.breakers.sweep(now);
            self.rates.sweep(now);
        }
    }

    fn order(&self, order: Order) {
        // When the board is behind, counts come again in a second, and a probe whose conclusion is lost is made again.
        if !order.is_empty() && self.orders.try_send(order).is_err() {
            tracing::debug!("the board of breakers is behind");
        }
    }

    /// Limits take effect as soon as the configuration has them.
    pub(super) fn reconfigured(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        let limited = self.rates.endpoints();
        for endpoint in &limited {
            if self.rates.limit(*endpoint) != rate_limit(snapshot, *endpoint) {
                self.ledger.shut(*endpoint, None);
            }
            self.review(*endpoint, snapshot, now);
        }
        for endpoint in self.breakers.endpoints() {
            self.bound(endpoint, snapshot, now);
        }
        for endpoint in self.scheduler.waiting() {
            self.settle(endpoint, snapshot, now);
        }
    }
}

/// The limit that applies: an endpoint that is switched off or gone has none, so that what waits for it is let go.
fn rate_limit(snapshot: &Snapshot, endpoint: EndpointId) -> Option<RateLimit> {
    snapshot
        .endpoint(endpoint)
        .filter(|found| found.status == EndpointStatus::Active)
        .and_then(|found| found.settings.rate_limit)
}

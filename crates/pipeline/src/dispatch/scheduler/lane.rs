//! What the scheduler holds of one endpoint, and the values it speaks in.

use std::collections::VecDeque;
use std::time::Duration;

use longshore_core::ports::ClaimedDelivery;
use longshore_core::{AttemptOutcome, Endpoint, EndpointId, ProcessId, ProjectId};
use tokio::time::Instant;

use super::pace::{Pace, SLOW_AFTER, Track};

/// Queues keep this much room when they have shrunk.
const SPARE: usize = 64;
/// Bytes of the deliveries that share a request, at most; a larger one goes alone.
const REQUEST_BYTES: usize = 1 << 20;

/// A delivery waiting for its turn.
#[derive(Debug)]
pub(in crate::dispatch) struct Queued {
    pub(in crate::dispatch) delivery: ClaimedDelivery,
    /// The end of its claim; `None` when it ends with this process's lease.
    pub(in crate::dispatch) until: Option<Instant>,
    /// When it was queued.
    pub(in crate::dispatch) at: Instant,
}

/// What goes out in one request: to one endpoint, more than one delivery only where they share requests.
#[derive(Debug)]
pub(in crate::dispatch) struct Picked {
    pub(in crate::dispatch) first: Queued,
    pub(in crate::dispatch) more: Vec<Queued>,
    pub(in crate::dispatch) slot: Slot,
}

impl Picked {
    pub(super) fn deliveries(&self) -> impl Iterator<Item = &ClaimedDelivery> {
        std::iter::once(&self.first).chain(&self.more).map(|queued| &queued.delivery)
    }
}

/// How many attempts an endpoint takes at once right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Limit {
    /// At most this many. With 0 nothing is sent until a push, an attempt's end or [`super::Scheduler::rouse`] tells of a
    /// higher one.
    pub(in crate::dispatch) most: usize,
    /// Whether it follows what the endpoint can bear.
    pub(in crate::dispatch) is_adaptive: bool,
    /// How its deliveries share requests, if they do.
    pub(in crate::dispatch) gather: Option<Gather>,
}

/// How deliveries share a request: it goes when it is full or its first delivery has waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Gather {
    /// Deliveries at most; there is a bound on their bytes besides.
    pub(in crate::dispatch) most: usize,
    /// How long the first one waits for others.
    pub(in crate::dispatch) wait: Duration,
}

impl Gather {
    /// As an endpoint has it configured.
    pub(in crate::dispatch) fn of(endpoint: &Endpoint) -> Option<Self> {
        let batch = endpoint.settings.batch?;
        Some(Self { most: batch.max_events.into(), wait: batch.max_wait.0 })
    }
}

/// The place that an attempt takes, from [`super::Scheduler::next`] to [`super::Scheduler::done`].
#[derive(Debug)]
#[must_use = "a slot that is not given back is taken for ever"]
pub(in crate::dispatch) struct Slot {
    pub(super) endpoint: EndpointId,
    pub(super) track: Track,
    /// Whether it is of the retries' share.
    pub(super) is_of_share: bool,
}

impl Slot {
    /// Whose it is.
    pub(in crate::dispatch) const fn endpoint(&self) -> EndpointId {
        self.endpoint
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::dispatch) enum Ended {
    /// Nothing was sent.
    Unsent,
    /// An attempt was made.
    Tried {
        /// What came of it.
        outcome: AttemptOutcome,
        /// How long it took.
        took: Duration,
    },
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Deliveries that were never tried.
    fresh: VecDeque<Queued>,
    /// Those that were.
    retries: VecDeque<Queued>,
    /// Bytes of the bodies of both.
    bytes: usize,
    /// Fresh deliveries sent since the last retry, while retries waited.
    fresh_run: usize,
    pub(super) in_flight: usize,
    pub(super) pace: Pace,
    /// In which track's round it is.
    pub(super) place: Option<Track>,
    /// In which track's round of retries it is.
    pub(super) retry_place: Option<Track>,
    /// Nothing is sent before then.
    pub(super) held_until: Option<Instant>,
    /// When that is looked at; not after it.
    pub(super) timer: Option<Instant>,
    /// Since when nothing has ended, as far as anybody has looked.
    quiet_since: Option<Instant>,
    /// When its last attempt began; `None` before the first.
    used_at: Option<Instant>,
    /// Whether it is looked at for attempts that hang.
    pub(super) is_watched: bool,
}

/// About how many bytes a delivery adds to a request.
fn weight(queued: &Queued) -> usize {
    let event = &*queued.delivery.event;
    let headers: usize = event.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    event.body.len() + headers + event.attributes.as_ref().map_or(0, String::len)
}

impl Lane {
    pub(super) fn push(&mut self, queued: Queued) {
        self.bytes += queued.delivery.event.body.len();
        if queued.delivery.attempts == 0 {
            self.fresh.push_back(queued);
        } else {
            self.retries.push_back(queued);
        }
    }

    /// The next delivery, and whether it is a retry: one after so many fresh ones where both wait, whatever `may_retry` says:
    /// that is a share by itself, and no other endpoint's retries can keep it from this one. `None` when there is nothing,
    /// or nothing but retries and they may not go.
    pub(super) fn pop(&mut self, fresh_run: usize, may_retry: bool) -> Option<(Queued, bool)> {
        let is_retry = self.is_retry_next(fresh_run);
        if self.fresh.is_empty() && !may_retry {
            return None;
        }
        let queued = if is_retry {
            self.fresh_run = 0;
            self.retries.pop_front()?
        } else {
            self.fresh_run = if self.retries.is_empty() { 0 } else { self.fresh_run + 1 };
            self.fresh.pop_front()?
        };
        self.bytes -= queued.delivery.event.body.len();
        Some((queued, is_retry))
    }

    fn is_retry_next(&self, fresh_run: usize) -> bool {
        match (self.fresh.is_empty(), self.retries.is_empty()) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => self.fresh_run >= fresh_run,
        }
    }

    /// What goes into the same request as `first`. Retries among them take no slot, so nothing keeps them back.
    pub(super) fn pop_more(&mut self, first: &Queued, fresh_run: usize, limit: Limit) -> Vec<Queued> {
        let mut more = Vec::new();
        let Some(gather) = limit.gather else { return more };
        let mut bytes = weight(first);
        while more.len() + 1 < gather.most {
            let queue = if self.is_retry_next(fresh_run) { &self.retries } else { &self.fresh };
            let Some(next) = queue.front() else { break };
            bytes += weight(next);
            if bytes > REQUEST_BYTES {
                break;
            }
            more.extend(self.pop(fresh_run, true).map(|(queued, _)| queued));
        }
        more
    }

    /// Until when a request would wait for more deliveries; `None` when it can go now.
    pub(super) fn gathers_until(&self, limit: Limit, now: Instant) -> Option<Instant> {
        let gather = limit.gather?;
        let is_full = self.fresh.len() + self.retries.len() >= gather.most || self.bytes >= REQUEST_BYTES;
        let first =
            [self.fresh.front(), self.retries.front()].into_iter().flatten().map(|queued| queued.at).min()?;
        Some(first + gather.wait).filter(|until| !is_full && *until > now)
    }

    /// Takes out everything queued.
    pub(super) fn take(&mut self) -> Vec<Queued> {
        self.bytes = 0;
        let mut taken: Vec<_> = std::mem::take(&mut self.fresh).into();
        taken.extend(std::mem::take(&mut self.retries));
        taken
    }

    /// Takes out what belongs to another owner.
    pub(super) fn take_foreign(&mut self, owner: ProcessId) -> Vec<Queued> {
        let mut foreign = Vec::new();
        for queue in [&mut self.fresh, &mut self.retries] {
            let (kept, taken): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(queue).into_iter().partition(|queued| queued.delivery.owner == owner);
            *queue = kept;
            self.bytes -= taken.iter().map(|queued| queued.delivery.event.body.len()).sum::<usize>();
            foreign.extend(taken);
        }
        foreign
    }

    /// The tenant, while something is queued.
    pub(super) fn project(&self) -> Option<ProjectId> {
        let first = self.fresh.front().or_else(|| self.retries.front())?;
        Some(first.delivery.event.project)
    }

    pub(super) fn queued(&self) -> usize {
        self.fresh.len() + self.retries.len()
    }

    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether it could send now, if there is a slot.
    pub(super) fn is_able(&self, limit: Limit) -> bool {
        !(self.fresh.is_empty() && self.retries.is_empty())
            && self.held_until.is_none()
            && self.in_flight < self.pace.concurrency(limit)
    }

    /// Whether it does nothing and waits for nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.fresh.is_empty() && self.retries.is_empty() && self.held_until.is_none()
    }

    /// Whether nothing is known of it that is worth keeping.
    pub(super) fn is_blank(&self) -> bool {
        self.is_idle() && self.used_at.is_none()
    }

    /// An attempt begins; true for the first one ever.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        if self.in_flight == 0 {
            self.quiet_since = Some(now);
        }
        self.in_flight += 1;
        self.used_at.replace(now).is_none()
    }

    /// An attempt ended.
    pub(super) fn end(&mut self, ended: Ended, limit: Limit) {
        self.pace.ended(ended, self.in_flight, limit);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.quiet_since = None;
    }

    /// Looks whether its attempts hang; at least twice per [`SLOW_AFTER`].
    pub(super) fn look(&mut self, now: Instant) {
        let since = *self.quiet_since.get_or_insert(now);
        if self.in_flight > 0 && now.duration_since(since) >= SLOW_AFTER {
            self.pace.stalled();
        }
        for queue in [&mut self.fresh, &mut self.retries] {
            if queue.capacity() > SPARE && queue.len() < queue.capacity() / 4 {
                queue.shrink_to(SPARE.max(2 * queue.len()));
            }
        }
    }

    /// Whether it has been of no use for so long.
    pub(super) fn is_forgotten(&self, now: Instant, after: Duration) -> bool {
        self.is_idle() && self.used_at.is_none_or(|used| now.duration_since(used) >= after)
    }
}

//! Match → deliveries: which endpoints an event goes to, and which of those deliveries fit into memory.

use longshore_core::endpoint::EndpointStatus;
use longshore_core::ports::{NewDelivery, NewEvent};
use longshore_core::{Clock, IdGenerator, LaneId, Snapshot, SubscriptionId, Timestamp};

use crate::dispatch::most_held;
use crate::ledger::{Ledger, Wanted};

/// The deliveries that a batch of events makes.
#[derive(Debug)]
pub(super) struct Fanout {
    /// In the order of `targets`.
    wanted: Vec<Wanted>,
    /// Index of the event, why, and in which lane.
    targets: Vec<(usize, Option<SubscriptionId>, Option<LaneId>)>,
    has_unmatched: bool,
}

impl Fanout {
    /// Matches every event against the snapshot, in memory.
    pub(super) fn of(events: &[NewEvent], snapshot: &Snapshot) -> Self {
        let mut fanout = Self {
            wanted: Vec::with_capacity(events.len()),
            targets: Vec::with_capacity(events.len()),
            has_unmatched: false,
        };
        for (index, new) in events.iter().enumerate() {
            let matches = snapshot.matches(&new.event);
            fanout.has_unmatched |= matches.is_empty();
            for found in matches {
                // A paused endpoint's deliveries wait in Postgres.
                let is_paused = found.endpoint.status == EndpointStatus::Paused;
                let concurrency = if is_paused { 0 } else { found.endpoint.max_concurrency };
                fanout.wanted.push(Wanted {
                    endpoint: found.endpoint.id,
                    concurrency,
                    per_request: found.endpoint.settings.events_per_request(),
                    most: most_held(&found.endpoint.settings),
                    bytes: new.event.body.len(),
                    is_laned: found.lane.is_some(),
                });
                fanout.targets.push((index, found.subscription, found.lane));
            }
        }
        fanout
    }

    /// Whether some event makes no delivery.
    pub(super) const fn has_unmatched(&self) -> bool {
        self.has_unmatched
    }

    /// Gives every event its deliveries, all of which wait in Postgres for whoever claims them.
    pub(super) fn spill(self, events: &mut [NewEvent], ids: &IdGenerator, now: Timestamp) {
        for (want, (index, subscription, lane)) in self.wanted.into_iter().zip(self.targets) {
            let id = ids.delivery(now);
            let delivery = NewDelivery { id, endpoint: want.endpoint, subscription, hand_over: false, lane };
            events[index].deliveries.push(delivery);
        }
    }

    /// Gives every event its deliveries. Waits a moment when memory is full and about to have room: see [`Ledger`].
    pub(super) async fn reserve(self, events: &mut [NewEvent], ledger: &Ledger, clock: &impl Clock) {
        let places = ledger.reserve(&self.wanted, clock).await;
        let places = places.into_iter().zip(self.wanted).zip(self.targets);
        for ((place, want), (index, subscription, lane)) in places {
            events[index].deliveries.push(NewDelivery {
                id: place.id,
                endpoint: want.endpoint,
                subscription,
                hand_over: place.hand_over,
                lane,
            });
        }
    }
}

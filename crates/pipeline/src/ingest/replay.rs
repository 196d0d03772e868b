//! Quarantined messages become events after all: decoded as they came, with the configuration of today.
//!
//! What it is for: what was wrong has been put right (a mapping, a missing endpoint, a limit), and the messages that
//! waited are to go through. What it does not do: deliver; the deliveries wait in Postgres for whatever process claims
//! them. Invariant: a message becomes one event at most, however often it is replayed, by however many at once, and
//! wherever a replay is cut off: the event's id is written down before the event is stored, or follows from the
//! message itself.

use std::num::NonZeroUsize;
use std::sync::Arc;

use longshore_core::event::Event;
use longshore_core::ports::{Identity, NewEvent, PersistBatch, ReplayLog, Replayable, StoreError, Stored};
use longshore_core::quarantine::Reason;
use longshore_core::{Clock, EventId, IdGenerator, QuarantineId, Snapshot, Timestamp};
use longshore_source::{Message, Position, in_flight};

use super::Origin;
use super::batch::detail;
use super::decode::{Context, Draft, decode};
use super::fanout::Fanout;
use crate::dispatch::egress::EgressRules;

/// What became of a replayed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is an event now, and goes out.
    Stored(EventId),
    /// It is an event now, but not delivered: its idempotency key was seen before.
    Duplicate(EventId),
    /// It is an event already: its source delivered it again meanwhile, or an earlier replay got that far.
    Known(Option<EventId>),
    /// It still is none. The row stays and says why.
    Faulty {
        /// The class of the fault.
        reason: Reason,
        /// A sentence for people; holds no payload.
        detail: String,
    },
    /// The row is gone, or another replay has finished it.
    Gone,
}

/// Replays one source's messages, one transaction each, and tells what became of each as soon as it is known.
///
/// # Errors
/// [`StoreError`]: what was told is so; the message at hand may be stored or not, and replaying it again is safe.
pub async fn replay<L: ReplayLog, C: Clock>(
    log: &L,
    origin: &Origin,
    rules: &EgressRules,
    messages: Vec<Replayable>,
    ids: &IdGenerator,
    clock: &C,
    mut told: impl FnMut(QuarantineId, Replayed),
) -> Result<(), StoreError> {
    let mut run = Run { log, origin, rules, ids, now: clock.now(), snapshot: log.snapshot().await? };
    for replayable in messages {
        run.now = clock.now();
        let id = replayable.id;
        let became = run.one(replayable).await?;
        told(id, became);
    }
    Ok(())
}

/// Makes deliveries of events that are stored already, by the subscriptions of this snapshot; all of them wait in Postgres.
#[must_use]
pub fn deliver_anew(
    events: Vec<Arc<Event>>,
    snapshot: &Snapshot,
    ids: &IdGenerator,
    now: Timestamp,
) -> Vec<NewEvent> {
    let new = |event| NewEvent { event, identity: Identity::Id, deliveries: Vec::new() };
    let mut news: Vec<NewEvent> = events.into_iter().map(new).collect();
    Fanout::of(&news, snapshot).spill(&mut news, ids, now);
    news
}

struct Run<'a, L> {
    log: &'a L,
    origin: &'a Origin,
    rules: &'a EgressRules,
    ids: &'a IdGenerator,
    now: Timestamp,
    snapshot: Arc<Snapshot>,
}

impl<L: ReplayLog> Run<'_, L> {
    async fn one(&mut self, replayable: Replayable) -> Result<Replayed, StoreError> {
        let id = replayable.id;
        let Some(message) = message(replayable).await else {
            return Err(StoreError::Misconfigured("no slot for a replayed message".to_owned()));
        };
        let mut draft = match decode(&message, &self.context()) {
            Ok(draft) => draft,
            Err(fault) => return self.still_faulty(id, fault.reason, detail(fault)).await,
        };
        drop(message);
        if let Some(registration) = draft.registration.take() {
            match self.log.register_dynamic(&[registration]).await {
                Ok(()) => self.snapshot = self.log.snapshot().await?,
                Err(StoreError::Rejected(problem)) => {
                    return self.still_faulty(id, Reason::Rejected, problem).await;
                }
                Err(error) => return Err(error),
            }
        }
        let Some(new) = self.identified(id, draft).await? else { return Ok(Replayed::Gone) };
        let event = new.event.id;
        let identity = new.identity;
        let batch = PersistBatch { events: vec![new], ..PersistBatch::default() };
        let stored = match self.log.persist(&batch).await {
            Ok(stored) => stored,
            Err(StoreError::Rejected(problem)) => {
                return self.still_faulty(id, Reason::Rejected, problem).await;
            }
            Err(error) => return Err(error),
        };
        let (became, event) = match stored.first() {
            Some(Stored::New { .. }) => (Replayed::Stored(event), Some(event)),
            Some(Stored::Duplicate) => (Replayed::Duplicate(event), Some(event)),
            Some(Stored::Known) | None => {
                let known = match identity {
                    Identity::Id | Identity::Content { .. } => Some(event),
                    Identity::Named { digest, .. } => self.log.event_of(digest).await?,
                };
                (Replayed::Known(known), known)
            }
        };
        self.log.mark_replayed(id, event).await?;
        Ok(became)
    }

    /// What a replayed message is decoded with: the one place where a replay and normal ingest could differ. The
    /// source's present mapping comes with its [`Origin`].
    fn context(&self) -> Context<'_> {
        Context {
            origin: self.origin,
            snapshot: &self.snapshot,
            rules: self.rules,
            ids: self.ids,
            window: self.log.id_window(),
            now: self.now,
        }
    }

    /// The event under an id that every replay of this row would give it, with its deliveries; `None` when the row is
    /// done with.
    async fn identified(&self, id: QuarantineId, draft: Draft) -> Result<Option<NewEvent>, StoreError> {
        let Draft { mut event, identity, registration: _ } = draft;
        let floor = EventId::floor(self.log.id_window().0.max(Timestamp::EPOCH));
        let Some(chosen) = self.log.choose_event(id, event.id, floor).await? else { return Ok(None) };
        let identity = match identity {
            // The id follows from the message. Its source may have delivered it again meanwhile: then it is known.
            Identity::Id => Identity::Id,
            // By its name it is found on earlier days as well.
            Identity::Named { digest, .. } => {
                event.id = chosen;
                Identity::Named { digest, redelivered: true }
            }
            // A message without a name is this row and no other message, even of the same bytes: those were sent twice.
            Identity::Content { digest, .. } => {
                event.id = chosen;
                Identity::Content { digest, redelivered: false }
            }
        };
        let mut new = [NewEvent { event: Arc::new(event), identity, deliveries: Vec::new() }];
        Fanout::of(&new, &self.snapshot).spill(&mut new, self.ids, self.now);
        let [new] = new;
        Ok(Some(new))
    }

    async fn still_faulty(
        &self,
        id: QuarantineId,
        reason: Reason,
        detail: String,
    ) -> Result<Replayed, StoreError> {
        self.log.mark_faulty(id, reason, &detail).await?;
        Ok(Replayed::Faulty { reason, detail })
    }
}

/// The message as its source handed it over. Where it stood in its log is left out: nothing is read from there.
async fn message(replayable: Replayable) -> Option<Message> {
    let Replayable { facts, headers, body, .. } = replayable;
    // Nobody waits for its acknowledgement: the settlement goes nowhere.
    let (tracker, _) = in_flight(NonZeroUsize::MIN);
    let ack = tracker.reserve(NonZeroUsize::MIN).await.fill(())?;
    Some(Message {
        body,
        headers: headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        position: Position {
            message_id: facts.message_id,
            label: facts.label,
            timestamp_ms: facts.timestamp_ms,
            address: facts.address,
            key: facts.key,
            offset: None,
        },
        route: None,
        redelivered: facts.redelivered,
        attempt: facts.attempt,
        tombstone: facts.tombstone,
        ack,
    })
}

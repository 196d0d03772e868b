//! The typestate of a batch: `Received → Decoded → Matched → Persisted`. Only a persisted batch can ack, and there is
//! no other way to get one than to commit: the promise "acked if and only if durable" is a matter of types.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use longshore_core::ports::{
    ClaimedDelivery, DynamicEndpoint, EventLog, Identity, NewEvent, PersistBatch, QuarantinedMessage,
    SourceOffset, StoreError, Stored,
};
use longshore_core::quarantine::{MessageFacts, Reason};
use longshore_core::{EndpointId, EventId, ProjectId, QuarantineId, SourceId, Timestamp};
use longshore_source::{AckToken, Message, Position, Receipt, Refusal};

use super::Origin;
use super::decode::{Context, Draft, decode};
use super::fields::Undecodable;

/// A batch of messages in one of its states.
#[derive(Debug)]
pub(super) struct Batch<S> {
    state: S,
}

/// As the source handed it over.
#[derive(Debug)]
pub(super) struct Received {
    messages: Vec<Message>,
    at: Timestamp,
}

/// Drafts of events, and messages that can never be one.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Each with its place in the batch: what is delivered in order is stored in the order in which it came.
    drafts: Vec<(usize, Draft, Original, AckToken)>,
    faults: Vec<(usize, Undecodable, Message)>,
    at: Timestamp,
}

/// A message as it came, for the quarantine that it may still end in.
#[derive(Debug)]
struct Original {
    body: Bytes,
    headers: longshore_source::Headers,
    position: Position,
    redelivered: bool,
    tombstone: bool,
    attempt: Option<u32>,
}

/// Everything one transaction stores, and the tokens in the order of its events; a token beyond them belongs to a
/// quarantined message or to a second copy in the same batch.
#[derive(Debug)]
pub(super) struct Matched {
    rows: PersistBatch,
    /// Of each event, in the order of the events.
    originals: Vec<Original>,
    tokens: Vec<(AckToken, Fate)>,
}

/// What a token waits for.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The event at this index of the batch.
    Event(usize),
    /// The quarantined message at this index of the batch.
    Quarantined(usize),
}

/// Durable.
#[derive(Debug)]
pub(super) struct Persisted {
    rows: PersistBatch,
    stored: Vec<Stored>,
    tokens: Vec<(AckToken, Fate)>,
}

impl Batch<Received> {
    pub(super) fn received(messages: Vec<Message>, at: Timestamp) -> Self {
        Self { state: Received { messages, at } }
    }

    /// Decodes every message.
    pub(super) fn decode(self, context: &Context<'_>) -> Batch<Decoded> {
        let Received { messages, at } = self.state;
        let mut decoded = Decoded { drafts: Vec::with_capacity(messages.len()), faults: Vec::new(), at };
        for (place, message) in messages.into_iter().enumerate() {
            decoded.take(place, message, context);
        }
        Batch { state: decoded }
    }
}

impl Decoded {
    fn take(&mut self, place: usize, message: Message, context: &Context<'_>) {
        match decode(&message, context) {
            Ok(draft) => {
                let (original, token) = Original::of(message);
                self.drafts.push((place, draft, original, token));
            }
            Err(fault) => self.faults.push((place, fault, message)),
        }
    }
}

impl Original {
    fn of(message: Message) -> (Self, AckToken) {
        let Message { body, headers, position, route: _, redelivered, attempt, tombstone, ack } = message;
        (Self { body, headers, position, redelivered, tombstone, attempt }, ack)
    }

    /// Without its route, which has served.
    fn into_message(self, ack: AckToken) -> Message {
        let Self { body, headers, position, redelivered, tombstone, attempt } = self;
        Message { body, headers, position, route: None, redelivered, attempt, tombstone, ack }
    }

    /// The row of this message, which cannot be an event.
    fn quarantined(self, row: Row) -> QuarantinedMessage {
        QuarantinedMessage {
            id: row.id,
            project: row.project,
            source: row.source,
            reason: row.reason,
            detail: row.detail,
            position: describe(&self.position),
            facts: MessageFacts {
                message_id: self.position.message_id,
                label: self.position.label,
                timestamp_ms: self.position.timestamp_ms,
                address: self.position.address,
                key: self.position.key,
                redelivered: self.redelivered,
                tombstone: self.tombstone,
                attempt: self.attempt,
            },
            headers: self.headers.into_iter().collect(),
            body: self.body,
            received_at: row.received_at,
        }
    }
}

/// What a row of the quarantine holds besides the message.
struct Row {
    id: QuarantineId,
    project: ProjectId,
    source: Option<SourceId>,
    reason: Reason,
    detail: String,
    received_at: Timestamp,
}

impl Batch<Decoded> {
    /// Whether some message is a fault that a newer snapshot may know nothing of: its endpoint, or its event type, may be
    /// newer than this one.
    pub(super) fn may_be_newer(&self) -> bool {
        let may_be = |reason| {
            matches!(reason, Reason::UnknownEndpoint | Reason::UnknownEventType | Reason::InvalidData)
        };
        self.state.faults.iter().any(|(_, fault, _)| may_be(fault.reason))
    }

    /// Decodes the faulty messages again, against a newer snapshot.
    pub(super) fn decode_again(mut self, context: &Context<'_>) -> Self {
        for (place, _, message) in std::mem::take(&mut self.state.faults) {
            self.state.take(place, message, context);
        }
        self.state.drafts.sort_by_key(|(place, ..)| *place);
        self
    }

    /// The endpoints that `dynamic` events ask for, each once.
    pub(super) fn registrations(&self) -> Vec<DynamicEndpoint> {
        let mut wanted: Vec<DynamicEndpoint> = Vec::new();
        for (_, draft, ..) in &self.state.drafts {
            if let Some(registration) = &draft.registration
                && wanted.iter().all(|other| other.id != registration.id)
            {
                wanted.push(registration.clone());
            }
        }
        wanted
    }

    /// Makes a fault of every message that asks for an endpoint which cannot be registered.
    pub(super) fn refuse_registration(&mut self, endpoint: EndpointId, problem: &str) {
        for (place, draft, original, token) in std::mem::take(&mut self.state.drafts) {
            if draft.registration.as_ref().is_some_and(|wanted| wanted.id == endpoint) {
                let problem = format!("names an endpoint that cannot be registered: {problem}");
                let fault = Undecodable { reason: Reason::Rejected, field: "url".into(), problem };
                self.state.faults.push((place, fault, original.into_message(token)));
            } else {
                self.state.drafts.push((place, draft, original, token));
            }
        }
    }

    /// Tells producers who wait for their answer what is wrong with their messages. Nothing is stored for those.
    pub(super) fn refuse_faults(&mut self) {
        for (_, fault, message) in self.state.faults.drain(..) {
            let refusal = Refusal { field: fault.field.into_owned(), problem: fault.problem };
            message.ack.refuse(refusal);
        }
    }

    /// Leaves out second copies within the batch and turns the rest into rows. The caller adds deliveries.
    pub(super) fn into_rows(self, origin: &Origin) -> Batch<Matched> {
        let Decoded { drafts, faults, at } = self.state;
        let mut matched =
            Matched { rows: PersistBatch::default(), originals: Vec::new(), tokens: Vec::new() };
        let positions = drafts.iter().map(|(_, _, original, _)| &original.position);
        let positions = positions.chain(faults.iter().map(|(_, _, message)| &message.position));
        matched.rows.offsets = offsets(positions, origin, at);
        let mut seen: HashMap<u128, usize> = HashMap::with_capacity(drafts.len());
        for (_, draft, original, token) in drafts {
            let next = matched.rows.events.len();
            let key = match draft.identity {
                Identity::Id => Some(draft.event.id.as_u128()),
                Identity::Named { digest, .. } => Some(digest),
                // The same bytes twice in one batch are two messages: a broker delivers each once per connection.
                Identity::Content { .. } => None,
            };
            let index = key.map_or(next, |key| *seen.entry(key).or_insert(next));
            matched.tokens.push((token, Fate::Event(index)));
            if index == next {
                let event = Arc::new(draft.event);
                matched.originals.push(original);
                matched.rows.events.push(NewEvent {
                    event,
                    identity: draft.identity,
                    deliveries: Vec::new(),
                });
            }
        }
        for (_, fault, message) in faults {
            if let Some(row) = row(fault, &message, origin, at) {
                let (original, token) = Original::of(message);
                matched.tokens.push((token, Fate::Quarantined(matched.rows.quarantined.len())));
                matched.rows.quarantined.push(original.quarantined(row));
            }
        }
        Batch { state: matched }
    }
}

impl Batch<Matched> {
    /// The events, for the fan-out to add deliveries.
    pub(super) fn events_mut(&mut self) -> &mut [NewEvent] {
        &mut self.state.rows.events
    }

    pub(super) fn rows(&self) -> &PersistBatch {
        &self.state.rows
    }

    /// Runs the transaction. On failure the batch comes back, to be held and tried again: it does not go back to the
    /// broker.
    pub(super) async fn commit(self, log: &impl EventLog) -> Result<Batch<Persisted>, (StoreError, Self)> {
        match log.persist(&self.state.rows).await {
            Ok(stored) => {
                let Matched { rows, tokens, .. } = self.state;
                Ok(Batch { state: Persisted { rows, stored, tokens } })
            }
            Err(error) => Err((error, self)),
        }
    }

    /// Splits the batch into one batch per row: the way to find the one that the database refuses. How far its logs are
    /// stored is left out: each row is a transaction of its own, and no one of them knows that all below it is stored.
    /// The next batch says it.
    pub(super) fn into_singles(self) -> Vec<Self> {
        let Matched { rows, originals, tokens } = self.state;
        let single = |rows, originals| Self { state: Matched { rows, originals, tokens: Vec::new() } };
        let mut singles = Vec::with_capacity(rows.events.len() + rows.quarantined.len());
        for (event, original) in rows.events.into_iter().zip(originals) {
            let rows = PersistBatch { events: vec![event], ..PersistBatch::default() };
            singles.push(single(rows, vec![original]));
        }
        let events = singles.len();
        for message in rows.quarantined {
            let rows = PersistBatch { quarantined: vec![message], ..PersistBatch::default() };
            singles.push(single(rows, Vec::new()));
        }
        for (token, fate) in tokens {
            let (index, fate) = match fate {
                Fate::Event(index) => (index, Fate::Event(0)),
                Fate::Quarantined(index) => (events + index, Fate::Quarantined(0)),
            };
            singles[index].state.tokens.push((token, fate));
        }
        singles
    }

    /// Turns a single event that the database refuses into a quarantined message.
    pub(super) fn into_quarantine(self, problem: &str) -> Self {
        let Matched { rows, originals, tokens } = self.state;
        let quarantined = rows.events.iter().zip(originals).map(|(new, original)| {
            original.quarantined(Row {
                id: QuarantineId::from_u128(new.event.id.as_u128()),
                project: new.event.project,
                source: new.event.source,
                reason: Reason::Rejected,
                detail: problem.to_owned(),
                received_at: new.event.received_at,
            })
        });
        let quarantined = quarantined.collect();
        let rows = PersistBatch { events: Vec::new(), quarantined, offsets: rows.offsets };
        let tokens = tokens.into_iter().map(|(token, _)| (token, Fate::Quarantined(0))).collect();
        Self { state: Matched { rows, originals: Vec::new(), tokens } }
    }

    /// Tells producers who wait for their answer that their event cannot be stored.
    pub(super) fn refuse(self) {
        for (token, _) in self.state.tokens {
            let problem = "the event holds something that the database does not accept".to_owned();
            token.refuse(Refusal { field: String::new(), problem });
        }
    }

    /// Looks for what a commit of this batch left, after its messages went back: it has nothing to ack any more.
    pub(super) async fn recall(self, log: &impl EventLog) -> Result<Batch<Persisted>, (StoreError, Self)> {
        match log.recall(&self.state.rows).await {
            Ok(stored) => {
                let Matched { rows, tokens, .. } = self.state;
                Ok(Batch { state: Persisted { rows, stored, tokens } })
            }
            Err(error) => Err((error, self)),
        }
    }

    /// Gives every message back to its source. The rows stay: they may be stored, if only the reply was lost.
    pub(super) fn give_back(&mut self) {
        for (token, _) in self.state.tokens.drain(..) {
            token.retry(None);
        }
    }
}

impl Batch<Persisted> {
    /// What became of each event, with the event.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&NewEvent, Stored)> {
        self.state.rows.events.iter().zip(self.state.stored.iter().copied())
    }

    pub(super) fn quarantined(&self) -> &[QuarantinedMessage] {
        &self.state.rows.quarantined
    }

    /// Endpoints for which something new waits in a lane, where it may be its turn already.
    pub(super) fn laned(&self) -> HashSet<EndpointId> {
        let new = self.stored().filter(|(_, stored)| matches!(stored, Stored::New { .. }));
        let deliveries = new.flat_map(|(new, _)| &new.deliveries);
        deliveries.filter(|delivery| delivery.lane.is_some()).map(|delivery| delivery.endpoint).collect()
    }

    /// The deliveries that this process owns now.
    pub(super) fn handed_over(&self) -> Vec<ClaimedDelivery> {
        let mut fresh = Vec::new();
        for (new, stored) in self.stored() {
            let Stored::New { owner: Some(owner) } = stored else { continue };
            fresh.extend(new.deliveries.iter().filter(|delivery| delivery.hand_over).map(|delivery| {
                ClaimedDelivery {
                    id: delivery.id,
                    event: Arc::clone(&new.event),
                    endpoint: delivery.endpoint,
                    subscription: delivery.subscription,
                    attempts: 0,
                    throttled: 0,
                    scheduled: false,
                    owner,
                    place: None,
                }
            }));
        }
        fresh
    }

    /// Tells every producer and broker that its message is durable. The only caller of [`AckToken::ack`].
    pub(super) fn ack(self) {
        let Persisted { rows, stored, tokens } = self.state;
        for (token, fate) in tokens {
            let receipt = match fate {
                Fate::Event(index) => Receipt {
                    event: rows.events[index].event.id.as_u128(),
                    duplicate: stored[index] == Stored::Duplicate,
                },
                Fate::Quarantined(_) => Receipt::default(),
            };
            token.ack(receipt);
        }
    }
}

/// How far each log is stored once the batch is, events and quarantined messages alike: the whole batch is one
/// transaction, and a source hands out a log's messages in their order.
fn offsets<'a>(
    positions: impl Iterator<Item = &'a Position>,
    origin: &Origin,
    at: Timestamp,
) -> Vec<SourceOffset> {
    let Some((source, _)) = origin.source else { return Vec::new() };
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for found in positions.filter_map(|position| position.offset.as_ref()) {
        let above = found.offset.saturating_add(1);
        next.entry(&found.log).and_modify(|next| *next = above.max(*next)).or_insert(above);
    }
    let offset =
        |(log, next): (&str, u64)| SourceOffset { source, log: log.to_owned(), next, received_at: at };
    next.into_iter().map(offset).collect()
}

/// The row for a message that can never be an event; `None` when it belongs to no project.
fn row(fault: Undecodable, message: &Message, origin: &Origin, at: Timestamp) -> Option<Row> {
    let (source, project) = origin.source?;
    let position = &message.position;
    let (reason, detail) = (fault.reason, detail(fault));
    // Placed by the time of receipt; made of the message, so that a redelivery on the same day adds no second row.
    let name = position.message_id.as_deref().unwrap_or_default();
    let digest = longshore_core::ids::digest(&[name.as_bytes(), position.address.as_bytes(), &message.body]);
    let day = Timestamp::from_secs(at.as_secs() / 86_400 * 86_400);
    let id = QuarantineId::from_u128(EventId::derive(source, &digest.to_be_bytes(), day).as_u128());
    Some(Row { id, project, source: Some(source), reason, detail, received_at: at })
}

/// What is wrong, as a row of the quarantine says it.
pub(super) fn detail(fault: Undecodable) -> String {
    if fault.field.is_empty() { fault.problem } else { format!("`{}` {}", fault.field, fault.problem) }
}

/// A position for people: the message's name and its address.
fn describe(position: &Position) -> String {
    let name = position.message_id.as_deref().unwrap_or_default();
    format!("{name} {}", position.address).trim().to_owned()
}

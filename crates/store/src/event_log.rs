//! Ingest's transaction: a whole batch in one statement, and a second one for what is delivered in order.

use std::collections::HashMap;

use longshore_core::event::{Event, Target};
use longshore_core::ports::{
    DynamicEndpoint, EventLog, Identity, NewEvent, PersistBatch, QuarantinedMessage, SourceOffset,
    StoreError, Stored,
};
use longshore_core::{EventId, ProcessId, Timestamp};
use sqlx::{Connection, PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::bodies::Bodies;
use crate::connect::Store;
use crate::error::sort;
use crate::lanes;

/// Bodies that take more bytes than this are the exception: memory for them is not kept.
const LARGE: usize = 4 * 1024 * 1024;

/// What the statement says of an event it stored.
#[derive(Clone, Copy)]
struct Fresh {
    is_duplicate: bool,
    owner: Option<ProcessId>,
}

impl EventLog for Store {
    async fn persist(&self, batch: &PersistBatch) -> Result<Vec<Stored>, StoreError> {
        let owner = self.current_owner();
        self.within(async {
            let mut connection = self.checkout().await?;
            let stored = store_batch(&mut connection, owner, batch).await;
            connection.end(stored)
        })
        .await
    }

    async fn recall(&self, batch: &PersistBatch) -> Result<Vec<Stored>, StoreError> {
        let owner = self.current_owner();
        self.within(async {
            let mut connection = self.checkout().await?;
            let mut stored = vec![Stored::Known; batch.events.len()];
            let recalled = recognise_own(&mut connection, owner, &batch.events, &mut stored).await;
            connection.end(recalled.map(|()| stored))
        })
        .await
    }

    async fn config_version(&self) -> Result<i64, StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let version = sqlx::query_scalar!("SELECT version FROM config_version")
                .fetch_one(&mut *connection)
                .await
                .map_err(sort);
            connection.end(version)
        })
        .await
    }

    fn id_window(&self) -> (Timestamp, Timestamp) {
        self.window()
    }

    async fn register_dynamic(&self, endpoints: &[DynamicEndpoint]) -> Result<(), StoreError> {
        crate::rows::register_dynamic(self, endpoints).await
    }
}

async fn store_batch(
    connection: &mut PgConnection,
    owner: ProcessId,
    batch: &PersistBatch,
) -> Result<Vec<Stored>, StoreError> {
    let is_laned = lanes::laned(batch.events.iter()).next().is_some();
    let fresh = if batch.quarantined.is_empty() && !is_laned {
        // A single statement is its own transaction: no BEGIN, no COMMIT, one round trip.
        insert_events(&mut *connection, owner, batch).await?
    } else {
        let mut transaction = connection.begin().await.map_err(sort)?;
        let fresh = insert_events(&mut *transaction, owner, batch).await?;
        if !batch.quarantined.is_empty() {
            insert_quarantined(&mut transaction, &batch.quarantined).await?;
        }
        let is_new = |new: &&NewEvent| fresh.get(&new.event.id).is_some_and(|fresh| !fresh.is_duplicate);
        lanes::enter(&mut transaction, batch.events.iter().filter(is_new)).await?;
        transaction.commit().await.map_err(sort)?;
        fresh
    };
    let mut stored: Vec<Stored> = batch
        .events
        .iter()
        .map(|new| match fresh.get(&new.event.id) {
            Some(Fresh { is_duplicate: true, .. }) => Stored::Duplicate,
            Some(Fresh { owner, .. }) => Stored::New { owner: *owner },
            None => Stored::Known,
        })
        .collect();
    recognise_own(connection, owner, &batch.events, &mut stored).await?;
    if batch.events.iter().map(|new| new.event.body.len()).sum::<usize>() > LARGE
        || batch.quarantined.iter().map(|message| message.body.len()).sum::<usize>() > LARGE
    {
        // What a connection has once sent at a time it would keep room for.
        connection.shrink_buffers();
    }
    Ok(stored)
}

async fn insert_events(
    executor: impl PgExecutor<'_>,
    owner: ProcessId,
    batch: &PersistBatch,
) -> Result<HashMap<EventId, Fresh>, StoreError> {
    if batch.events.is_empty() && batch.offsets.is_empty() {
        return Ok(HashMap::new());
    }
    // Rows are written in the order of their ids, so that two processes that got the same messages wait for each
    // other and do not deadlock.
    let mut sorted: Vec<&NewEvent> = batch.events.iter().collect();
    sorted.sort_unstable_by_key(|new| new.event.id);
    let offset_columns = OffsetColumns::of(&batch.offsets);
    let event_columns = EventColumns::of(&sorted);
    let delivery_columns = DeliveryColumns::of(&sorted);
    let laned: Vec<Uuid> =
        lanes::laned(batch.events.iter()).map(|(_, _, delivery)| delivery.id.as_uuid()).collect();
    let rows = sqlx::query_file!(
        "queries/persist_events.sql",
        owner.as_uuid(),
        &event_columns.project,
        &event_columns.id,
        &event_columns.source as _,
        &event_columns.kind as _,
        &event_columns.endpoint as _,
        &event_columns.owner as _,
        &event_columns.event_type as _,
        &event_columns.idempotency_key as _,
        &event_columns.headers,
        &event_columns.body as _,
        &event_columns.received_at,
        &event_columns.digest as _,
        &event_columns.is_named,
        &event_columns.is_redelivered,
        &event_columns.ordering_key as _,
        &event_columns.occurred_at as _,
        &event_columns.content_type as _,
        &event_columns.attributes as _,
        &delivery_columns.project,
        &delivery_columns.event,
        &delivery_columns.id,
        &delivery_columns.endpoint,
        &delivery_columns.subscription as _,
        &delivery_columns.hand_over,
        &offset_columns.source,
        &offset_columns.log as _,
        &offset_columns.next,
        &offset_columns.received_at,
        &laned,
        &event_columns.url_query as _,
    )
    .fetch_all(executor)
    .await
    .map_err(sort)?;
    let fresh = rows.into_iter().map(|row| {
        let fresh = Fresh { is_duplicate: row.is_duplicate, owner: row.is_claimed.then_some(owner) };
        (EventId::from_uuid(row.id), fresh)
    });
    Ok(fresh.collect())
}

/// An event that was there already may be our own: the reply to an earlier commit of the same batch was lost. Then
/// its deliveries carry the ids we gave them, and whoever holds them is what the row says.
async fn recognise_own(
    connection: &mut PgConnection,
    owner: ProcessId,
    events: &[NewEvent],
    stored: &mut [Stored],
) -> Result<(), StoreError> {
    let (mut projects, mut ids) = (Vec::new(), Vec::new());
    for (new, _) in events.iter().zip(&*stored).filter(|(_, stored)| **stored == Stored::Known) {
        projects.extend(new.deliveries.iter().map(|_| new.event.project.as_uuid()));
        ids.extend(new.deliveries.iter().map(|delivery| delivery.id.as_uuid()));
    }
    if ids.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query_file!("queries/find_deliveries.sql", &projects, &ids)
        .fetch_all(connection)
        .await
        .map_err(sort)?;
    let mut own: HashMap<EventId, bool> = HashMap::new();
    for row in rows {
        *own.entry(EventId::from_uuid(row.event_id)).or_default() |= row.claimed_by == Some(owner.as_uuid());
    }
    for (new, stored) in events.iter().zip(stored) {
        if let (Stored::Known, Some(claimed)) = (*stored, own.get(&new.event.id)) {
            *stored = Stored::New { owner: claimed.then_some(owner) };
        }
    }
    Ok(())
}

/// A statement's parameters exist twice more while it is sent, so large bodies do not all go at once.
async fn insert_quarantined(
    connection: &mut PgConnection,
    messages: &[QuarantinedMessage],
) -> Result<(), StoreError> {
    let mut rest = messages;
    while let Some(first) = rest.first() {
        let mut bytes = first.body.len();
        let more = rest[1..].iter().take_while(|message| {
            bytes += message.body.len();
            bytes <= LARGE
        });
        let (some, others) = rest.split_at(1 + more.count());
        insert_some_quarantined(connection, some).await?;
        rest = others;
    }
    Ok(())
}

async fn insert_some_quarantined(
    connection: &mut PgConnection,
    messages: &[QuarantinedMessage],
) -> Result<(), StoreError> {
    let column = |of: fn(&QuarantinedMessage) -> String| messages.iter().map(of).collect::<Vec<_>>();
    let sources: Vec<Option<Uuid>> = messages.iter().map(|m| m.source.map(|id| id.as_uuid())).collect();
    let bodies = Bodies(messages.iter().map(|m| &*m.body).collect());
    sqlx::query_file!(
        "queries/quarantine.sql",
        &messages.iter().map(|m| m.project.as_uuid()).collect::<Vec<_>>(),
        &messages.iter().map(|m| m.id.as_uuid()).collect::<Vec<_>>(),
        &sources as _,
        &column(|m| m.reason.to_string()),
        &column(|m| without_nul(&m.detail)),
        &column(|m| without_nul(&m.position)),
        &column(|m| m.headers.to_json()),
        &column(|m| m.facts.to_json()),
        &bodies as _,
        &messages.iter().map(|m| m.received_at.to_utc()).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(sort)
}

/// Postgres' `text` cannot hold a NUL character.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The columns of a batch of events: one array parameter each.
#[derive(Default)]
struct EventColumns<'a> {
    project: Vec<Uuid>,
    id: Vec<Uuid>,
    source: Vec<Option<Uuid>>,
    kind: Vec<&'a str>,
    endpoint: Vec<Option<Uuid>>,
    owner: Vec<Option<&'a str>>,
    event_type: Vec<&'a str>,
    idempotency_key: Vec<Option<&'a str>>,
    headers: Vec<String>,
    body: Bodies<'a>,
    received_at: Vec<OffsetDateTime>,
    digest: Vec<Option<Uuid>>,
    is_named: Vec<bool>,
    is_redelivered: Vec<bool>,
    ordering_key: Vec<Option<&'a str>>,
    occurred_at: Vec<Option<OffsetDateTime>>,
    content_type: Vec<Option<&'a str>>,
    attributes: Vec<Option<&'a str>>,
    url_query: Vec<Option<&'a str>>,
}

impl<'a> EventColumns<'a> {
    fn of(events: &[&'a NewEvent]) -> Self {
        let mut columns = Self::default();
        for new in events {
            let event = &*new.event;
            columns.project.push(event.project.as_uuid());
            columns.id.push(event.id.as_uuid());
            columns.source.push(event.source.map(|id| id.as_uuid()));
            columns.kind.push(event.target.kind().as_str());
            columns.endpoint.push(event.target.endpoint().map(|id| id.as_uuid()));
            columns.owner.push(match &event.target {
                Target::Fanout(owner) => Some(owner),
                _ => None,
            });
            columns.event_type.push(&event.event_type);
            columns.idempotency_key.push(event.idempotency_key.as_deref());
            columns.headers.push(event.headers.to_json());
            columns.body.0.push(&event.body);
            columns.received_at.push(event.received_at.to_utc());
            let (digest, is_named, is_redelivered) = match new.identity {
                Identity::Id => (None, false, false),
                Identity::Named { digest, redelivered } => (Some(Uuid::from_u128(digest)), true, redelivered),
                Identity::Content { digest, redelivered } => {
                    (Some(Uuid::from_u128(digest)), false, redelivered)
                }
            };
            columns.digest.push(digest);
            columns.is_named.push(is_named);
            columns.is_redelivered.push(is_redelivered);
        }
        columns.ordering_key = rare(events, |event| event.ordering_key.as_deref());
        columns.occurred_at = rare(events, |event| event.occurred_at.map(Timestamp::to_utc));
        columns.content_type = rare(events, |event| event.content_type.as_deref());
        columns.attributes = rare(events, |event| event.attributes.as_deref());
        columns.url_query = rare(events, |event| event.url_query.as_deref());
        columns
    }
}

/// A column that most batches do not have: empty unless some event has a value, and then nothing is sent.
fn rare<'a, T>(events: &[&'a NewEvent], of: impl Fn(&'a Event) -> Option<T>) -> Vec<Option<T>> {
    if events.iter().all(|new| of(&new.event).is_none()) {
        return Vec::new();
    }
    events.iter().map(|new| of(&new.event)).collect()
}

/// The columns of the deliveries that a batch of events makes.
#[derive(Default)]
struct DeliveryColumns {
    project: Vec<Uuid>,
    event: Vec<Uuid>,
    id: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    subscription: Vec<Option<Uuid>>,
    hand_over: Vec<bool>,
}

impl DeliveryColumns {
    fn of(events: &[&NewEvent]) -> Self {
        let mut columns = Self::default();
        for new in events {
            for delivery in &new.deliveries {
                columns.project.push(new.event.project.as_uuid());
                columns.event.push(new.event.id.as_uuid());
                columns.id.push(delivery.id.as_uuid());
                columns.endpoint.push(delivery.endpoint.as_uuid());
                columns.subscription.push(delivery.subscription.map(|id| id.as_uuid()));
                // Its turn in a lane comes by the schedule.
                columns.hand_over.push(delivery.hand_over && delivery.lane.is_none());
            }
        }
        columns
    }
}

/// The columns of the offsets of a batch; empty for brokers without logs.
#[derive(Default)]
struct OffsetColumns<'a> {
    source: Vec<Uuid>,
    log: Vec<&'a str>,
    next: Vec<i64>,
    received_at: Vec<OffsetDateTime>,
}

impl<'a> OffsetColumns<'a> {
    fn of(offsets: &'a [SourceOffset]) -> Self {
        let mut columns = Self::default();
        for offset in offsets {
            columns.source.push(offset.source.as_uuid());
            columns.log.push(&offset.log);
            columns.next.push(i64::try_from(offset.next).unwrap_or(i64::MAX));
            columns.received_at.push(offset.received_at.to_utc());
        }
        columns
    }
}

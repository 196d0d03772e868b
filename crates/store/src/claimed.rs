//! A claimed delivery as its row.

use std::sync::Arc;

use longshore_core::event::{Event, EventKind, Headers, Target};
use longshore_core::ports::{ClaimedDelivery, LanePlace, StoreError};
use longshore_core::{
    DeliveryId, EndpointId, EventId, LaneId, ProcessId, ProjectId, SourceId, SubscriptionId, Timestamp,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// What the statements that claim return.
pub(crate) struct ClaimedRow {
    pub(crate) id: Uuid,
    pub(crate) endpoint_id: Uuid,
    pub(crate) subscription_id: Option<Uuid>,
    pub(crate) attempt_count: i16,
    pub(crate) throttled_count: i16,
    pub(crate) lane_id: Option<Uuid>,
    pub(crate) lane_sequence: Option<i64>,
    pub(crate) owner: Uuid,
    pub(crate) project_id: Uuid,
    pub(crate) event_id: Uuid,
    pub(crate) source_id: Option<Uuid>,
    pub(crate) kind: String,
    pub(crate) event_endpoint_id: Option<Uuid>,
    pub(crate) owner_id: Option<String>,
    pub(crate) event_type: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
    pub(crate) received_at: OffsetDateTime,
    pub(crate) ordering_key: Option<String>,
    pub(crate) occurred_at: Option<OffsetDateTime>,
    pub(crate) content_type: Option<String>,
    pub(crate) attributes: Option<String>,
    pub(crate) url_query: Option<String>,
}

impl TryFrom<ClaimedRow> for ClaimedDelivery {
    type Error = StoreError;

    fn try_from(row: ClaimedRow) -> Result<Self, StoreError> {
        let target = target(&row.kind, row.event_endpoint_id, row.owner_id)?;
        let event = Event {
            id: EventId::from_uuid(row.event_id),
            project: ProjectId::from_uuid(row.project_id),
            source: row.source_id.map(SourceId::from_uuid),
            target,
            event_type: row.event_type,
            body: row.body.into(),
            headers: Headers::from_json(&row.headers).map_err(|_| bad_row("headers"))?,
            idempotency_key: row.idempotency_key,
            received_at: Timestamp::from_utc(row.received_at),
            ordering_key: row.ordering_key,
            occurred_at: row.occurred_at.map(Timestamp::from_utc),
            content_type: row.content_type,
            attributes: row.attributes,
            url_query: row.url_query,
        };
        let place = row.lane_id.zip(row.lane_sequence).map(|(lane, sequence)| LanePlace {
            lane: LaneId::from_uuid(lane),
            sequence: u64::try_from(sequence).unwrap_or(0),
        });
        Ok(Self {
            id: DeliveryId::from_uuid(row.id),
            event: Arc::new(event),
            endpoint: EndpointId::from_uuid(row.endpoint_id),
            subscription: row.subscription_id.map(SubscriptionId::from_uuid),
            attempts: u16::try_from(row.attempt_count).unwrap_or(u16::MAX),
            throttled: u16::try_from(row.throttled_count).unwrap_or(0),
            scheduled: true,
            owner: ProcessId::from_uuid(row.owner),
            place,
        })
    }
}

pub(crate) fn bad_row(column: &str) -> StoreError {
    StoreError::Misconfigured(format!("unexpected value in `events.{column}`: is the schema this program's?"))
}

pub(crate) fn target(
    kind: &str,
    endpoint: Option<Uuid>,
    owner: Option<String>,
) -> Result<Target, StoreError> {
    match kind.parse::<EventKind>().map_err(|_| bad_row("kind"))? {
        EventKind::Single => endpoint.map(|id| Target::Single(EndpointId::from_uuid(id))),
        EventKind::Fanout => owner.map(Target::Fanout),
        EventKind::Broadcast => Some(Target::Broadcast),
        EventKind::Incoming => Some(Target::Incoming),
        EventKind::Dynamic => endpoint.map(|id| Target::Dynamic(EndpointId::from_uuid(id))),
    }
    .ok_or_else(|| bad_row("endpoint_id"))
}

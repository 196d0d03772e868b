//! What follows from the ends of deliveries: notices, and endpoints that are switched off.

use std::collections::HashMap;

use longshore_core::notice::{DisableReason, Notice, NoticeKind};
use longshore_core::ports::{Next, Outcome, StoreError};
use longshore_core::{DeliveryId, EndpointId, SubscriptionId};
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::disable;
use super::tell::tell;
use crate::error::sort;
use crate::seal::Keys;

/// Does what the outcomes' aftermath says; to be called in the transaction that recorded them, sorted by delivery.
pub(crate) async fn follow(
    connection: &mut PgConnection,
    keys: &Keys,
    outcomes: &[&Outcome],
) -> Result<(), StoreError> {
    let followed: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| outcome.aftermath.is_told || outcome.aftermath.disables().is_some())
        .copied()
        .collect();
    let (Some(first), Some(last)) = (followed.first(), followed.last()) else { return Ok(()) };
    let projects: Vec<Uuid> = followed.iter().map(|outcome| outcome.project.as_uuid()).collect();
    let deliveries: Vec<Uuid> = followed.iter().map(|outcome| outcome.delivery.as_uuid()).collect();
    let rows = sqlx::query_file!(
        "queries/ended_deliveries.sql",
        &projects,
        &deliveries,
        first.delivery.as_uuid(),
        last.delivery.as_uuid(),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(sort)?;
    let mut by_id: HashMap<DeliveryId, &Outcome> =
        followed.iter().map(|outcome| (outcome.delivery, *outcome)).collect();
    let mut notices = Vec::new();
    let mut off: HashMap<EndpointId, DisableReason> = HashMap::new();
    for row in rows {
        let Some(outcome) = by_id.remove(&DeliveryId::from_uuid(row.id)) else { continue };
        match outcome.aftermath.disables() {
            Some(DisableReason::Gone) => {
                off.insert(outcome.endpoint, DisableReason::Gone);
            }
            Some(reason) if row.is_sustained => {
                off.entry(outcome.endpoint).or_insert(reason);
            }
            _ => {}
        }
        if outcome.aftermath.is_told {
            let ended = Ended {
                subscription: row.subscription_id.map(SubscriptionId::from_uuid),
                event_type: row.event_type,
                received_at: row.received_at,
            };
            notices.push(notice(outcome, &ended));
        }
    }
    let off: Vec<_> = off.into_iter().collect();
    notices.extend(disable(connection, &off).await?);
    tell(connection, keys, &notices).await
}

/// What the database knows of an ended delivery.
struct Ended {
    subscription: Option<SubscriptionId>,
    event_type: Option<String>,
    received_at: Option<OffsetDateTime>,
}

fn notice(outcome: &Outcome, ended: &Ended) -> Notice {
    let (kind, status) = match outcome.next {
        Next::Success => (NoticeKind::DeliverySuccess, "Success"),
        // Given up in order: it waits for somebody.
        Next::Blocked | Next::SetAside => (NoticeKind::DeliveryFailed, "Retry"),
        _ => (NoticeKind::DeliveryFailed, "Failure"),
    };
    let attempt = outcome.attempt.as_ref().map(|attempt| {
        json!({
            "uid": attempt.id,
            "number": attempt.number,
            "url": attempt.url,
            "started_at": rfc3339(attempt.started_at.to_utc()),
            "duration_ms": u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            "outcome": attempt.outcome.class(),
            "http_status": attempt.outcome.status(),
            "error": (!attempt.error.is_empty()).then_some(&attempt.error),
        })
    });
    let data = json!({
        "uid": outcome.delivery,
        "project_id": outcome.project,
        "event_id": outcome.event,
        "endpoint_id": outcome.endpoint,
        "subscription_id": ended.subscription,
        "event_type": ended.event_type,
        "status": status,
        "reason": outcome.aftermath.end.map(longshore_core::retry::End::as_str),
        "attempts": outcome.attempts,
        "received_at": ended.received_at.map(rfc3339),
        "last_attempt": attempt,
    });
    Notice { project: outcome.project, kind, subject: outcome.endpoint.as_u128(), data }
}

/// As times are written on the wire.
pub(super) fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

//! Switches endpoints off, once.

use longshore_core::notice::{DisableReason, Notice, NoticeKind};
use longshore_core::ports::StoreError;
use longshore_core::{EndpointId, ProjectId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::sort;

/// Switches off those that are still on, and returns what there is to tell. `endpoints` holds each at most once.
pub(crate) async fn disable(
    connection: &mut PgConnection,
    endpoints: &[(EndpointId, DisableReason)],
) -> Result<Vec<Notice>, StoreError> {
    let mut notices = Vec::new();
    let mut sorted = endpoints.to_vec();
    sorted.sort_unstable_by_key(|(endpoint, _)| *endpoint);
    for (endpoint, reason) in sorted {
        // Looked at first: an update that changes nothing counts as a change of the configuration all the same.
        // Who is gone is gone while it is paused, too.
        let is_gone = reason == DisableReason::Gone;
        let is_on = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT FROM endpoints WHERE id = $1 AND (status = 'active' OR ($2 AND status = 'paused'))
               ) AS "is_on!""#,
            endpoint.as_uuid(),
            is_gone,
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(sort)?;
        if !is_on {
            continue;
        }
        let changed = sqlx::query_scalar!(
            "UPDATE endpoints SET status = 'inactive', status_reason = $2, status_changed_at = now(),
                 updated_at = now()
             WHERE id = $1 AND (status = 'active' OR ($3 AND status = 'paused'))
             RETURNING project_id",
            endpoint.as_uuid(),
            reason.as_str(),
            is_gone,
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(sort)?;
        let Some(project) = changed else { continue };
        tracing::warn!(endpoint.id = %endpoint, reason = reason.as_str(), "endpoint disabled");
        metrics::counter!("endpoints_disabled_total", "reason" => reason.as_str()).increment(1);
        notices.push(Notice {
            project: ProjectId::from_uuid(project),
            kind: NoticeKind::EndpointDisabled,
            subject: endpoint.as_u128(),
            data: endpoint_data(connection, endpoint.as_uuid()).await?,
        });
    }
    Ok(notices)
}

/// An endpoint as meta events show it; null when there is none.
pub(crate) async fn endpoint_data(connection: &mut PgConnection, id: Uuid) -> Result<Value, StoreError> {
    let row = sqlx::query!(
        "SELECT project_id, name, url, owner_id, status, status_reason, status_changed_at, created_at, updated_at
         FROM endpoints WHERE id = $1",
        id
    )
    .fetch_optional(connection)
    .await
    .map_err(sort)?;
    Ok(row.map_or(Value::Null, |row| {
        json!({
            "uid": EndpointId::from_uuid(id),
            "project_id": ProjectId::from_uuid(row.project_id),
            "name": row.name,
            "url": row.url,
            "owner_id": row.owner_id,
            "status": row.status,
            "status_reason": row.status_reason,
            "status_changed_at": row.status_changed_at.map(super::follow::rfc3339),
            "created_at": super::follow::rfc3339(row.created_at),
            "updated_at": super::follow::rfc3339(row.updated_at),
        })
    }))
}

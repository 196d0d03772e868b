//! Attempts of one delivery, for the public API.

use longshore_core::event::Headers;
use longshore_core::ports::StoreError;
use longshore_core::{AttemptId, DeliveryId, EndpointId, Timestamp};
use time::OffsetDateTime;
use uuid::Uuid;

use super::sight::Sight;
use crate::connect::Store;
use crate::error::{misconfigured, sort};

/// An attempt as it was recorded.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// Its id.
    pub id: AttemptId,
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Where it went.
    pub endpoint: EndpointId,
    /// 1 for the first one.
    pub number: u16,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u32,
    /// The outcome's class.
    pub outcome: String,
    /// What was answered, if anything.
    pub http_status: Option<u16>,
    /// What went wrong; empty when nothing did.
    pub error: String,
    /// The URL as it was asked.
    pub url: String,
    /// What was sent.
    pub request_headers: Headers,
    /// What came back.
    pub response_headers: Headers,
    /// The beginning of what came back.
    pub response_body: Vec<u8>,
    /// The address that answered, if any did.
    pub remote_address: Option<String>,
    /// What followed.
    pub next_state: String,
    /// When the next one is, if there is one.
    pub next_attempt_at: Option<Timestamp>,
}

struct Row {
    id: Uuid,
    endpoint_id: Uuid,
    number: i16,
    started_at: OffsetDateTime,
    duration_us: i32,
    outcome: String,
    http_status: Option<i16>,
    error: String,
    url: String,
    request_headers: String,
    response_headers: String,
    response_body: Vec<u8>,
    remote_address: Option<String>,
    next_state: String,
    next_attempt_at: Option<OffsetDateTime>,
}

impl Row {
    fn into_record(self, delivery: DeliveryId) -> Result<AttemptRecord, StoreError> {
        let headers = |text: &str| {
            Headers::from_json(text).map_err(|error| misconfigured(format!("headers of an attempt: {error}")))
        };
        Ok(AttemptRecord {
            id: AttemptId::from_uuid(self.id),
            delivery,
            endpoint: EndpointId::from_uuid(self.endpoint_id),
            number: u16::try_from(self.number).unwrap_or(0),
            started_at: Timestamp::from_utc(self.started_at),
            duration_us: u32::try_from(self.duration_us).unwrap_or(0),
            outcome: self.outcome,
            http_status: self.http_status.and_then(|status| u16::try_from(status).ok()),
            error: self.error,
            url: self.url,
            request_headers: headers(&self.request_headers)?,
            response_headers: headers(&self.response_headers)?,
            response_body: self.response_body,
            remote_address: self.remote_address,
            next_state: self.next_state,
            next_attempt_at: self.next_attempt_at.map(Timestamp::from_utc),
        })
    }
}

impl Store {
    /// The last attempts of a delivery that is in sight, oldest first; one of them when it is named.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn attempts(
        &self,
        sight: &Sight,
        delivery: DeliveryId,
        named: Option<AttemptId>,
        most: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        let mut rows = sqlx::query_as!(
            Row,
            r#"SELECT id, endpoint_id, number, started_at, duration_us, outcome, http_status, error, url,
                   request_headers::text AS "request_headers!", response_headers::text AS "response_headers!",
                   response_body, remote_address, next_state, NULLIF(next_attempt_at, 'infinity') AS next_attempt_at
               FROM attempts
               WHERE project_id = $1 AND delivery_id = $2 AND ($3::uuid IS NULL OR id = $3)
               ORDER BY id DESC LIMIT $4"#,
            sight.project_id().as_uuid(),
            delivery.as_uuid(),
            named.map(|id| id.as_uuid()),
            i64::from(most),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.reverse();
        rows.into_iter().map(|row| row.into_record(delivery)).collect()
    }
}

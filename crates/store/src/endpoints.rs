//! What operators ask of one endpoint: show it, pause and activate it, roll its secret.
//!
//! What it does not do: change what a resource file declares of it ([`crate::admin`] does). Invariants: each change is
//! one transaction, which running processes follow within a second; a secret is sealed before it reaches SQL.

use std::time::Duration;

use longshore_core::endpoint::{EndpointStatus, LONGEST_OVERLAP, MAX_LIVE_SECRETS};
use longshore_core::notice::{Notice, NoticeKind};
use longshore_core::ports::StoreError;
use longshore_core::signature::SigningKey;
use longshore_core::{Clock, EndpointId, IdGenerator, ProjectId, Secret, SystemClock, Timestamp};
use rand::rngs::{OsRng, StdRng};
use rand::{SeedableRng, TryRngCore};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::breakers;
use crate::connect::Store;
use crate::error::{misconfigured, sort};
use crate::feed::lock_config;
use crate::notices::{endpoint_data, tell};

/// An endpoint without what is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSummary {
    /// Its id.
    pub id: EndpointId,
    /// For people; unique among those that a resource file manages.
    pub name: String,
    /// Whether a resource file manages it.
    pub is_managed: bool,
    /// Where webhooks go.
    pub url: String,
    /// Whose it is.
    pub owner_id: Option<String>,
    /// Whether it takes deliveries.
    pub status: EndpointStatus,
    /// Why, when nobody set it by hand.
    pub status_reason: Option<String>,
    /// Since when, as far as that is known.
    pub status_changed_at: Option<Timestamp>,
}

/// One of an endpoint's secrets.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// What signs.
    pub key: SigningKey,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it no longer signs; `None` for the current one.
    pub expires_at: Option<Timestamp>,
}

/// What a roll did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolled {
    /// How many older secrets go on signing.
    pub beside: usize,
    /// Until when, at most.
    pub until: Timestamp,
}

impl Store {
    /// The endpoints of a project, sorted by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_summaries(&self, project: ProjectId) -> Result<Vec<EndpointSummary>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT id, name, resource_name IS NOT NULL AS "is_managed!", url, owner_id, status, status_reason,
                   status_changed_at
               FROM endpoints WHERE project_id = $1 ORDER BY name, id"#,
            project.as_uuid()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.into_iter()
            .map(|row| {
                Ok(EndpointSummary {
                    id: EndpointId::from_uuid(row.id),
                    name: row.name,
                    is_managed: row.is_managed,
                    url: row.url,
                    owner_id: row.owner_id,
                    status: row.status.parse().map_err(misconfigured)?,
                    status_reason: row.status_reason,
                    status_changed_at: row.status_changed_at.map(Timestamp::from_utc),
                })
            })
            .collect()
    }

    /// An endpoint's secrets, oldest first, expired ones included.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misconfigured`] names a row that does not open.
    pub async fn endpoint_secrets(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
    ) -> Result<Vec<StoredSecret>, StoreError> {
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let found = self.secrets(&mut connection, project, endpoint).await?;
        Ok(found.into_iter().map(|(secret, _)| secret).collect())
    }

    /// Gives an endpoint another status by hand; the reason it had is cleared. Returns the former status, `None` when
    /// there is no such endpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_endpoint_status(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        status: EndpointStatus,
    ) -> Result<Option<EndpointStatus>, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        lock_config(&mut transaction).await?;
        let before = self.set_status_within(&mut transaction, project, endpoint, status).await?;
        transaction.commit().await.map_err(sort)?;
        Ok(before)
    }

    /// As [`Self::set_endpoint_status`], as a part of a change that has the turn.
    pub(crate) async fn set_status_within(
        &self,
        connection: &mut PgConnection,
        project: ProjectId,
        endpoint: EndpointId,
        status: EndpointStatus,
    ) -> Result<Option<EndpointStatus>, StoreError> {
        let before = sqlx::query_scalar!(
            "SELECT status FROM endpoints WHERE project_id = $1 AND id = $2 FOR UPDATE",
            project.as_uuid(),
            endpoint.as_uuid()
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(sort)?;
        let Some(before) = before else { return Ok(None) };
        sqlx::query!(
            "UPDATE endpoints SET status = $3, status_reason = NULL, status_changed_at = now(),
                 updated_at = clock_timestamp()
             WHERE project_id = $1 AND id = $2 AND status <> $3",
            project.as_uuid(),
            endpoint.as_uuid(),
            status.as_str()
        )
        .execute(&mut *connection)
        .await
        .map_err(sort)?;
        let before: EndpointStatus = before.parse().map_err(misconfigured)?;
        if before != status {
            let is_back = (before, status) == (EndpointStatus::Inactive, EndpointStatus::Active);
            if is_back {
                breakers::reset(connection, endpoint).await?;
            }
            let kinds = [Some(NoticeKind::EndpointUpdated), is_back.then_some(NoticeKind::EndpointEnabled)];
            self.tell_of(connection, project, endpoint, kinds.into_iter().flatten()).await?;
        }
        Ok(Some(before))
    }

    /// Gives an endpoint a new secret, which signs at once. Those it has go on for `overlap` at most; zero ends them.
    /// Returns `None` when there is no such endpoint.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when the secret cannot sign or is there already, `overlap` is more than a year, or too
    /// many secrets would sign at once.
    pub async fn roll_secret(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        secret: &Secret<String>,
        overlap: Duration,
    ) -> Result<Option<Rolled>, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        lock_config(&mut transaction).await?;
        let rolled = self.roll_within(&mut transaction, project, endpoint, secret, overlap).await?;
        transaction.commit().await.map_err(sort)?;
        Ok(rolled)
    }

    /// As [`Self::roll_secret`], as a part of a change that has the turn.
    pub(crate) async fn roll_within(
        &self,
        connection: &mut PgConnection,
        project: ProjectId,
        endpoint: EndpointId,
        secret: &Secret<String>,
        overlap: Duration,
    ) -> Result<Option<Rolled>, StoreError> {
        let rejected = |problem: String| StoreError::Rejected(problem);
        SigningKey::parse(secret.expose()).map_err(|error| rejected(error.to_string()))?;
        if overlap > LONGEST_OVERLAP {
            return Err(rejected("the old secrets may go on for a year at most".to_owned()));
        }
        // One roll of an endpoint at a time: they are counted.
        let found = sqlx::query_scalar!(
            r#"SELECT now() AS "now!" FROM endpoints WHERE project_id = $1 AND id = $2 FOR UPDATE"#,
            project.as_uuid(),
            endpoint.as_uuid()
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(sort)?;
        let Some(now) = found.map(Timestamp::from_utc) else { return Ok(None) };
        let secrets = self.secrets(connection, project, endpoint).await?;
        let live = secrets.iter().filter(|(secret, _)| secret.expires_at.is_none_or(|end| now < end));
        let beside = if overlap.is_zero() { 0 } else { live.count() };
        if secrets.iter().any(|(_, text)| text == secret) {
            return Err(rejected("the endpoint has this secret already; make a new one".to_owned()));
        }
        if beside >= MAX_LIVE_SECRETS {
            return Err(rejected(format!(
                "{beside} secrets of the endpoint sign already, which is the most; wait until one has expired, or end \
                 them now with an expiry of 0s"
            )));
        }
        let until = now.after(overlap);
        self.replace_secret(connection, project, endpoint, secret, until).await?;
        self.tell_of(connection, project, endpoint, [NoticeKind::EndpointUpdated]).await?;
        Ok(Some(Rolled { beside, until }))
    }

    async fn tell_of(
        &self,
        connection: &mut PgConnection,
        project: ProjectId,
        endpoint: EndpointId,
        kinds: impl IntoIterator<Item = NoticeKind>,
    ) -> Result<(), StoreError> {
        let data = endpoint_data(connection, endpoint.as_uuid()).await?;
        let notices: Vec<Notice> = kinds
            .into_iter()
            .map(|kind| Notice { project, kind, subject: endpoint.as_u128(), data: data.clone() })
            .collect();
        tell(connection, self.keys(), &notices).await
    }

    /// Ends what signs now at `until`, and adds the new one.
    async fn replace_secret(
        &self,
        connection: &mut PgConnection,
        project: ProjectId,
        endpoint: EndpointId,
        secret: &Secret<String>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        // Whatever ended long ago is of no use to anybody. Clocks of processes may differ by less than a day.
        sqlx::query!(
            "DELETE FROM endpoint_secrets
             WHERE project_id = $1 AND endpoint_id = $2 AND expires_at < now() - interval '1 day'",
            project.as_uuid(),
            endpoint.as_uuid()
        )
        .execute(&mut *connection)
        .await
        .map_err(sort)?;
        // LEAST leaves NULL out of account: the current one gets the expiry, one that expires sooner keeps its own.
        sqlx::query!(
            "UPDATE endpoint_secrets SET expires_at = LEAST(expires_at, $3)
             WHERE project_id = $1 AND endpoint_id = $2",
            project.as_uuid(),
            endpoint.as_uuid(),
            until.to_utc()
        )
        .execute(&mut *connection)
        .await
        .map_err(sort)?;
        let mut random = OsRng.unwrap_err();
        let now = SystemClock.now();
        let id = Uuid::from_u128(IdGenerator::new(now, StdRng::from_rng(&mut random)).next(now));
        let sealed = self.keys().seal(secret.expose().as_bytes(), id.as_bytes(), &mut random);
        sqlx::query!(
            "INSERT INTO endpoint_secrets (project_id, endpoint_id, id, sealed) VALUES ($1, $2, $3, $4)",
            project.as_uuid(),
            endpoint.as_uuid(),
            id,
            sealed.map_err(misconfigured)?
        )
        .execute(&mut *connection)
        .await
        .map(drop)
        .map_err(sort)
    }

    /// Secrets, oldest first, with their text.
    async fn secrets(
        &self,
        connection: &mut PgConnection,
        project: ProjectId,
        endpoint: EndpointId,
    ) -> Result<Vec<(StoredSecret, Secret<String>)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, sealed, created_at, expires_at FROM endpoint_secrets
             WHERE project_id = $1 AND endpoint_id = $2 ORDER BY created_at, id",
            project.as_uuid(),
            endpoint.as_uuid()
        )
        .fetch_all(connection)
        .await
        .map_err(sort)?;
        rows.into_iter()
            .map(|row| {
                let bad =
                    |problem: String| misconfigured(format!("endpoint_secrets row {}: {problem}", row.id));
                let plain =
                    self.keys().open(&row.sealed, row.id.as_bytes()).map_err(|e| bad(e.to_string()))?;
                let text = String::from_utf8(plain).map_err(|_| bad("not text".to_owned()))?;
                let key = SigningKey::parse(&text).map_err(|error| bad(error.to_string()))?;
                let secret = StoredSecret {
                    key,
                    created_at: Timestamp::from_utc(row.created_at),
                    expires_at: row.expires_at.map(Timestamp::from_utc),
                };
                Ok((secret, Secret::new(text)))
            })
            .collect()
    }
}

//! Endpoints with a subscription each, many at once, for the public API.
//!
//! Invariant: an endpoint comes with its secret and its subscription, or not at all.

use longshore_core::endpoint::{Authentication, EndpointCredentials};
use longshore_core::notice::{Notice, NoticeKind};
use longshore_core::ports::StoreError;
use longshore_core::signature::SigningKey;
use longshore_core::{EndpointId, ProjectId, SubscriptionId, TypePattern};
use url::Url;
use uuid::Uuid;

use super::changing::Changing;
use crate::error::{misconfigured, sort};
use crate::notices::endpoint_data;

/// An endpoint to be made, and the events that it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct OnboardRow {
    /// For people; the subscription's too.
    pub name: String,
    /// Where to POST.
    pub url: Url,
    /// Which events.
    pub event_type: TypePattern,
    /// What its requests carry besides the signature.
    pub authentication: Option<Authentication>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onboarded {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its subscription.
    pub subscription: SubscriptionId,
}

#[derive(Default)]
struct Columns {
    endpoint: Vec<Uuid>,
    name: Vec<String>,
    url: Vec<String>,
    credentials: Vec<Option<Vec<u8>>>,
    secret_id: Vec<Uuid>,
    secret: Vec<Vec<u8>>,
    subscription: Vec<Uuid>,
    event_type: Vec<String>,
}

impl Changing {
    /// Makes them all, in their order, with a fresh secret each, and tells those who want to know.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn onboard(
        &mut self,
        project: ProjectId,
        rows: &[OnboardRow],
    ) -> Result<Vec<Onboarded>, StoreError> {
        let mut columns = Columns::default();
        let mut made = Vec::with_capacity(rows.len());
        for row in rows {
            made.push(self.prepare(row, &mut columns)?);
        }
        self.insert(project, &columns).await?;
        for Onboarded { endpoint, .. } in &made {
            let data = endpoint_data(self.connection(), endpoint.as_uuid()).await?;
            let subject = endpoint.as_u128();
            self.note(Notice { project, kind: NoticeKind::EndpointCreated, subject, data });
        }
        Ok(made)
    }

    fn prepare(&mut self, row: &OnboardRow, columns: &mut Columns) -> Result<Onboarded, StoreError> {
        let endpoint = EndpointId::from_u128(self.next_id());
        let subscription = SubscriptionId::from_u128(self.next_id());
        let credentials = match &row.authentication {
            None => None,
            Some(authentication) => {
                let authentication = Some(authentication.clone());
                let credentials = EndpointCredentials { authentication, ..EndpointCredentials::default() };
                // Its own words could quote a credential.
                let text = serde_json::to_vec(&credentials)
                    .map_err(|_| misconfigured("an endpoint's credentials cannot be written"))?;
                Some(self.seal(&text, endpoint.as_uuid())?)
            }
        };
        let secret_id = Uuid::from_u128(self.next_id());
        let secret = SigningKey::generate(self.rng());
        columns.secret.push(self.seal(secret.as_bytes(), secret_id)?);
        columns.secret_id.push(secret_id);
        columns.endpoint.push(endpoint.as_uuid());
        columns.name.push(row.name.clone());
        columns.url.push(row.url.as_str().to_owned());
        columns.credentials.push(credentials);
        columns.subscription.push(subscription.as_uuid());
        columns.event_type.push(row.event_type.to_string());
        Ok(Onboarded { endpoint, subscription })
    }

    async fn insert(&mut self, project: ProjectId, columns: &Columns) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO endpoints (project_id, id, name, url, sealed_credentials)
             SELECT $1, id, name, url, credentials
             FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[]) AS t (id, name, url, credentials)",
            project.as_uuid(),
            &columns.endpoint,
            &columns.name,
            &columns.url,
            &columns.credentials as _,
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        sqlx::query!(
            "INSERT INTO endpoint_secrets (project_id, endpoint_id, id, sealed)
             SELECT $1, endpoint_id, id, sealed
             FROM unnest($2::uuid[], $3::uuid[], $4::bytea[]) AS t (endpoint_id, id, sealed)",
            project.as_uuid(),
            &columns.endpoint,
            &columns.secret_id,
            &columns.secret,
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        sqlx::query!(
            "INSERT INTO subscriptions (project_id, id, endpoint_id, name, event_types)
             SELECT $1, id, endpoint_id, name, ARRAY[event_type]
             FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[]) AS t (id, endpoint_id, name, event_type)",
            project.as_uuid(),
            &columns.subscription,
            &columns.endpoint,
            &columns.name,
            &columns.event_type,
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }
}

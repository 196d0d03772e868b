//! Portal links and their tokens, for the public API.
//!
//! Invariants: a link is over every endpoint of its owner, the ones to come too; the text of a short-lived token is
//! nowhere; that of a static one is sealed, and is in no line of the audit log.

mod change;

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{EndpointId, PortalLinkId, ProjectId, Secret, Timestamp};
use time::OffsetDateTime;

use super::page::{Page, PageRequest};
use super::sight::Sight;
use crate::api_keys::ApiKeyText;
use crate::connect::Store;
use crate::error::{misconfigured, sort};
use crate::seal::Keys;

/// How long a short-lived token is good.
pub const PORTAL_TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// Endpoints that a link is shown with at most.
const SHOWN_ENDPOINTS: i64 = 100;

/// Which tokens a link takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// Its own, for as long as there is the link, and short-lived ones.
    StaticToken,
    /// Short-lived ones alone.
    RefreshToken,
}

/// What people say of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalLinkDraft {
    /// For people.
    pub name: String,
    /// Whose endpoints it is over.
    pub owner_id: String,
    /// Which tokens it takes.
    pub auth_type: AuthType,
    /// Whether these endpoints may be changed with it.
    pub can_manage_endpoint: bool,
}

/// A portal link as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct PortalLinkRecord {
    /// Its id.
    pub id: PortalLinkId,
    /// What people say of it.
    pub draft: PortalLinkDraft,
    /// Its own token; `None` for one with short-lived tokens alone.
    pub token: Option<Secret<String>>,
    /// How many endpoints its owner has.
    pub endpoint_count: u64,
    /// The first hundred of them.
    pub endpoints: Vec<OwnedEndpoint>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// An endpoint of a link's owner, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// For people.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// `active`, `paused` or `inactive`.
    pub status: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Which links are asked for; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortalLinkFilter {
    /// Of this owner.
    pub owner_id: Option<String>,
    /// With this text in their name, whatever its case.
    pub text: Option<String>,
}

/// A short-lived token that was just made. Its text is shown once.
#[derive(Debug)]
pub struct PortalToken {
    /// The token itself.
    pub text: ApiKeyText,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

struct Row {
    id: uuid::Uuid,
    name: String,
    owner_id: String,
    auth_type: String,
    can_manage_endpoint: bool,
    sealed_token: Option<Vec<u8>>,
    endpoint_count: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Row {
    fn open(self, keys: &Keys) -> Result<PortalLinkRecord, StoreError> {
        let fault = |problem: String| misconfigured(format!("portal_links row {}: {problem}", self.id));
        let token = self.sealed_token.map(|sealed| {
            let plain = keys.open(&sealed, self.id.as_bytes()).map_err(|error| fault(error.to_string()))?;
            String::from_utf8(plain).map(Secret::new).map_err(|_| fault("its token is not text".to_owned()))
        });
        let auth_type = AuthType::of(&self.auth_type)
            .ok_or_else(|| fault(format!("unknown auth_type `{}`", self.auth_type)))?;
        Ok(PortalLinkRecord {
            id: PortalLinkId::from_uuid(self.id),
            draft: PortalLinkDraft {
                name: self.name,
                owner_id: self.owner_id,
                auth_type,
                can_manage_endpoint: self.can_manage_endpoint,
            },
            token: token.transpose()?,
            endpoint_count: u64::try_from(self.endpoint_count).unwrap_or_default(),
            endpoints: Vec::new(),
            created_at: Timestamp::from_utc(self.created_at),
            updated_at: Timestamp::from_utc(self.updated_at),
        })
    }
}

impl AuthType {
    /// The word used on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StaticToken => "static_token",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// The one of that word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        [Self::StaticToken, Self::RefreshToken].into_iter().find(|known| known.as_str() == text)
    }
}

impl Store {
    /// A page of a project's portal links, each with its endpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn portal_links_page(
        &self,
        project: ProjectId,
        filter: &PortalLinkFilter,
        request: &PageRequest,
    ) -> Result<Page<PortalLinkRecord>, StoreError> {
        let (after, before) = request.bounds();
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT id, name, owner_id, auth_type, can_manage_endpoint, sealed_token, created_at, updated_at,
                   (SELECT count(*) FROM endpoints e
                    WHERE e.project_id = l.project_id AND e.owner_id = l.owner_id) AS "endpoint_count!"
               FROM portal_links l
               WHERE project_id = $1 AND ($2::text IS NULL OR owner_id = $2)
                   AND ($3::text IS NULL OR position(lower($3) IN lower(name)) > 0)
                   AND ($4::uuid IS NULL OR id > $4) AND ($5::uuid IS NULL OR id < $5)
               ORDER BY CASE WHEN $6 THEN id END, CASE WHEN NOT $6 THEN id END DESC
               LIMIT $7"#,
            project.as_uuid(),
            filter.owner_id,
            filter.text,
            after,
            before,
            request.reads_ascending(),
            request.rows(),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let mut page = request.page(rows).try_map(|row| row.open(self.keys()))?;
        self.add_endpoints(project, &mut page.items).await?;
        Ok(page)
    }

    /// A portal link of a project; of an owner, one of his.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn portal_link(
        &self,
        sight: &Sight,
        id: PortalLinkId,
    ) -> Result<Option<PortalLinkRecord>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT id, name, owner_id, auth_type, can_manage_endpoint, sealed_token, created_at, updated_at,
                   (SELECT count(*) FROM endpoints e
                    WHERE e.project_id = l.project_id AND e.owner_id = l.owner_id) AS "endpoint_count!"
               FROM portal_links l
               WHERE project_id = $1 AND id = $2 AND ($3::text IS NULL OR owner_id = $3)"#,
            sight.project_id().as_uuid(),
            id.as_uuid(),
            sight.owner_id(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        let Some(row) = row else { return Ok(None) };
        let mut links = [row.open(self.keys())?];
        self.add_endpoints(sight.project_id(), &mut links).await?;
        let [link] = links;
        Ok(Some(link))
    }

    /// Which of these ids are no endpoints of that owner, nor of nobody where that will do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn not_of_owner(
        &self,
        project: ProjectId,
        owner_id: &str,
        ids: &[EndpointId],
        or_nobodys: bool,
    ) -> Result<Vec<EndpointId>, StoreError> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let others = sqlx::query_scalar!(
            r#"SELECT id AS "id!" FROM unnest($3::uuid[]) AS asked (id)
               WHERE NOT EXISTS (SELECT FROM endpoints e
                   WHERE e.project_id = $1 AND e.id = asked.id
                       AND (e.owner_id = $2 OR ($4 AND e.owner_id IS NULL)))"#,
            project.as_uuid(),
            owner_id,
            &ids,
            or_nobodys,
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        Ok(others.into_iter().map(EndpointId::from_uuid).collect())
    }

    /// Looks up the endpoints of all these links' owners at once.
    async fn add_endpoints(
        &self,
        project: ProjectId,
        links: &mut [PortalLinkRecord],
    ) -> Result<(), StoreError> {
        let mut owners: Vec<String> = links.iter().map(|link| link.draft.owner_id.clone()).collect();
        owners.sort_unstable();
        owners.dedup();
        let rows = sqlx::query!(
            r#"SELECT asked.owner_id AS "owner_id!", e.id, e.name, e.url, e.status, e.created_at, e.updated_at
               FROM unnest($2::text[]) AS asked (owner_id)
               CROSS JOIN LATERAL (SELECT id, name, url, status, created_at, updated_at FROM endpoints
                   WHERE project_id = $1 AND owner_id = asked.owner_id ORDER BY id LIMIT $3) AS e"#,
            project.as_uuid(),
            &owners,
            SHOWN_ENDPOINTS,
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        for row in rows {
            let endpoint = OwnedEndpoint {
                id: EndpointId::from_uuid(row.id),
                name: row.name,
                url: row.url,
                status: row.status,
                created_at: Timestamp::from_utc(row.created_at),
                updated_at: Timestamp::from_utc(row.updated_at),
            };
            for link in links.iter_mut().filter(|link| link.draft.owner_id == row.owner_id) {
                link.endpoints.push(endpoint.clone());
            }
        }
        Ok(())
    }
}

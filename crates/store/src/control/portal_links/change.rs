//! Changes of portal links and their tokens.

use longshore_core::ports::StoreError;
use longshore_core::{EndpointId, PortalLinkId, ProjectId, Timestamp};

use super::{AuthType, PORTAL_TOKEN_LIFE, PortalLinkDraft, PortalToken};
use crate::api_keys::{ApiKeyHasher, ApiKeyText};
use crate::control::changing::Changing;
use crate::error::{misconfigured, sort};

/// A link's own token as it is stored; nothing for a link without one.
#[derive(Default)]
struct StaticToken {
    hash: Option<Vec<u8>>,
    sealed: Option<Vec<u8>>,
}

impl Changing {
    /// What a link is now, and when it was changed last; `None` when there is none. Nobody else changes it until this
    /// change ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn portal_link_draft(
        &mut self,
        project: ProjectId,
        id: PortalLinkId,
    ) -> Result<Option<(PortalLinkDraft, Timestamp)>, StoreError> {
        let row = sqlx::query!(
            "SELECT name, owner_id, auth_type, can_manage_endpoint, updated_at FROM portal_links
             WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        row.map(|row| {
            let auth_type = AuthType::of(&row.auth_type).ok_or_else(|| {
                misconfigured(format!("portal_links row {}: unknown auth_type", id.as_uuid()))
            })?;
            let draft = PortalLinkDraft {
                name: row.name,
                owner_id: row.owner_id,
                auth_type,
                can_manage_endpoint: row.can_manage_endpoint,
            };
            Ok((draft, Timestamp::from_utc(row.updated_at)))
        })
        .transpose()
    }

    /// Writes a new link, with a token of its own if it takes one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_portal_link(
        &mut self,
        project: ProjectId,
        draft: &PortalLinkDraft,
        hasher: &ApiKeyHasher,
    ) -> Result<PortalLinkId, StoreError> {
        let id = PortalLinkId::from_u128(self.next_id());
        let own = self.static_token(id, draft.auth_type, hasher)?;
        sqlx::query!(
            "INSERT INTO portal_links (project_id, id, name, owner_id, auth_type, can_manage_endpoint, token_hash,
                 sealed_token)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            project.as_uuid(),
            id.as_uuid(),
            draft.name,
            draft.owner_id,
            draft.auth_type.as_str(),
            draft.can_manage_endpoint,
            own.hash,
            own.sealed,
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        Ok(id)
    }

    /// Gives endpoints that nobody owns to an owner; returns which they were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn adopt_endpoints(
        &mut self,
        project: ProjectId,
        owner_id: &str,
        ids: &[EndpointId],
    ) -> Result<Vec<EndpointId>, StoreError> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let adopted = sqlx::query_scalar!(
            "UPDATE endpoints SET owner_id = $2, updated_at = now()
             WHERE project_id = $1 AND id = ANY ($3) AND owner_id IS NULL
             RETURNING id",
            project.as_uuid(),
            owner_id,
            &ids,
        )
        .fetch_all(self.connection())
        .await
        .map_err(sort)?;
        Ok(adopted.into_iter().map(EndpointId::from_uuid).collect())
    }

    /// Changes a link that is there. Its own token stays as long as it takes one; tokens of an owner that it no longer is
    /// of are gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_portal_link(
        &mut self,
        project: ProjectId,
        id: PortalLinkId,
        before: &PortalLinkDraft,
        draft: &PortalLinkDraft,
        hasher: &ApiKeyHasher,
    ) -> Result<(), StoreError> {
        let is_of_another = before.owner_id != draft.owner_id;
        let renews = is_of_another || before.auth_type != draft.auth_type;
        let own = match renews {
            true => self.static_token(id, draft.auth_type, hasher)?,
            false => StaticToken::default(),
        };
        sqlx::query!(
            "UPDATE portal_links SET name = $3, owner_id = $4, auth_type = $5, can_manage_endpoint = $6,
                 token_hash = CASE WHEN $7 THEN $8 ELSE token_hash END,
                 sealed_token = CASE WHEN $7 THEN $9 ELSE sealed_token END, updated_at = clock_timestamp()
             WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
            draft.name,
            draft.owner_id,
            draft.auth_type.as_str(),
            draft.can_manage_endpoint,
            renews,
            own.hash,
            own.sealed,
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        if is_of_another {
            sqlx::query!(
                "DELETE FROM portal_tokens WHERE project_id = $1 AND link_id = $2",
                project.as_uuid(),
                id.as_uuid(),
            )
            .execute(self.connection())
            .await
            .map_err(sort)?;
        }
        Ok(())
    }

    /// Makes a short-lived token of a link, and forgets those of it that have expired; `None` when there is no such link.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_portal_token(
        &mut self,
        project: ProjectId,
        link: PortalLinkId,
        hasher: &ApiKeyHasher,
    ) -> Result<Option<PortalToken>, StoreError> {
        sqlx::query!(
            "DELETE FROM portal_tokens WHERE project_id = $1 AND link_id = $2 AND expires_at < now()",
            project.as_uuid(),
            link.as_uuid(),
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        let (id, text) = (uuid::Uuid::from_u128(self.next_id()), ApiKeyText::generate_portal(self.rng()));
        let expires_at = sqlx::query_scalar!(
            "INSERT INTO portal_tokens (project_id, link_id, id, hash, expires_at)
             SELECT project_id, id, $3, $4, now() + make_interval(secs => $5)
             FROM portal_links WHERE project_id = $1 AND id = $2
             RETURNING expires_at",
            project.as_uuid(),
            link.as_uuid(),
            id,
            &hasher.hash(text.expose())[..],
            PORTAL_TOKEN_LIFE.as_secs_f64(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        Ok(expires_at.map(|end| PortalToken { text, expires_at: Timestamp::from_utc(end) }))
    }

    /// Deletes a link with all its tokens; its name, or `None` when there is no such link.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_portal_link(
        &mut self,
        project: ProjectId,
        id: PortalLinkId,
    ) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar!(
            "DELETE FROM portal_links WHERE project_id = $1 AND id = $2 RETURNING name",
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)
    }

    /// A fresh token of a link, if it takes one of its own.
    fn static_token(
        &mut self,
        id: PortalLinkId,
        auth_type: AuthType,
        hasher: &ApiKeyHasher,
    ) -> Result<StaticToken, StoreError> {
        if auth_type == AuthType::RefreshToken {
            return Ok(StaticToken::default());
        }
        let text = ApiKeyText::generate_portal(self.rng());
        let sealed = self.seal(text.expose().as_bytes(), id.as_uuid())?;
        Ok(StaticToken { hash: Some(hasher.hash(text.expose()).to_vec()), sealed: Some(sealed) })
    }
}

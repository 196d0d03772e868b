//! Whose key it is.

use longshore_core::access::{Role, Scope};
use longshore_core::ports::StoreError;
use longshore_core::{ApiKeyId, OrganisationId, ProjectId, Timestamp, UserId};

use crate::connect::Store;
use crate::error::{misconfigured, sort};

/// A key as the one who presents it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// Whose it is.
    pub owner: KeyOwner,
    /// What it is narrowed down to; none for all of its role.
    pub scopes: Vec<Scope>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// Whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// A project's.
    Project {
        /// Which.
        project: ProjectId,
        /// What it may do there.
        role: Role,
    },
    /// A person's.
    User {
        /// Who.
        user: UserId,
        /// The person's address.
        email: String,
        /// At most what this role may; `None` for whatever the person's role is.
        limit: Option<Role>,
    },
}

impl Store {
    /// The key with that hash, expired or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT id AS "id!", name AS "name!", project_id, user_id, email, role, scopes AS "scopes!", expires_at
               FROM (SELECT id, name, project_id, NULL::uuid AS user_id, NULL::text AS email, role, scopes, expires_at
                     FROM api_keys WHERE hash = $1
                     UNION ALL
                     SELECT k.id, k.name, NULL, k.user_id, u.email, k.role, k.scopes, k.expires_at
                     FROM personal_keys k JOIN users u ON u.id = k.user_id WHERE k.hash = $1) AS keys
               LIMIT 1"#,
            &hash[..]
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        let Some(row) = row else { return Ok(None) };
        let role = row.role.as_deref().map(str::parse::<Role>).transpose().map_err(misconfigured)?;
        let owner = match (row.project_id, row.user_id) {
            (Some(project), _) => KeyOwner::Project {
                project: ProjectId::from_uuid(project),
                role: role.unwrap_or(Role::Viewer),
            },
            (None, Some(user)) => KeyOwner::User {
                user: UserId::from_uuid(user),
                email: row.email.unwrap_or_default(),
                limit: role,
            },
            (None, None) => return Err(misconfigured(format!("key {} has no owner", row.id))),
        };
        let scopes: Result<Vec<Scope>, _> = row.scopes.iter().map(|text| text.parse()).collect();
        Ok(Some(KeyRecord {
            id: ApiKeyId::from_uuid(row.id),
            name: row.name,
            owner,
            scopes: scopes.map_err(misconfigured)?,
            expires_at: row.expires_at.map(Timestamp::from_utc),
        }))
    }

    /// What a person is in an organisation; `None` when not in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn role_in(
        &self,
        user: UserId,
        organisation: OrganisationId,
    ) -> Result<Option<Role>, StoreError> {
        let role = sqlx::query_scalar!(
            "SELECT role FROM members WHERE user_id = $1 AND organisation_id = $2",
            user.as_uuid(),
            organisation.as_uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        role.as_deref().map(str::parse).transpose().map_err(misconfigured)
    }
}

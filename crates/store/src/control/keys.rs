//! API keys of projects and of people, for the public API. Their texts are never stored.

use longshore_core::access::{Role, Scope};
use longshore_core::ports::StoreError;
use longshore_core::{ApiKeyId, ProjectId, Timestamp, UserId};

use super::changing::Changing;
use crate::api_keys::{ApiKeyHasher, ApiKeyText};
use crate::connect::Store;
use crate::error::{misconfigured, sort};

/// What a key may do, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGrant {
    /// At most what this role may; `None`, for keys of people only, for whatever the person may.
    pub role: Option<Role>,
    /// What it is narrowed down to; none for all of its role.
    pub scopes: Vec<Scope>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// A key as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// Its id.
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// The part of its text that may be shown; empty where that is not known.
    pub mask: String,
    /// What it may do.
    pub grant: KeyGrant,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key that was just made. Its text is shown once.
#[derive(Debug)]
pub struct NewKey {
    /// As lists show it.
    pub listed: ListedKey,
    /// The key itself.
    pub text: ApiKeyText,
}

struct Row {
    id: uuid::Uuid,
    name: String,
    mask: String,
    role: Option<String>,
    scopes: Vec<String>,
    created_at: time::OffsetDateTime,
    expires_at: Option<time::OffsetDateTime>,
}

impl Row {
    fn into_key(self) -> Result<ListedKey, StoreError> {
        let scopes: Result<_, _> = self.scopes.iter().map(|text| text.parse()).collect();
        Ok(ListedKey {
            id: ApiKeyId::from_uuid(self.id),
            name: self.name,
            mask: self.mask,
            grant: KeyGrant {
                role: self.role.as_deref().map(str::parse).transpose().map_err(misconfigured)?,
                scopes: scopes.map_err(misconfigured)?,
                expires_at: self.expires_at.map(Timestamp::from_utc),
            },
            created_at: Timestamp::from_utc(self.created_at),
        })
    }
}

impl Store {
    /// The keys of a project, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn project_keys(&self, project: ProjectId) -> Result<Vec<ListedKey>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT id, name, mask, role AS "role?", scopes, created_at, expires_at
               FROM api_keys WHERE project_id = $1 ORDER BY created_at DESC, id DESC"#,
            project.as_uuid()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.into_iter().map(Row::into_key).collect()
    }

    /// The keys of a person, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn personal_keys(&self, user: UserId) -> Result<Vec<ListedKey>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, name, mask, role, scopes, created_at, expires_at
             FROM personal_keys WHERE user_id = $1 ORDER BY created_at DESC, id DESC",
            user.as_uuid()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.into_iter().map(Row::into_key).collect()
    }
}

impl Changing {
    /// Makes a key of a project; without a role it is the admin's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_project_key(
        &mut self,
        project: ProjectId,
        name: &str,
        grant: KeyGrant,
        hasher: &ApiKeyHasher,
    ) -> Result<NewKey, StoreError> {
        let role = grant.role.unwrap_or(Role::Admin);
        let (id, text) = (ApiKeyId::from_u128(self.next_id()), ApiKeyText::generate(self.rng()));
        let created_at = sqlx::query_scalar!(
            "INSERT INTO api_keys (project_id, id, name, hash, mask, role, scopes, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING created_at",
            project.as_uuid(),
            id.as_uuid(),
            name,
            &hasher.hash(text.expose())[..],
            text.mask(),
            role.as_str(),
            &words(&grant.scopes),
            grant.expires_at.map(Timestamp::to_utc),
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)?;
        Ok(new_key(id, name, KeyGrant { role: Some(role), ..grant }, created_at, text))
    }

    /// Makes a key of a person.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_personal_key(
        &mut self,
        user: UserId,
        name: &str,
        grant: KeyGrant,
        hasher: &ApiKeyHasher,
    ) -> Result<NewKey, StoreError> {
        let (id, text) = (ApiKeyId::from_u128(self.next_id()), ApiKeyText::generate(self.rng()));
        let created_at = sqlx::query_scalar!(
            "INSERT INTO personal_keys (user_id, id, name, hash, mask, role, scopes, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING created_at",
            user.as_uuid(),
            id.as_uuid(),
            name,
            &hasher.hash(text.expose())[..],
            text.mask(),
            grant.role.map(Role::as_str),
            &words(&grant.scopes),
            grant.expires_at.map(Timestamp::to_utc),
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)?;
        Ok(new_key(id, name, grant, created_at, text))
    }

    /// Deletes a key of a project; its role and name, or `None` when it has no such key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_project_key(
        &mut self,
        project: ProjectId,
        id: ApiKeyId,
    ) -> Result<Option<(Role, String)>, StoreError> {
        let row = sqlx::query!(
            "DELETE FROM api_keys WHERE project_id = $1 AND id = $2 RETURNING role, name",
            project.as_uuid(),
            id.as_uuid()
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        row.map(|row| Ok((row.role.parse().map_err(misconfigured)?, row.name))).transpose()
    }

    /// Deletes a key of a person; its name, or `None` when the person has no such key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_personal_key(
        &mut self,
        user: UserId,
        id: ApiKeyId,
    ) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar!(
            "DELETE FROM personal_keys WHERE user_id = $1 AND id = $2 RETURNING name",
            user.as_uuid(),
            id.as_uuid()
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)
    }

    /// Whether somebody has a key that does not expire and is not narrowed down.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_full_key(&mut self, user: UserId) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM personal_keys WHERE user_id = $1 AND role IS NULL AND scopes = '{}'
                   AND expires_at IS NULL) AS "any!""#,
            user.as_uuid()
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)
    }
}

fn words(scopes: &[Scope]) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

fn new_key(
    id: ApiKeyId,
    name: &str,
    grant: KeyGrant,
    created_at: time::OffsetDateTime,
    text: ApiKeyText,
) -> NewKey {
    let listed = ListedKey {
        id,
        name: name.to_owned(),
        mask: text.mask().to_owned(),
        grant,
        created_at: Timestamp::from_utc(created_at),
    };
    NewKey { listed, text }
}

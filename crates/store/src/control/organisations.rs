//! Organisations and the people in them, for the public API.

use longshore_core::access::Role;
use longshore_core::ports::StoreError;
use longshore_core::{OrganisationId, Timestamp, UserId};

use super::changing::Changing;
use crate::connect::Store;
use crate::error::{misconfigured, sort};

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganisationRecord {
    /// Its id.
    pub id: OrganisationId,
    /// For people; unique in the installation.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Somebody in an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Who.
    pub user: UserId,
    /// The person's address.
    pub email: String,
    /// The person's name; empty for none.
    pub name: String,
    /// What the person is there.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
    /// When the role was changed last.
    pub updated_at: Timestamp,
}

impl Store {
    /// An organisation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organisation(&self, id: OrganisationId) -> Result<Option<OrganisationRecord>, StoreError> {
        let row = sqlx::query!(
            "SELECT name, created_at, updated_at FROM organisations WHERE id = $1",
            id.as_uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(row.map(|row| OrganisationRecord {
            id,
            name: row.name,
            created_at: Timestamp::from_utc(row.created_at),
            updated_at: Timestamp::from_utc(row.updated_at),
        }))
    }

    /// The organisations that somebody is in, by name, and what the person is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organisations_of(
        &self,
        user: UserId,
    ) -> Result<Vec<(OrganisationRecord, Role)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT o.id, o.name, o.created_at, o.updated_at, m.role
             FROM members m JOIN organisations o ON o.id = m.organisation_id
             WHERE m.user_id = $1 ORDER BY o.name",
            user.as_uuid()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let records = rows.into_iter().map(|row| {
            let record = OrganisationRecord {
                id: OrganisationId::from_uuid(row.id),
                name: row.name,
                created_at: Timestamp::from_utc(row.created_at),
                updated_at: Timestamp::from_utc(row.updated_at),
            };
            Ok((record, row.role.parse().map_err(misconfigured)?))
        });
        records.collect()
    }

    /// The person of that address.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_by_email(&self, email: &str) -> Result<Option<UserId>, StoreError> {
        let found = sqlx::query_scalar!("SELECT id FROM users WHERE lower(email) = lower($1)", email)
            .fetch_optional(self.pool())
            .await
            .map_err(sort)?;
        Ok(found.map(UserId::from_uuid))
    }

    /// Everybody in an organisation, by address.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn members(&self, organisation: OrganisationId) -> Result<Vec<MemberRecord>, StoreError> {
        let rows = sqlx::query!(
            "SELECT u.id, u.email, u.name, m.role, m.created_at, m.updated_at
             FROM members m JOIN users u ON u.id = m.user_id
             WHERE m.organisation_id = $1 ORDER BY u.email",
            organisation.as_uuid()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let members = rows.into_iter().map(|row| {
            Ok(MemberRecord {
                user: UserId::from_uuid(row.id),
                email: row.email,
                name: row.name,
                role: row.role.parse().map_err(misconfigured)?,
                created_at: Timestamp::from_utc(row.created_at),
                updated_at: Timestamp::from_utc(row.updated_at),
            })
        });
        members.collect()
    }
}

impl Changing {
    /// The organisation of that name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organisation_named(&mut self, name: &str) -> Result<Option<OrganisationId>, StoreError> {
        let found = sqlx::query_scalar!("SELECT id FROM organisations WHERE name = $1", name)
            .fetch_optional(self.connection())
            .await
            .map_err(sort)?;
        Ok(found.map(OrganisationId::from_uuid))
    }

    /// When an organisation was changed last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organisation_changed_at(
        &mut self,
        id: OrganisationId,
    ) -> Result<Option<Timestamp>, StoreError> {
        let at = sqlx::query_scalar!("SELECT updated_at FROM organisations WHERE id = $1", id.as_uuid())
            .fetch_optional(self.connection())
            .await
            .map_err(sort)?;
        Ok(at.map(Timestamp::from_utc))
    }

    /// Adds an organisation; its name is free.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_organisation(&mut self, name: &str) -> Result<OrganisationId, StoreError> {
        let id = OrganisationId::from_u128(self.next_id());
        sqlx::query!("INSERT INTO organisations (id, name) VALUES ($1, $2)", id.as_uuid(), name)
            .execute(self.connection())
            .await
            .map_err(sort)?;
        Ok(id)
    }

    /// Renames an organisation; the name is free.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rename_organisation(&mut self, id: OrganisationId, name: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE organisations SET name = $2, updated_at = clock_timestamp() WHERE id = $1",
            id.as_uuid(),
            name
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }

    /// The person of that address, who is made if unknown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&mut self, email: &str) -> Result<UserId, StoreError> {
        let found = sqlx::query_scalar!("SELECT id FROM users WHERE lower(email) = lower($1)", email)
            .fetch_optional(self.connection())
            .await
            .map_err(sort)?;
        if let Some(id) = found {
            return Ok(UserId::from_uuid(id));
        }
        let id = UserId::from_u128(self.next_id());
        sqlx::query!("INSERT INTO users (id, email) VALUES ($1, $2)", id.as_uuid(), email)
            .execute(self.connection())
            .await
            .map_err(sort)?;
        Ok(id)
    }

    /// What somebody is in an organisation now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn member_role(
        &mut self,
        organisation: OrganisationId,
        user: UserId,
    ) -> Result<Option<Role>, StoreError> {
        let role = sqlx::query_scalar!(
            "SELECT role FROM members WHERE organisation_id = $1 AND user_id = $2",
            organisation.as_uuid(),
            user.as_uuid()
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        role.as_deref().map(str::parse).transpose().map_err(misconfigured)
    }

    /// How many owners an organisation has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn owners(&mut self, organisation: OrganisationId) -> Result<i64, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM members WHERE organisation_id = $1 AND role = 'owner'"#,
            organisation.as_uuid()
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)
    }

    /// Adds somebody to an organisation, or gives another role.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_member(
        &mut self,
        organisation: OrganisationId,
        user: UserId,
        role: Role,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO members (organisation_id, user_id, role) VALUES ($1, $2, $3)
             ON CONFLICT (organisation_id, user_id) DO UPDATE SET role = excluded.role,
                 updated_at = clock_timestamp()",
            organisation.as_uuid(),
            user.as_uuid(),
            role.as_str()
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }

    /// Removes somebody from an organisation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_member(
        &mut self,
        organisation: OrganisationId,
        user: UserId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM members WHERE organisation_id = $1 AND user_id = $2",
            organisation.as_uuid(),
            user.as_uuid()
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }
}

//! Whose token it is.

use longshore_core::ports::StoreError;
use longshore_core::{PortalLinkId, ProjectId, Timestamp};

use crate::connect::Store;
use crate::error::sort;

/// A portal link as whoever presents one of its tokens is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalPass {
    /// The link.
    pub link: PortalLinkId,
    /// For people.
    pub name: String,
    /// Where it opens something.
    pub project: ProjectId,
    /// What it opens there: this owner's endpoints.
    pub owner_id: String,
    /// Whether these may be changed.
    pub can_manage_endpoint: bool,
    /// From when on the token is refused; `None` for as long as there is the link.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// The link that a token with that hash opens, expired or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn portal_by_hash(&self, hash: &[u8; 32]) -> Result<Option<PortalPass>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT l.id, l.name, l.project_id, l.owner_id, l.can_manage_endpoint, t.expires_at AS "expires_at?"
               FROM (SELECT id AS link_id, NULL::timestamptz AS expires_at FROM portal_links WHERE token_hash = $1
                     UNION ALL
                     SELECT link_id, expires_at FROM portal_tokens WHERE hash = $1) AS t
               JOIN portal_links l ON l.id = t.link_id
               LIMIT 1"#,
            &hash[..]
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(row.map(|row| PortalPass {
            link: PortalLinkId::from_uuid(row.id),
            name: row.name,
            project: ProjectId::from_uuid(row.project_id),
            owner_id: row.owner_id,
            can_manage_endpoint: row.can_manage_endpoint,
            expires_at: row.expires_at.map(Timestamp::from_utc),
        }))
    }
}

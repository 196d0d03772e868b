//! How far a request sees: over a project, or over what one owner has in it.
//!
//! What it is for: queries whose rows a portal link may see take this in place of the project's id, so that none of them
//! forgets whose request it is. Invariant: with an owner a query gives only what belongs to endpoints of that owner.

use longshore_core::ports::StoreError;
use longshore_core::{EndpointId, ProjectId};

use crate::connect::Store;
use crate::error::sort;

/// A project, or one owner's part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    project: ProjectId,
    owner: Option<String>,
}

impl Sight {
    /// All of a project.
    #[must_use]
    pub const fn project(project: ProjectId) -> Self {
        Self { project, owner: None }
    }

    /// What belongs to the endpoints of an owner.
    #[must_use]
    pub const fn owner(project: ProjectId, owner: String) -> Self {
        Self { project, owner: Some(owner) }
    }

    /// The project, for a query that binds [`Self::owner_id`] too.
    pub(crate) const fn project_id(&self) -> ProjectId {
        self.project
    }

    /// The only owner whose rows are to be found; `None` for all.
    #[must_use]
    pub fn owner_id(&self) -> Option<&str> {
        self.owner.as_deref()
    }
}

impl Store {
    /// The endpoints that a request sees the traffic of, of those that are `wanted`, all where none is: an empty list for
    /// all of the project's, `None` for none at all.
    pub(super) async fn in_sight(
        &self,
        sight: &Sight,
        wanted: &[EndpointId],
    ) -> Result<Option<Vec<EndpointId>>, StoreError> {
        let Some(owner) = sight.owner_id() else { return Ok(Some(wanted.to_vec())) };
        let rows = sqlx::query_scalar!(
            "SELECT id FROM endpoints WHERE project_id = $1 AND owner_id = $2 ORDER BY id",
            sight.project_id().as_uuid(),
            owner,
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let owned = rows.into_iter().map(EndpointId::from_uuid);
        let seen: Vec<_> = owned.filter(|id| wanted.is_empty() || wanted.contains(id)).collect();
        Ok(Some(seen).filter(|seen| !seen.is_empty()))
    }
}

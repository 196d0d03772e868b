//! How far a request sees: over a project, or over what one owner has in it.
//!
//! What it is for: queries whose rows a portal link may see take this in place of the project's id, so that none of them
//! forgets whose request it is. Invariant: with an owner a query gives only what belongs to endpoints of that owner.

use longshore_core::ProjectId;

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

//! Keys as the API shows them.

use longshore_core::ProjectId;
use longshore_core::access::Role;
use longshore_store::control::{ListedKey, NewKey};
use serde::Serialize;
use utoipa::ToSchema;

/// A key, without its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its id.
    uid: String,
    /// For people.
    name: String,
    /// `project` or `personal`.
    key_type: &'static str,
    /// What it may do at most; absent for whatever its person may.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// What it is narrowed down to; none for all of its role.
    scopes: Vec<String>,
    /// The beginning of its text, to tell keys apart; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    masked_key: Option<String>,
    /// From when on it is refused; absent for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// When it was made.
    created_at: String,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedKeyView {
    /// The key itself: it is shown this once.
    key: String,
    #[serde(flatten)]
    listed: KeyView,
}

/// The first key of a project, in the contract's shape.
#[derive(Serialize, ToSchema)]
pub(crate) struct FirstKeyView {
    /// Its id.
    uid: String,
    /// For people.
    name: String,
    /// What it may do where.
    role: FirstKeyRole,
    /// Always `project`.
    key_type: &'static str,
    /// The key itself: it is shown this once.
    key: String,
    /// From when on it is refused; absent for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// When it was made.
    created_at: String,
}

/// What a key may do where, in the contract's shape.
#[derive(Serialize, ToSchema)]
pub(crate) struct FirstKeyRole {
    /// Always `project_admin`.
    r#type: &'static str,
    /// The project.
    #[schema(value_type = String)]
    project: ProjectId,
}

impl KeyView {
    /// A key of that type.
    pub(crate) fn of(key: ListedKey, key_type: &'static str) -> Self {
        Self {
            uid: key.id.to_string(),
            name: key.name,
            key_type,
            role: key.grant.role.map(Role::as_str),
            scopes: key.grant.scopes.iter().map(ToString::to_string).collect(),
            masked_key: Some(key.mask).filter(|mask| !mask.is_empty()).map(|mask| format!("CO.{mask}.…")),
            expires_at: key.grant.expires_at.map(|at| at.to_string()),
            created_at: key.created_at.to_string(),
        }
    }
}

impl CreatedKeyView {
    /// A key of that type that was just made.
    pub(crate) fn of(made: NewKey, key_type: &'static str) -> Self {
        Self { key: made.text.expose().to_owned(), listed: KeyView::of(made.listed, key_type) }
    }
}

impl FirstKeyView {
    /// The first key of that project.
    pub(crate) fn of(made: NewKey, project: ProjectId) -> Self {
        let NewKey { listed, text } = made;
        Self {
            uid: listed.id.to_string(),
            name: listed.name,
            role: FirstKeyRole { r#type: "project_admin", project },
            key_type: "project",
            key: text.expose().to_owned(),
            expires_at: listed.grant.expires_at.map(|at| at.to_string()),
            created_at: listed.created_at.to_string(),
        }
    }
}

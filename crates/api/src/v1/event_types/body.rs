//! What requests say of an event type, and what they are told of one.

use longshore_core::TypePattern;
use longshore_store::control::EventTypeRecord;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::schema;
use crate::v1::body::Body;
use crate::v1::problem::Problem;

/// The longest name, in bytes: no event has a longer type.
const NAME_MOST: usize = 512;
/// The longest category and description, in characters.
const CATEGORY_MOST: usize = 256;
const DESCRIPTION_MOST: usize = 16 * 1024;

/// An event type to be made.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct NewEventTypeBody {
    /// What events say: `invoice.paid`; unique in the project.
    #[schema(required)]
    name: Option<String>,
    /// What it belongs to.
    category: Option<String>,
    /// For people.
    description: Option<String>,
    /// A JSON Schema of the data of its events. It refers to places within itself alone, and not in circles.
    #[schema(value_type = Option<Object>)]
    json_schema: Option<Value>,
}

/// An event type to be changed. What is left out stays as it is.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct EventTypeBody {
    /// What it belongs to.
    category: Option<String>,
    /// For people.
    description: Option<String>,
    /// A JSON Schema of the data of its events; `{}` for none.
    #[schema(value_type = Option<Object>)]
    json_schema: Option<Value>,
}

/// Where event types are imported from.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct ImportBody {
    /// The text of an OpenAPI document, as JSON or YAML, with `webhooks` (or `x-webhooks`).
    #[schema(required)]
    pub(super) spec: Option<String>,
}

impl Body for NewEventTypeBody {}
impl Body for EventTypeBody {}
impl Body for ImportBody {}

/// An event type.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventTypeView {
    /// Its id.
    uid: String,
    /// What events say.
    name: String,
    /// What it belongs to; empty for nothing.
    category: String,
    /// For people.
    description: String,
    /// A JSON Schema of the data of its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    json_schema: Option<Value>,
    /// Since when it should no longer be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecated_at: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

impl From<EventTypeRecord> for EventTypeView {
    fn from(record: EventTypeRecord) -> Self {
        Self {
            uid: record.id.to_string(),
            name: record.name,
            category: record.category,
            description: record.description,
            json_schema: record.json_schema,
            deprecated_at: record.deprecated_at.map(|at| at.to_string()),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
        }
    }
}

impl NewEventTypeBody {
    /// The name, and the rest.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn split(self) -> Result<(String, EventTypeBody), Problem> {
        let Self { name, category, description, json_schema } = self;
        let name =
            name.filter(|text| !text.is_empty()).ok_or_else(|| Problem::invalid("name", "is missing"))?;
        check_name("name", &name)?;
        Ok((name, EventTypeBody { category, description, json_schema }))
    }
}

impl EventTypeBody {
    /// What is given over the event type.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn apply(self, record: &mut EventTypeRecord) -> Result<(), Problem> {
        if let Some(text) = self.category {
            check_category("category", &text)?;
            record.category = text;
        }
        if let Some(text) = self.description {
            check_description("description", &text)?;
            record.description = text;
        }
        if let Some(given) = self.json_schema {
            record.json_schema = schema("json_schema", given)?;
        }
        Ok(())
    }
}

/// Whether a category can be kept.
///
/// # Errors
/// `400` names the field.
pub(super) fn check_category(field: &str, text: &str) -> Result<(), Problem> {
    if text.chars().count() > CATEGORY_MOST || text.chars().any(char::is_control) {
        let problem = format!("write at most {CATEGORY_MOST} characters in one line");
        return Err(Problem::invalid(field, problem));
    }
    Ok(())
}

/// Whether a description can be kept.
///
/// # Errors
/// `400` names the field.
pub(super) fn check_description(field: &str, text: &str) -> Result<(), Problem> {
    if text.chars().count() > DESCRIPTION_MOST || text.contains('\0') {
        let problem = format!("write at most {DESCRIPTION_MOST} characters, and no NUL");
        return Err(Problem::invalid(field, problem));
    }
    Ok(())
}

/// Whether events can have that type.
///
/// # Errors
/// `400` names the field.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Problem> {
    let is_one = name.len() <= NAME_MOST && matches!(name.parse(), Ok(TypePattern::Exact(_)));
    if is_one {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    let problem =
        format!("`{shown}` is no event type: at most {NAME_MOST} bytes, no `*`, no control characters");
    Err(Problem::invalid(field, problem))
}

//! Event types from the webhooks of an OpenAPI document.

use longshore_core::Timestamp;
use longshore_store::control::EventTypeRecord;
use serde_json::Value;

use super::body::{check_category, check_description, check_name};
use super::references::{resolved, taken_out};
use super::schema;
use crate::v1::problem::Problem;

/// The methods by which a webhook may come, the likeliest first.
const METHODS: [&str; 5] = ["post", "put", "patch", "get", "delete"];

/// An event type as a document has it.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) name: String,
    category: Option<String>,
    description: Option<String>,
    json_schema: Option<Value>,
    is_deprecated: bool,
}

impl Imported {
    /// What the document says over what is stored.
    pub(super) fn apply(self, record: &mut EventTypeRecord, now: Timestamp) {
        if let Some(category) = self.category {
            record.category = category;
        }
        if let Some(description) = self.description {
            record.description = description;
        }
        if self.json_schema.is_some() {
            record.json_schema = self.json_schema;
        }
        if self.is_deprecated && record.deprecated_at.is_none() {
            record.deprecated_at = Some(now);
        }
    }
}

/// The webhooks of a document's text, by name.
///
/// # Errors
/// `400` says what is wrong, and with which webhook.
pub(super) fn read(text: &str) -> Result<Vec<Imported>, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::invalid("spec", "is missing: the text of an OpenAPI document"));
    }
    let parsed: Result<Value, String> = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| error.to_string()),
        false => serde_saphyr::from_str(text).map_err(|error| error.to_string()),
    };
    let document = parsed.map_err(|problem| {
        let problem = problem.lines().next().unwrap_or_default();
        Problem::invalid("spec", format!("is neither JSON nor YAML: {problem}"))
    })?;
    if !document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")) {
        return Err(Problem::invalid("spec", "is no OpenAPI 3 document: `openapi` must be `3.…`"));
    }
    let webhooks = ["webhooks", "x-webhooks"]
        .into_iter()
        .find_map(|name| Some((name, document.get(name)?.as_object()?)))
        .filter(|(_, webhooks)| !webhooks.is_empty());
    let (member, webhooks) = webhooks.ok_or_else(|| Problem::invalid("spec", "has no `webhooks`"))?;
    let mut found = Vec::with_capacity(webhooks.len());
    for (name, item) in webhooks {
        let field = format!("spec: {member}.{}", name.chars().take(64).collect::<String>());
        check_name(&field, name)?;
        let place = format!("#/{member}/{}", name.replace('~', "~0").replace('/', "~1"));
        let imported = webhook(&document, name, item, place);
        let mut imported = imported.map_err(|problem| Problem::invalid(&field, problem))?;
        check_category(&format!("{field}: tags"), imported.category.as_deref().unwrap_or_default())?;
        check_description(
            &format!("{field}: description"),
            imported.description.as_deref().unwrap_or_default(),
        )?;
        if let Some(given) = imported.json_schema.take() {
            imported.json_schema = schema(&field, given)?;
        }
        found.push(imported);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn webhook(document: &Value, name: &str, item: &Value, place: String) -> Result<Imported, String> {
    let (item, place) = resolved(document, item, place)?;
    let (method, operation) = METHODS
        .into_iter()
        .find_map(|method| Some((method, item.get(method)?)))
        .ok_or("has no operation: write `post`")?;
    let text = |value: &Value, member: &str| {
        value[member].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let described = text(operation, "description").or_else(|| text(item, "description"));
    let described = described.or_else(|| text(operation, "summary")).or_else(|| text(item, "summary"));
    let json_schema = match operation.get("requestBody") {
        None => None,
        Some(body) => body_schema(document, body, format!("{place}/{method}/requestBody"))?,
    };
    Ok(Imported {
        name: name.to_owned(),
        category: operation["tags"][0].as_str().map(str::to_owned),
        description: described,
        json_schema,
        is_deprecated: operation["deprecated"] == Value::Bool(true),
    })
}

fn body_schema(document: &Value, body: &Value, place: String) -> Result<Option<Value>, String> {
    let (body, place) = resolved(document, body, place)?;
    let Some(content) = body["content"].as_object() else { return Ok(None) };
    let is_json = |name: &&String| longshore_core::media::is_json(name);
    let Some(media) = content.keys().find(is_json) else { return Ok(None) };
    let Some(schema) = content[media].get("schema") else { return Ok(None) };
    let place = format!("{place}/content/{}/schema", media.replace('~', "~0").replace('/', "~1"));
    let (schema, place) = resolved(document, schema, place)?;
    taken_out(document, schema, &place).map(Some)
}

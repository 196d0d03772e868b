//! The catalogue as other tools read it.
//!
//! Invariant: what is exported as OpenAPI and imported again is the same catalogue.

use longshore_store::control::EventTypeRecord;
use serde_json::{Map, Value, json};

use super::references::{free, put_in};

/// The version of the document: the catalogue has none of its own.
const VERSION: &str = "1.0.0";

/// The catalogue as the `webhooks` of an OpenAPI 3.1 document.
pub(super) fn openapi(project: &str, records: &[EventTypeRecord]) -> Value {
    let keys = keys(records);
    let webhooks = records.iter().zip(&keys).map(|(record, key)| {
        let media = if record.json_schema.is_some() { json!({"schema": schema_at(key)}) } else { json!({}) };
        let mut operation = described(record);
        operation.insert("requestBody".to_owned(), json!({"content": {"application/json": media}}));
        operation.insert("responses".to_owned(), json!({"2XX": {"description": "The event was taken."}}));
        (record.name.clone(), json!({ "post": operation }))
    });
    json!({
        "openapi": "3.1.0",
        "info": {"title": format!("Events of {project}"), "version": VERSION},
        "webhooks": webhooks.collect::<Map<String, Value>>(),
        "components": {"schemas": schemas(records, &keys)},
    })
}

/// The catalogue as an AsyncAPI 3.0 document: one channel with a message for each type.
pub(super) fn asyncapi(project: &str, records: &[EventTypeRecord]) -> Value {
    let keys = keys(records);
    let messages = records.iter().zip(&keys).map(|(record, key)| {
        let mut message = described(record);
        if let Some(tags) = message.remove("tags") {
            let tags: Vec<Value> =
                tags.as_array().into_iter().flatten().map(|name| json!({ "name": name })).collect();
            message.insert("tags".to_owned(), json!(tags));
        }
        if message.remove("deprecated").is_some() {
            message.insert("x-deprecated".to_owned(), json!(true));
        }
        message.insert("name".to_owned(), json!(record.name));
        message.insert("contentType".to_owned(), json!("application/json"));
        if record.json_schema.is_some() {
            message.insert("payload".to_owned(), schema_at(key));
        }
        (key.clone(), Value::Object(message))
    });
    let messages: Map<String, Value> = messages.collect();
    let of_channel = keys
        .iter()
        .map(|key| (key.clone(), json!({"$ref": format!("#/components/messages/{key}")})))
        .collect::<Map<String, Value>>();
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": format!("Events of {project}"), "version": VERSION},
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": null,
                "description": "Sent as webhooks to the endpoints that subscribed.",
                "messages": of_channel,
            },
        },
        "operations": {"sendEvents": {"action": "send", "channel": {"$ref": "#/channels/events"}}},
        "components": {"messages": messages, "schemas": schemas(records, &keys)},
    })
}

/// What both kinds of documents say in the same words.
fn described(record: &EventTypeRecord) -> Map<String, Value> {
    let mut members = Map::new();
    if !record.description.is_empty() {
        members.insert("description".to_owned(), json!(record.description));
    }
    if !record.category.is_empty() {
        members.insert("tags".to_owned(), json!([record.category]));
    }
    if record.deprecated_at.is_some() {
        members.insert("deprecated".to_owned(), json!(true));
    }
    members
}

/// A key for each type: components are not called whatever events may be.
fn keys(records: &[EventTypeRecord]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::with_capacity(records.len());
    let mut taken = std::collections::HashSet::with_capacity(records.len());
    for record in records {
        let key = free(&record.name, |key| taken.contains(key));
        taken.insert(key.clone());
        keys.push(key);
    }
    keys
}

fn schema_at(key: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{key}")})
}

fn schemas(records: &[EventTypeRecord], keys: &[String]) -> Map<String, Value> {
    let with_schema = records.iter().zip(keys).filter_map(|(record, key)| {
        let schema = record.json_schema.as_ref()?;
        Some((key.clone(), put_in(schema, &format!("#/components/schemas/{key}"))))
    });
    with_schema.collect()
}

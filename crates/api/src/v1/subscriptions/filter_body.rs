//! Filters as requests give them: scopes, each a document of the filter language.

use longshore_core::filter::FilterSet;
use longshore_core::{FilterId, Timestamp};
use longshore_store::control::FilterRecord;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::change;
use crate::v1::body::Body;
use crate::v1::problem::Problem;

/// Filters of one subscription at most: each is looked through for every event of the subscription.
pub(super) const FILTERS_MOST: usize = 500;

const TIME: &str = "write a time such as `2027-01-31T00:00:00Z`, or `null`";

/// What events must hold, by scope; all scopes must match. An empty one is no filter.
#[derive(Clone, Default, Deserialize, ToSchema)]
pub(crate) struct Scopes {
    /// Over the body.
    #[schema(value_type = Option<Object>)]
    pub(super) body: Option<Value>,
    /// Over the headers.
    #[serde(alias = "header")]
    #[schema(value_type = Option<Object>)]
    pub(super) headers: Option<Value>,
    /// Refused unless it is empty: events do not keep the query they came with.
    #[schema(value_type = Option<Object>)]
    pub(super) query: Option<Value>,
    /// Refused unless it is empty: events do not keep the path they came at.
    #[schema(value_type = Option<Object>)]
    pub(super) path: Option<Value>,
}

/// A filter to be made.
#[derive(Clone, Deserialize, ToSchema)]
pub(crate) struct NewFilterBody {
    /// Which event types it is for: a type, `prefix.*` or `*`. The most specific one counts.
    #[schema(required)]
    event_type: Option<String>,
    /// Over the body.
    #[schema(value_type = Option<Object>)]
    body: Option<Value>,
    /// Over the headers.
    #[serde(alias = "header")]
    #[schema(value_type = Option<Object>)]
    headers: Option<Value>,
    /// Refused unless it is empty: events do not keep the query they came with.
    #[schema(value_type = Option<Object>)]
    query: Option<Value>,
    /// Refused unless it is empty: events do not keep the path they came at.
    #[schema(value_type = Option<Object>)]
    path: Option<Value>,
    /// Since when it is asked; `null` for a filter that rests; now when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    enabled_at: Option<Value>,
}

/// A filter to be changed. What is left out stays as it is.
#[derive(Clone, Deserialize, ToSchema)]
pub(crate) struct FilterBody {
    /// Which event types it is for.
    event_type: Option<String>,
    /// Over the body.
    #[schema(value_type = Option<Object>)]
    body: Option<Value>,
    /// Over the headers.
    #[serde(alias = "header")]
    #[schema(value_type = Option<Object>)]
    headers: Option<Value>,
    /// Refused unless it is empty: events do not keep the query they came with.
    #[schema(value_type = Option<Object>)]
    query: Option<Value>,
    /// Refused unless it is empty: events do not keep the path they came at.
    #[schema(value_type = Option<Object>)]
    path: Option<Value>,
    /// Since when it is asked; `null` for a filter that rests.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    enabled_at: Option<Value>,
}

/// One of several filters to be changed. What is left out stays as it is.
#[derive(Clone, Deserialize, ToSchema)]
pub(crate) struct BulkFilterBody {
    /// Which filter.
    #[schema(required)]
    uid: Option<String>,
    /// Which event types it is for.
    event_type: Option<String>,
    /// Over the body.
    #[schema(value_type = Option<Object>)]
    body: Option<Value>,
    /// Over the headers.
    #[serde(alias = "header")]
    #[schema(value_type = Option<Object>)]
    headers: Option<Value>,
    /// Refused unless it is empty: events do not keep the query they came with.
    #[schema(value_type = Option<Object>)]
    query: Option<Value>,
    /// Refused unless it is empty: events do not keep the path they came at.
    #[schema(value_type = Option<Object>)]
    path: Option<Value>,
    /// Since when it is asked; `null` for a filter that rests.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    enabled_at: Option<Value>,
}

impl Body for NewFilterBody {}
impl Body for FilterBody {}
impl Body for BulkFilterBody {}

/// Keeps `null` apart from what is not there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Scopes {
    /// The scopes that are given, over those of the filter.
    ///
    /// # Errors
    /// `400` says what and where.
    pub(super) fn apply(self, field: &str, filter: &mut FilterRecord, now: Timestamp) -> Result<(), Problem> {
        for (name, scope) in [("query", &self.query), ("path", &self.path)] {
            let is_empty = scope.as_ref().is_none_or(|value| {
                value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
            });
            if !is_empty {
                let problem =
                    format!("events do not keep the {name} they came with; filter by `body` and `headers`");
                return Err(Problem::invalid(&member(field, name), problem));
            }
        }
        FilterSet::parse(self.body.as_ref(), self.headers.as_ref())
            .map_err(|error| Problem::invalid(&member(field, &error.path), error.problem))?;
        // An empty scope is no filter: it is not kept.
        let kept =
            |value: Value| Some(value).filter(|value| value.as_object().is_some_and(|it| !it.is_empty()));
        let before = (filter.body.clone(), filter.headers.clone());
        if let Some(body) = self.body {
            filter.body = kept(body);
        }
        if let Some(headers) = self.headers {
            filter.headers = kept(headers);
        }
        if (&filter.body, &filter.headers) != (&before.0, &before.1) {
            filter.updated_at = now;
        }
        Ok(())
    }
}

impl NewFilterBody {
    /// Makes the blank filter what is given. `field` is where the body is; empty for the whole request.
    ///
    /// # Errors
    /// `400` says what and where.
    pub(super) fn apply(self, field: &str, filter: &mut FilterRecord, now: Timestamp) -> Result<(), Problem> {
        let text = self.event_type.filter(|text| !text.is_empty());
        let event_type = text.ok_or_else(|| Problem::invalid(&member(field, "event_type"), "is missing"))?;
        let Self { body, headers, query, path, enabled_at, .. } = self;
        let event_type = Some(event_type);
        FilterBody { event_type, body, headers, query, path, enabled_at }.apply(field, filter, now)
    }
}

impl FilterBody {
    /// What is given over the filter.
    ///
    /// # Errors
    /// `400` says what and where.
    pub(super) fn apply(self, field: &str, filter: &mut FilterRecord, now: Timestamp) -> Result<(), Problem> {
        if let Some(text) = self.event_type.filter(|text| !text.is_empty()) {
            filter.event_type = change::pattern(&member(field, "event_type"), &text)?;
        }
        if let Some(value) = self.enabled_at {
            let field = member(field, "enabled_at");
            let is_on = filter.enabled_at.is_some();
            match enabled_at(&field, value)? {
                Enabling::AsItIs => {}
                Enabling::Off => filter.enabled_at = None,
                Enabling::On if is_on => {}
                Enabling::On => filter.enabled_at = Some(now),
                Enabling::Since(at) => filter.enabled_at = Some(at),
            }
        }
        let Self { body, headers, query, path, .. } = self;
        Scopes { body, headers, query, path }.apply(field, filter, now)?;
        filter.updated_at = now;
        Ok(())
    }
}

impl BulkFilterBody {
    /// Which filter is meant, and what of it changes.
    ///
    /// # Errors
    /// `400` when it does not say, `404` when that is no id.
    pub(super) fn split(self, field: &str) -> Result<(FilterId, FilterBody), Problem> {
        let text = self.uid.ok_or_else(|| Problem::invalid(&member(field, "uid"), "is missing"))?;
        let id = text.parse().map_err(|_| Problem::not_found(&format!("`{field}.uid`: filter")))?;
        let Self { event_type, body, headers, query, path, enabled_at, .. } = self;
        Ok((id, FilterBody { event_type, body, headers, query, path, enabled_at }))
    }
}

/// What `enabled_at` asks for.
enum Enabling {
    AsItIs,
    Off,
    On,
    Since(Timestamp),
}

/// An instant, nothing, or the object that the contract's document describes in its place.
fn enabled_at(field: &str, value: Value) -> Result<Enabling, Problem> {
    match value {
        Value::Null => Ok(Enabling::Off),
        Value::String(text) if text.is_empty() => Ok(Enabling::AsItIs),
        Value::String(text) => text.parse().map(Enabling::Since).map_err(|_| Problem::invalid(field, TIME)),
        Value::Object(mut object) => match (object.remove("set"), object.remove("time")) {
            (Some(Value::Bool(false)), _) => Ok(Enabling::AsItIs),
            (Some(Value::Bool(true)), None | Some(Value::Null)) => Ok(Enabling::Off),
            (_, Some(time @ Value::String(_))) => enabled_at(field, time),
            _ => Ok(Enabling::AsItIs),
        },
        Value::Bool(true) => Ok(Enabling::On),
        Value::Bool(false) => Ok(Enabling::Off),
        _ => Err(Problem::invalid(field, TIME)),
    }
}

/// The name of a member, for errors.
pub(super) fn member(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

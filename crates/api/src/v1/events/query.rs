//! Which events a request means.

use longshore_core::EventId;
use longshore_store::control::EventFilter;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use crate::v1::filters::Pairs;
use crate::v1::problem::Problem;

/// The most parts of a body that are looked for at a time.
const MOST_PARTS: usize = 16;
/// The deepest path into a body.
const DEEPEST: usize = 32;

/// Which events a list has.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, style = Form)]
#[expect(dead_code, reason = "stands in the document alone: names may be repeated, so that pairs are read")]
pub(crate) struct EventsQuery {
    /// Of these sources; may be repeated.
    #[param(rename = "sourceId")]
    source_id: Option<Vec<String>>,
    /// Delivered to these endpoints; may be repeated.
    #[param(rename = "endpointId")]
    endpoint_id: Option<Vec<String>>,
    /// With this idempotency key.
    #[param(rename = "idempotencyKey")]
    idempotency_key: Option<String>,
    /// Of this type.
    event_type: Option<String>,
    /// At this time or later, by the time of their ids.
    #[param(rename = "startDate")]
    start_date: Option<String>,
    /// Before this time.
    #[param(rename = "endDate")]
    end_date: Option<String>,
    /// The beginning of an id, an idempotency key, a type, a source's name, or words of the body. A JSON object is what the
    /// body has to contain.
    query: Option<String>,
    /// A JSON object that the body contains. `body.a.b=value` asks for one member.
    body: Option<String>,
    /// `Success`, or `Failure` for events that no subscription matched.
    #[param(pattern = "^(Success|Failure|Pending|Processing|Retry)$")]
    status: Option<String>,
    /// `true`: only events that no subscription matched.
    unmatched: Option<bool>,
}

/// Understands it; `None` when nothing can be it.
///
/// # Errors
/// `400` names the field.
pub(super) fn filter(pairs: &Pairs) -> Result<Option<EventFilter>, Problem> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut parts = Vec::new();
    for name in ["body", "json"] {
        if let Some(text) = pairs.one(&[name])? {
            parts.push(object(text).ok_or_else(|| Problem::invalid(name, "write a JSON object"))?);
        }
    }
    parts.extend(members(pairs)?);
    let text = match pairs.one(&["query"])? {
        Some(text) if text.starts_with('{') => {
            parts.push(object(text).ok_or_else(|| Problem::invalid("query", "is no JSON object"))?);
            None
        }
        text => owned(text),
    };
    if parts.len() > MOST_PARTS {
        return Err(Problem::invalid("body", format!("ask for {MOST_PARTS} members at most")));
    }
    let status = pairs.one(&["status"])?;
    let unmatched = pairs.flag("unmatched")?;
    let by_status = match status {
        None => None,
        Some("Success") => Some(false),
        Some("Failure") => Some(true),
        // An event is stored together with its deliveries: it never waits.
        Some("Pending" | "Processing" | "Retry") => return Ok(None),
        Some(_) => return Err(Problem::invalid("status", "write `Success` or `Failure`")),
    };
    if by_status.zip(unmatched).is_some_and(|(one, other)| one != other) {
        return Ok(None);
    }
    Ok(Some(EventFilter {
        sources: pairs.parsed(&["sourceId", "source_id"])?,
        endpoints: pairs.parsed(&["endpointId", "endpoint_id"])?,
        idempotency_key: owned(pairs.one(&["idempotencyKey", "idempotency_key"])?),
        event_type: owned(pairs.one(&["event_type", "eventType"])?),
        from: pairs.time(&["startDate", "start_date"])?,
        until: pairs.time(&["endDate", "end_date"])?,
        is_unmatched: by_status.or(unmatched),
        text,
        parts,
    }))
}

fn object(text: &str) -> Option<Value> {
    serde_json::from_str::<Map<String, Value>>(text).ok().map(Value::Object)
}

/// `body.a.b=value`: what the value is as JSON, and the text itself when it is none.
fn members(pairs: &Pairs) -> Result<Vec<Value>, Problem> {
    let mut found = Vec::new();
    for (name, value) in &pairs.0 {
        let Some(path) = name.strip_prefix("body.") else { continue };
        let names: Vec<&str> = path.split('.').collect();
        if names.len() > DEEPEST || names.iter().any(|name| name.is_empty()) {
            return Err(Problem::invalid(name, format!("write a path of 1 to {DEEPEST} names, `body.a.b`")));
        }
        let value: Value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        let nest = |inner, name: &&str| Value::Object(Map::from_iter([((*name).to_owned(), inner)]));
        found.push(names.iter().rev().fold(value, nest));
    }
    Ok(found)
}

/// The id of a path.
pub(super) fn id(text: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|_| Problem::not_found("event"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Option<EventFilter>, String> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        filter(&Pairs(owned.collect())).map_err(|problem| problem.message)
    }

    #[test]
    fn bodies_are_asked_for_in_three_ways() {
        let all = parse(&[("body.a.b", "1"), ("body.c", "x"), ("json", "{\"d\":2}"), ("query", "{\"e\":3}")]);
        let parts: Vec<String> = all.unwrap().unwrap().parts.iter().map(Value::to_string).collect();
        assert_eq!(parts, [r#"{"d":2}"#, r#"{"a":{"b":1}}"#, r#"{"c":"x"}"#, r#"{"e":3}"#]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (name, value) in [
            ("body", "[1]"),
            ("json", "x"),
            ("query", "{x"),
            ("body.a..b", "1"),
            ("status", "success"),
            ("unmatched", "yes"),
            ("sourceId", "x"),
            ("endpointId", "x"),
            ("startDate", "x"),
            ("endDate", "x"),
        ] {
            let problem = parse(&[(name, value)]).unwrap_err();
            assert!(problem.starts_with(&format!("`{name}`")), "{name}: {problem}");
        }
        assert_eq!(parse(&[("status", "Pending")]), Ok(None));
        assert_eq!(parse(&[("status", "Success"), ("unmatched", "true")]), Ok(None));
    }
}

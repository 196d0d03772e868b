//! The statement that finds the events of a list.

use longshore_core::{EventId, ProjectId};
use serde_json::Value;
use uuid::Uuid;

use super::EventFilter;
use crate::control::listing::{Sql, of_key, ordered, within};
use crate::control::page::PageRequest;

/// The cursors and ids of a page.
pub(super) fn append(sql: &mut Sql, project: ProjectId, filter: &EventFilter, request: &PageRequest) {
    if !filter.endpoints.is_empty() {
        return append_of_endpoints(sql, project, filter, request);
    }
    sql.push("SELECT e.id, e.id FROM events e WHERE e.project_id = ").push_bind(project.as_uuid());
    within(sql, "e.id", request, filter.from, filter.until);
    conditions(sql, project, filter);
    ordered(sql, "e.id", request);
}

/// The events of endpoints are found by their deliveries: each by the first one that went to one of them.
fn append_of_endpoints(sql: &mut Sql, project: ProjectId, filter: &EventFilter, request: &PageRequest) {
    let endpoints: Vec<Uuid> = filter.endpoints.iter().map(|id| id.as_uuid()).collect();
    sql.push("SELECT found.id, found.event_id FROM unnest(").push_bind(endpoints.clone());
    sql.push(
        "::uuid[]) AS wanted (endpoint_id) CROSS JOIN LATERAL (SELECT d.id, d.event_id FROM deliveries d",
    );
    // OFFSET keeps each a look-up by key, whatever the planner thinks of the number of rows.
    sql.push(
        " CROSS JOIN LATERAL (SELECT * FROM events WHERE project_id = d.project_id AND id = d.event_id OFFSET 0) e",
    );
    sql.push(" WHERE d.endpoint_id = wanted.endpoint_id AND d.project_id = ").push_bind(project.as_uuid());
    within(sql, "d.id", request, filter.from, filter.until);
    sql.push(
        " AND NOT EXISTS (SELECT FROM deliveries earlier WHERE earlier.event_id = d.event_id
          AND earlier.id < d.id AND earlier.endpoint_id = ANY (",
    );
    sql.push_bind(endpoints).push(") OFFSET 0)");
    conditions(sql, project, filter);
    ordered(sql, "d.id", request);
    sql.push(") AS found");
    ordered(sql, "found.id", request);
}

fn conditions(sql: &mut Sql, project: ProjectId, filter: &EventFilter) {
    if !filter.sources.is_empty() {
        let sources: Vec<Uuid> = filter.sources.iter().map(|id| id.as_uuid()).collect();
        sql.push(" AND e.source_id = ANY (").push_bind(sources).push(")");
    }
    if let Some(key) = &filter.idempotency_key {
        of_key(sql, "e.id", project, key);
    }
    if let Some(event_type) = &filter.event_type {
        sql.push(" AND e.event_type = ").push_bind(event_type.clone());
    }
    if let Some(is_unmatched) = filter.is_unmatched {
        sql.push(if is_unmatched { " AND NOT (" } else { " AND (" });
        sql.push(
            "e.is_duplicate OR EXISTS (SELECT FROM deliveries made WHERE made.event_id = e.id OFFSET 0))",
        );
    }
    for part in &filter.parts {
        contains(sql, part);
    }
    if let Some(text) = &filter.text {
        matches(sql, project, text);
    }
}

fn contains(sql: &mut Sql, part: &Value) {
    sql.push(" AND event_contains(e.body, ").push_bind(part.to_string()).push("::jsonb)");
}

fn matches(sql: &mut Sql, project: ProjectId, text: &str) {
    if let Ok(id) = text.parse::<EventId>() {
        sql.push(" AND e.id = ").push_bind(id.as_uuid());
        return;
    }
    sql.push(" AND (e.event_type = ").push_bind(text.to_owned());
    sql.push(" OR e.idempotency_key = ").push_bind(text.to_owned());
    if let Some((first, last)) = ids_beginning_with(text) {
        sql.push(" OR e.id BETWEEN ").push_bind(first).push(" AND ").push_bind(last);
    }
    sql.push(" OR e.source_id = ANY (ARRAY(SELECT id FROM sources WHERE project_id = ");
    sql.push_bind(project.as_uuid()).push(" AND name = ").push_bind(text.to_owned()).push("))");
    sql.push(" OR event_has_words(e.body, plainto_tsquery('simple', ").push_bind(text.to_owned()).push(")))");
}

/// The ids whose text begins so.
fn ids_beginning_with(prefix: &str) -> Option<(Uuid, Uuid)> {
    let filled = |with: &str| format!("{prefix}{}", with.repeat(26_usize.saturating_sub(prefix.len())));
    let bound = |with: &str| filled(with).parse::<EventId>().ok().map(EventId::as_uuid);
    bound("0").zip(bound("Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_of_ids() {
        let (first, last) = ids_beginning_with("01JD").unwrap();

        assert_eq!(EventId::from_uuid(first).to_string(), format!("01JD{}", "0".repeat(22)));
        assert_eq!(EventId::from_uuid(last).to_string(), format!("01JD{}", "Z".repeat(22)));
        assert_eq!(ids_beginning_with("invoice.paid"), None);
    }
}

//! The statement that finds the deliveries of a list.

use longshore_core::{ProjectId, Timestamp};
use uuid::Uuid;

use super::DeliveryFilter;
use crate::control::listing::{Sql, of_key, ordered, within};
use crate::control::page::PageRequest;

/// The states of deliveries that have a row in the schedule.
const WAITING: [&str; 2] = ["Scheduled", "Retry"];

/// The ids of a page, twice: a delivery's id is its cursor.
pub(super) fn append(sql: &mut Sql, project: ProjectId, filter: &DeliveryFilter, request: &PageRequest) {
    if !filter.endpoints.is_empty() {
        return append_of_endpoints(sql, project, filter, request);
    }
    let is_waiting =
        !filter.states.is_empty() && filter.states.iter().all(|state| WAITING.contains(&state.as_str()));
    let id = if is_waiting && filter.event.is_none() && filter.idempotency_key.is_none() {
        // Few wait: they are found in the schedule, and not among all that ended. OFFSET keeps each a look-up by key.
        sql.push(
            "SELECT w.delivery_id, w.delivery_id FROM schedule w CROSS JOIN LATERAL (
                 SELECT * FROM deliveries WHERE project_id = w.project_id AND id = w.delivery_id OFFSET 0
             ) d WHERE w.project_id = ",
        );
        "w.delivery_id"
    } else {
        sql.push("SELECT d.id, d.id FROM deliveries d WHERE d.project_id = ");
        "d.id"
    };
    sql.push_bind(project.as_uuid());
    within(sql, id, request, time(filter.from_us), time(filter.until_us));
    conditions(sql, project, filter);
    ordered(sql, id, request);
}

/// One walk of the index for each endpoint, in order and no longer than the page.
fn append_of_endpoints(sql: &mut Sql, project: ProjectId, filter: &DeliveryFilter, request: &PageRequest) {
    let endpoints: Vec<Uuid> = filter.endpoints.iter().map(|id| id.as_uuid()).collect();
    sql.push("SELECT found.id, found.id FROM unnest(").push_bind(endpoints);
    sql.push("::uuid[]) AS wanted (endpoint_id) CROSS JOIN LATERAL (SELECT d.id FROM deliveries d");
    sql.push(" WHERE d.endpoint_id = wanted.endpoint_id AND d.project_id = ").push_bind(project.as_uuid());
    within(sql, "d.id", request, time(filter.from_us), time(filter.until_us));
    conditions(sql, project, filter);
    ordered(sql, "d.id", request);
    sql.push(") AS found");
    ordered(sql, "found.id", request);
}

fn conditions(sql: &mut Sql, project: ProjectId, filter: &DeliveryFilter) {
    if let Some(event) = filter.event {
        sql.push(" AND d.event_id = ").push_bind(event.as_uuid());
    }
    if let Some(subscription) = filter.subscription {
        sql.push(" AND d.subscription_id = ").push_bind(subscription.as_uuid());
    }
    if !filter.states.is_empty() {
        sql.push(" AND d.state = ANY (").push_bind(filter.states.clone()).push(")");
    }
    if let Some(key) = &filter.idempotency_key {
        of_key(sql, "d.event_id", project, key);
    }
    if let Some(event_type) = &filter.event_type {
        sql.push(" AND EXISTS (SELECT FROM events WHERE project_id = d.project_id AND id = d.event_id AND event_type = ");
        sql.push_bind(event_type.clone()).push(" OFFSET 0)");
    }
}

fn time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

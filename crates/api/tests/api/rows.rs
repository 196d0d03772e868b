//! Events, deliveries and attempts as the data plane would have stored them.

use longshore_core::{Clock, EventId, ProjectId, SystemClock};
use serde_json::Value;

use crate::bed::{Answer, Bed, PROJECT};

pub(crate) const ENDPOINT: &str = "01JD0000000000000000000E1A";
pub(crate) const OTHER: &str = "01JD0000000000000000000E2A";
pub(crate) const SOURCE: &str = "01JD0000000000000000000SRC";
pub(crate) const NOWHERE: &str = "01JD000000000000000000N0NE";

/// As Postgres writes it.
pub(crate) fn uuid(text: &str) -> String {
    text.parse::<ProjectId>().unwrap().as_uuid().to_string()
}

/// An id of so many minutes ago; it ends with `number`.
pub(crate) fn id(minutes_ago: u64, number: u128) -> String {
    let at = SystemClock.now().before(std::time::Duration::from_secs(minutes_ago * 60));
    EventId::from_u128(EventId::floor(at).as_u128() | number).to_string()
}

/// Two endpoints and a source.
pub(crate) async fn resources(bed: &Bed) {
    for (id, name, status) in [(ENDPOINT, "first", "active"), (OTHER, "second", "inactive")] {
        bed.run(&format!(
            "INSERT INTO endpoints (project_id, id, name, url, owner_id, status)
             VALUES ('{}', '{}', '{name}', 'https://{name}.test/', 'owner-1', '{status}')",
            uuid(PROJECT),
            uuid(id),
        ))
        .await;
    }
    bed.run(&format!(
        "INSERT INTO sources (project_id, id, name, kind, sealed_config) VALUES ('{}', '{}', 'orders', 'kafka', '')",
        uuid(PROJECT),
        uuid(SOURCE),
    ))
    .await;
}

/// An event, with SQL for other values of some columns: `("event_type", "'a.b'")`.
pub(crate) async fn event(bed: &Bed, project: &str, id: &str, with: &[(&str, &str)]) {
    let (project, id) = (format!("'{}'", uuid(project)), format!("'{}'", uuid(id)));
    let mut columns = vec![
        ("project_id", project.as_str()),
        ("id", &id),
        ("kind", "'broadcast'"),
        ("event_type", "'invoice.paid'"),
        ("is_duplicate", "false"),
        ("headers", "'[[\"x-a\",\"1\"],[\"x-a\",\"2\"]]'"),
        ("body", "'{\"amount\":12345678901234567890.10,\"who\":{\"name\":\"Ada Lovelace\"}}'"),
        ("received_at", "now()"),
    ];
    for (name, value) in with {
        columns.retain(|(column, _)| column != name);
        columns.push((name, value));
    }
    let (names, values): (Vec<&str>, Vec<&str>) = columns.into_iter().unzip();
    bed.run(&format!("INSERT INTO events ({}) VALUES ({})", names.join(", "), values.join(", "))).await;
}

/// A delivery in that state, with what goes with it.
pub(crate) async fn delivery(bed: &Bed, project: &str, id: &str, event: &str, endpoint: &str, state: &str) {
    let attempts = i32::from(state != "Scheduled" && state != "Discarded");
    let is_final = ["Success", "Failure", "Discarded"].contains(&state);
    let claimed = if state == "Processing" { "gen_random_uuid()" } else { "NULL" };
    let finished = if is_final { "now()" } else { "NULL" };
    let (project, id, event, endpoint) = (uuid(project), uuid(id), uuid(event), uuid(endpoint));
    bed.run(&format!(
        "INSERT INTO deliveries (project_id, id, event_id, endpoint_id, claimed_by, finished_at, state, attempt_count)
         VALUES ('{project}', '{id}', '{event}', '{endpoint}', {claimed}, {finished}, '{state}', {attempts})"
    ))
    .await;
    if ["Scheduled", "Retry"].contains(&state) {
        bed.run(&format!(
            "INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
             VALUES ('{id}', '{project}', '{endpoint}', '{event}', now() + interval '1 hour')"
        ))
        .await;
    }
}

/// The ids of a page.
pub(crate) fn ids(answer: &Answer) -> Vec<String> {
    let content = answer.data()["content"].as_array().unwrap();
    content.iter().map(|item| item["uid"].as_str().map(str::to_owned).unwrap()).collect()
}

/// All ids of a list, page by page, forth and then back to the first; `between` is done after each page.
pub(crate) async fn walked(
    bed: &Bed,
    path: &str,
    between: impl AsyncFn(usize),
) -> (Vec<String>, Vec<String>) {
    let (mut forth, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    let mut last: Value;
    loop {
        let page = bed.get(&format!("{path}perPage=2&next_page_cursor={cursor}")).await;
        forth.extend(ids(&page));
        pages += 1;
        between(pages).await;
        last = page.data()["pagination"].clone();
        cursor = last["next_page_cursor"].as_str().unwrap().to_owned();
        if last["has_next_page"] == false {
            break;
        }
    }
    let mut back = Vec::new();
    while last["has_prev_page"] == true {
        let cursor = last["prev_page_cursor"].as_str().unwrap();
        let page = bed.get(&format!("{path}perPage=2&direction=prev&prev_page_cursor={cursor}")).await;
        let mut found = ids(&page);
        found.append(&mut back);
        back = found;
        last = page.data()["pagination"].clone();
    }
    (forth, back)
}

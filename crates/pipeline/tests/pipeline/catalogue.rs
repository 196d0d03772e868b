//! Events that are held against their project's catalogue.

use std::collections::HashMap;
use std::sync::Arc;

use longshore_core::catalogue::{Catalogue, Schema};
use longshore_core::quarantine::Reason;
use longshore_core::{DeliveryState, Snapshot};
use longshore_source::memory::Publication;
use serde_json::{Value, json};

use super::bed::{A, Bed, PROJECT, SECOND, endpoint, project, retries};

/// With a catalogue of these types, at that version.
fn catalogued(bed: &Bed, types: &[(&str, Option<Value>)], version: i64) {
    let types = types.iter().map(|(name, schema)| {
        ((*name).to_owned(), schema.as_ref().map(|schema| Schema::compile(schema).unwrap()))
    });
    let snapshot = Snapshot::new(vec![project(retries(&[5]))], vec![endpoint(A)], Vec::new())
        .with_catalogues(HashMap::from([(PROJECT, Catalogue::new(types))]))
        .at_version(version);
    bed.database.set_config_version(version);
    bed.config.send_replace(Arc::new(snapshot));
}

fn publish(bed: &Bed, event_type: &str, data: &Value) {
    let body = json!({"event_type": event_type, "endpoint_id": A, "data": data});
    bed.broker.publish(Publication::from(body.to_string()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_catalogue_or_not_as_its_schema_says_is_quarantined() {
    let bed = Bed::new();
    let schema = json!({"type": "object", "properties": {"total": {"type": "integer"}}});
    catalogued(&bed, &[("plain", None), ("order.made", Some(schema))], 1);
    let _process = bed.start();

    publish(&bed, "plain", &json!("whatever"));
    publish(&bed, "order.made", &json!({"total": 5}));
    publish(&bed, "order.gone", &json!({"total": 5}));
    publish(&bed, "order.made", &json!({"total": "hunter2"}));

    bed.until(DeliveryState::Success, 2).await;
    bed.wait("quarantine", |database| database.quarantined().len() == 2).await;
    let quarantined = bed.database.quarantined();
    let of = |reason: Reason| {
        let found = quarantined.iter().find(|message| message.reason == reason);
        &found.unwrap_or_else(|| panic!("{reason}: {quarantined:?}")).detail
    };
    assert!(of(Reason::UnknownEventType).contains("`order.gone`"));
    let detail = of(Reason::InvalidData);
    assert!(detail.contains("/total") && detail.contains("integer"), "{detail}");
    assert!(!detail.contains("hunter2"), "{detail}");
    assert_eq!(bed.broker.stats().acked, 4);
}

#[tokio::test(start_paused = true)]
async fn an_event_published_right_after_its_type_was_made_is_taken() {
    let bed = Bed::new();
    catalogued(&bed, &[("old", Some(json!({"type": "string"})))], 1);
    let _process = bed.start();
    // The configuration is newer than what the process has seen.
    bed.database.set_config_version(2);

    publish(&bed, "new", &json!(1));
    publish(&bed, "old", &json!(1));
    tokio::time::sleep(SECOND / 2).await;
    assert!(bed.database.events().is_empty() && bed.database.quarantined().is_empty());
    catalogued(&bed, &[("new", None), ("old", None)], 2);

    bed.until(DeliveryState::Success, 2).await;
    assert!(bed.database.quarantined().is_empty());
}

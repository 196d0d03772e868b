use longshore_core::Secret;
use longshore_core::project::{Project, ProjectSettings};
use longshore_store::SourceRecord;
use serde_json::json;

use super::*;
use crate::config::BrokerTable;

const SHOP: ProjectId = ProjectId::from_u128(7);

fn in_file(name: &str, project: &str) -> SourceConfig {
    let rabbitmq = Some(BrokerTable(json!({"urls": ["amqp://broker/"], "queue": "q"})));
    let (name, project, kind) = (name.to_owned(), project.to_owned(), "rabbitmq".to_owned());
    SourceConfig { name, project, kind, workers: 2, disabled: false, rabbitmq }
}

fn stored(name: &str, is_disabled: bool, config: &str) -> SourceRecord {
    SourceRecord {
        id: SourceId::from_u128(1),
        project: SHOP,
        name: name.to_owned(),
        kind: "rabbitmq".to_owned(),
        workers: 1,
        is_disabled,
        config: Secret::new(config.to_owned()),
        mapping: "{}".to_owned(),
    }
}

fn names(file: &[SourceConfig], sources: Vec<SourceRecord>) -> Vec<String> {
    let shop = Project { id: SHOP, name: "shop".to_owned(), settings: ProjectSettings::default() };
    let snapshot = Arc::new(Snapshot::new(vec![shop], Vec::new(), Vec::new()));
    let config = Resources { snapshot, sources, ..Resources::default() };
    let mut names: Vec<_> = wanted_sources(file, &config)
        .iter()
        .map(|(consumer, declared)| format!("{}#{}", declared.name, consumer.worker))
        .collect();
    names.sort();
    names
}

#[test]
fn each_worker_of_each_source_is_one_consumer() {
    let file = [in_file("by-name", "shop"), in_file("by-id", &SHOP.to_string())];
    let record = stored("stored", false, r#"{"urls": ["amqp://broker/"], "queue": "q"}"#);

    assert_eq!(names(&file, vec![record]), ["by-id#0", "by-id#1", "by-name#0", "by-name#1", "stored#0"]);
}

#[test]
fn what_cannot_or_shall_not_run_is_left_out() {
    let file = [in_file("lost", "no-such-project")];
    let disabled = stored("rests", true, r#"{"urls": ["amqp://broker/"], "queue": "q"}"#);
    let broken = stored("broken", false, "{}");

    assert_eq!(names(&file, vec![disabled, broken]), [""; 0]);
}

use longshore_core::{Project, Secret, Snapshot};
use serde_json::json;

use super::*;

const SHOP: ProjectId = ProjectId::from_u128(7);
const SETTINGS: &str = r#"{"urls": ["amqp://broker/"], "queue": "q"}"#;

fn in_file(name: &str, project: &str) -> FileSource {
    let source = json!({
        "name": name, "project": project, "kind": "amqp", "workers": 2,
        "amqp": {"urls": ["amqp://broker/"], "queue": "q"},
    });
    FileSource::new(&serde_json::from_value(source).unwrap())
}

fn stored(name: &str, is_disabled: bool, config: &str) -> SourceRecord {
    SourceRecord {
        id: SourceId::from_u128(1),
        project: SHOP,
        name: name.to_owned(),
        kind: "rabbitmq".to_owned(),
        workers: 2,
        is_disabled,
        config: Secret::new(config.to_owned()),
        mapping: "{}".to_owned(),
    }
}

fn joined(file: &[FileSource], sources: Vec<SourceRecord>) -> Declarations {
    let shop = Project::new(SHOP, "shop".to_owned());
    let snapshot = Arc::new(Snapshot::new(vec![shop], Vec::new(), Vec::new()));
    declarations(file, &Resources { snapshot, sources, ..Resources::default() })
}

/// Name, worker and what becomes of it.
fn lines(declarations: &Declarations) -> Vec<String> {
    let line = |(consumer, declared): (&Consumer, &Declared)| {
        let fate = match &declared.broker {
            _ if declared.is_disabled => "rests",
            Ok(_) => "runs",
            Err(_) => "fails",
        };
        format!("{}#{} {} {fate}", declared.name, consumer.worker, declared.kind)
    };
    let mut lines: Vec<_> = declarations.consumers.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn each_worker_of_each_source_is_one_consumer_wherever_it_is_declared() {
    let file = [in_file("by-name", "shop"), in_file("by-id", &SHOP.to_string())];

    let lines = lines(&joined(&file, vec![stored("stored", false, SETTINGS)]));

    let expected = ["by-id#0", "by-id#1", "by-name#0", "by-name#1", "stored#0", "stored#1"];
    assert_eq!(lines, expected.map(|consumer| format!("{consumer} rabbitmq runs")));
}

#[test]
fn what_cannot_or_shall_not_run_is_still_shown() {
    let disabled = joined(&[], vec![stored("rests", true, SETTINGS)]);
    assert_eq!(lines(&disabled), ["rests#0 rabbitmq rests"]);

    let broken = joined(&[], vec![stored("broken", false, "{}")]);
    assert_eq!(lines(&broken), ["broken#0 rabbitmq fails", "broken#1 rabbitmq fails"]);

    let lost = joined(&[in_file("lost", "no-such-project")], Vec::new());
    assert_eq!(lines(&lost), [""; 0]);
    assert!(lost.problems[0].contains("`no-such-project`"), "{:?}", lost.problems);
}

#[test]
fn the_number_of_workers_is_no_part_of_a_consumer() {
    let two = joined(&[], vec![stored("q", false, SETTINGS)]).consumers;
    let three = joined(&[], vec![SourceRecord { workers: 3, ..stored("q", false, SETTINGS) }]).consumers;

    assert!(two.iter().all(|(consumer, declared)| three.get(consumer) == Some(declared)));
    assert_eq!(three.len(), 3);
}

#[test]
fn a_mapping_changes_without_a_restart_and_one_that_cannot_be_read_is_a_fault() {
    let with = |mapping: &str| {
        let record = SourceRecord { mapping: mapping.to_owned(), ..stored("q", false, SETTINGS) };
        joined(&[], vec![record]).consumers.into_values().next().unwrap()
    };
    let (plain, mapped) = (with("{}"), with(r#"{"event_type": "header:x-type"}"#));

    assert!(plain == mapped);
    assert_ne!(plain.mapping, mapped.mapping);
    let problem = with(r#"{"event_type": "hedaer:x"}"#).broker.err().unwrap();
    assert!(problem.contains("mapping") && problem.contains("event_type"), "{problem}");
}

#[test]
fn declared_ids_are_frozen() {
    assert_eq!(declared_id(SHOP, "orders"), declared_id(SHOP, "orders"));
    assert_ne!(declared_id(SHOP, "orders"), declared_id(SHOP, "orders2"));
    assert_eq!(declared_id(SHOP, "orders").to_string(), "3J7WEBYFFBEQJE2E1N7N3YEJHB");
}

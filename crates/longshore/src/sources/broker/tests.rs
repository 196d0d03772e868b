use std::io::Write;

use serde_json::json;

use super::*;

fn secret_file(text: &str) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{text}").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

#[test]
fn secrets_come_from_files_at_any_depth() {
    let (_file, path) = secret_file("hunter2");

    let auth = json!({"user": "me", "password_file": path});
    let broker = Broker::parse("amqp", Some(&json!({"host": "h", "queue": "q", "auth": auth}))).unwrap();

    let auth = json!({"user": "me", "password": "hunter2"});
    assert_eq!(broker.settings(), &json!({"host": "h", "queue": "q", "auth": auth}));
}

#[test]
fn a_renewed_certificate_is_another_broker() {
    let (mut file, path) = secret_file("old");
    let settings = json!({"urls": ["amqps://h/"], "queue": "q", "tls": {"ca_file": path}});
    let parse = || Broker::parse("rabbitmq", Some(&settings)).unwrap();
    let before = parse();
    assert!(before == parse());

    writeln!(file, "new").unwrap();

    assert!(before != parse());
}

#[test]
fn an_unknown_kind_or_a_missing_table_is_refused() {
    assert!(Broker::parse("rabbit", None).is_err_and(|problem| problem.contains("known: ")));
    assert!(Broker::parse("rabbitmq", None).is_err_and(|problem| problem.contains("`rabbitmq` table")));
}

#[test]
fn a_wrong_setting_is_named_without_its_value() {
    let problem = |settings: Value| Broker::parse("rabbitmq", Some(&settings)).err().unwrap();

    let password = problem(json!({"host": "h", "queue": "q", "auth": {"user": "me", "password": 4711}}));
    assert!(password.contains("expected") && !password.contains("4711"), "{password}");
    assert!(problem(json!({"host": "h", "queue": "q", "prefecth": 1})).contains("prefecth"));
    assert!(problem(json!({"host": "h", "queue": ""})).contains("queue"));
}

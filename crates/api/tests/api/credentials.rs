//! No operation answers anybody who may not ask it: every one, with every kind of wrong credential.

use http::Method;
use serde_json::json;

use crate::bed::{Bed, PROJECT, filled, is_public, key, operations};

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_refuses_every_wrong_credential() {
    let bed = Bed::new().await;
    bed.project_key(PROJECT, "expired", "owner", &[]).await;
    bed.run("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE name = 'expired'").await;
    // No operation is about both.
    bed.project_key(PROJECT, "narrow", "owner", &["organisation:read"]).await;
    let nobody =
        "CO.0000000000000000.0000000000000000000000000000000000000000000000000000000000000000".to_owned();
    let wrong: [(&str, Option<String>, &[u16]); 6] = [
        ("no key", None, &[401]),
        ("an unknown key", Some(nobody), &[401]),
        ("no key at all", Some("nonsense".to_owned()), &[401]),
        ("an expired key", Some(key("expired")), &[401]),
        ("a key of another project", Some(key("foreign")), &[403]),
        ("a key without the scope", Some(key("narrow")), &[403]),
    ];
    let mut asked = 0;
    for (method, template, operation) in operations() {
        if is_public(operation) {
            continue;
        }
        let path = filled(template);
        // What is the same for everybody wants a key, whatever it opens.
        let takes_any_key = operation["x-longshore-any-key"] == json!(true);
        for (what, key, expected) in &wrong {
            if takes_any_key && expected.contains(&403) {
                continue;
            }
            let answer = bed.ask(method.clone(), &path).key(key.clone()).body(json!({})).send().await;
            assert!(expected.contains(&answer.status), "{method} {path} with {what}: {answer:?}");
            asked += 1;
        }
    }
    assert!(asked > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_change_nothing() {
    let bed = Bed::new().await;
    for (method, template, operation) in operations() {
        // What only computes an answer is open to whoever may look.
        let is_reading = method == Method::GET || operation["x-longshore-reads"] == json!(true);
        if is_reading || is_public(operation) || !template.contains("{project_id}") {
            continue;
        }
        for viewer in [key("viewer"), key("my-viewer")] {
            let answer = bed.ask(method.clone(), &filled(template)).key(viewer).body(json!({})).send().await;
            assert_eq!(answer.status, 403, "{method} {template}: {answer:?}");
        }
    }
}

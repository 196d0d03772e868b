//! No operation answers anybody who may not ask it: every one, with every kind of wrong credential, and every role.

use http::Method;
use longshore_core::access::Role;
use serde_json::{Value, json};

use crate::bed::{Bed, FOREIGN, PROJECT, filled, is_public, key, operations, token};

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_refuses_every_wrong_credential() {
    let bed = Bed::new().await;
    bed.project_key(PROJECT, "expired", "owner", &[]).await;
    bed.run("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE name = 'expired'").await;
    bed.person("my-expired", Some((crate::bed::ORGANISATION, "owner"))).await;
    bed.run("UPDATE personal_keys SET expires_at = now() - interval '1 second' WHERE name = 'my-expired'")
        .await;
    bed.person("my-narrow", Some((crate::bed::ORGANISATION, "owner"))).await;
    bed.run("UPDATE personal_keys SET scopes = '{portal_links:read}' WHERE name = 'my-narrow'").await;
    bed.project_key(PROJECT, "narrow", "owner", &["portal_links:read"]).await;
    bed.project_key(PROJECT, "narrow-too", "owner", &["organisation:read"]).await;
    bed.person("my-narrow-too", Some((crate::bed::ORGANISATION, "owner"))).await;
    bed.run("UPDATE personal_keys SET scopes = '{quarantine:read}' WHERE name = 'my-narrow-too'").await;
    bed.portal(PROJECT, "expired", "acme", true).await;
    bed.run("UPDATE portal_tokens SET expires_at = now() - interval '1 second'").await;
    bed.portal(PROJECT, "revoked", "acme", true).await;
    bed.run("DELETE FROM portal_links WHERE name = 'revoked'").await;
    bed.portal(PROJECT, "manages", "acme", true).await;
    bed.portal(PROJECT, "looks", "acme", false).await;
    bed.portal(FOREIGN, "foreign", "acme", true).await;
    let nobody =
        "CO.0000000000000000.0000000000000000000000000000000000000000000000000000000000000000".to_owned();
    let mut asked = 0;
    for (method, template, operation) in operations() {
        if is_public(operation) {
            continue;
        }
        let is_of_a_project = template.contains("{project_id}");
        let is_about = |word: &str| template.contains(word);
        let narrow = if is_about("portal") { "narrow-too" } else { "narrow" };
        let my_narrow = if is_about("portal") { "my-narrow-too" } else { "my-narrow" };
        let mut wrong: Vec<(&str, Option<String>, u16)> = vec![
            ("no key", None, 401),
            ("an unknown key", Some(nobody.clone()), 401),
            ("no key at all", Some("nonsense".to_owned()), 401),
            ("an empty key", Some(String::new()), 401),
            ("an expired key", Some(key("expired")), 401),
            ("an expired personal key", Some(key("my-expired")), 401),
            ("a key of another project", Some(key("foreign")), 403),
            ("a key without the scope", Some(key(narrow)), 403),
            ("a personal key without the scope", Some(key(my_narrow)), 403),
        ];
        wrong.push(("an unknown portal token", Some(token("unknown")), 401));
        wrong.push(("an expired portal token", Some(token("fresh-expired")), 401));
        wrong.push(("a token of a revoked portal link", Some(token("revoked")), 401));
        wrong.push(("a short-lived one of it", Some(token("fresh-revoked")), 401));
        // Nothing is open to a portal link but what says so.
        if operation["x-longshore-portal"] != json!(true) {
            for name in ["manages", "looks", "fresh-manages", "fresh-looks"] {
                wrong.push(("a portal token", Some(token(name)), 403));
            }
        } else if is_of_a_project && method != Method::GET {
            wrong.push(("a portal token that may only look", Some(token("looks")), 403));
        }
        if is_of_a_project {
            wrong.push(("a portal token of another project", Some(token("foreign")), 403));
        }
        if is_of_a_project || is_about("{organisation_id}") || template == "/api/v1/projects" {
            wrong.push(("a personal key of another organisation", Some(key("my-foreign")), 403));
            wrong.push(("a personal key of nobody's", Some(key("my-nothing")), 403));
        }
        if !is_of_a_project {
            wrong.push(("a key of a project", Some(key("owner")), 403));
        }
        // What is the same for everybody wants a key, whatever it opens.
        if operation["x-longshore-any-key"] == json!(true) {
            wrong.retain(|(what, _, expected)| *expected == 401 || what.contains("portal"));
        }
        for (what, key, expected) in wrong {
            let path = filled(template);
            let answer = bed.ask(method.clone(), &path).key(key).body(json!({})).send().await;
            assert_eq!(answer.status, expected, "{method} {path} with {what}: {answer:?}");
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked}");
}

/// The lowest role that an operation of a project or an organisation is open to.
fn least(method: &Method, template: &str, operation: &Value) -> Role {
    // What only computes an answer is open to whoever may look.
    let reads = match *method {
        // A token is made, though the contract asks for it by GET.
        Method::GET => operation["x-longshore-writes"] != json!(true),
        _ => operation["x-longshore-reads"] == json!(true),
    };
    if ["api-keys", "audit-log", "members"].iter().any(|word| template.contains(word)) {
        return Role::Admin;
    }
    let is_whole = template.ends_with("{project_id}")
        || template == "/api/v1/projects"
        || template.contains("{project_id}/features");
    match (reads, template.ends_with("{organisation_id}"), is_whole) {
        (true, ..) => Role::Viewer,
        (_, true, _) => Role::Owner,
        (_, _, true) => Role::Admin,
        _ => Role::Developer,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_open_to_its_roles_and_no_others() {
    let bed = Bed::new().await;
    for (method, template, operation) in operations() {
        let is_of_a_project = template.contains("{project_id}");
        let is_of_an_organisation = template.contains("{organisation_id}") || template == "/api/v1/projects";
        if is_public(operation) || !(is_of_a_project || is_of_an_organisation) {
            continue;
        }
        let least = least(&method, template, operation);
        // With what the request lacks the answer is another; who may not is told so first.
        let is_deleting = method == Method::DELETE && template.ends_with("{project_id}");
        for role in [Role::Viewer, Role::Developer, Role::Admin, Role::Owner] {
            for who in [role.to_string(), format!("my-{role}")] {
                let is_refused = role < least || (!is_of_a_project && !who.starts_with("my-"));
                if is_deleting && !is_refused {
                    continue;
                }
                let answer =
                    bed.ask(method.clone(), &filled(template)).key(key(&who)).body(json!({})).send().await;
                assert_eq!(answer.status == 403, is_refused, "{method} {template} by {who}: {answer:?}");
                assert_ne!(answer.status, 401, "{method} {template} by {who}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_to_portal_links_is_open_to_their_tokens() {
    let bed = Bed::new().await;
    bed.portal(PROJECT, "manages", "acme", true).await;
    let mut asked = 0;
    for (method, template, operation) in operations() {
        if operation["x-longshore-portal"] != json!(true) {
            continue;
        }
        for name in ["manages", "fresh-manages"] {
            let asking = bed.ask(method.clone(), &filled(template)).key(token(name)).body(json!({}));
            let answer = asking.send().await;
            assert!(![401, 403].contains(&answer.status), "{method} {template}: {answer:?}");
            asked += 1;
        }
    }
    assert!(asked >= 4, "{asked}");
}

//! The document: as it is checked in, as it is served, as people see it.

use axum::body::to_bytes;
use http::{Method, Request, StatusCode};
use longshore_api::v1::{ControlSettings, api_document};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::bed::Bed;

async fn fetch(bed: &Bed, path: &str) -> (StatusCode, http::HeaderMap, String) {
    let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
    let (head, body) = bed.router().oneshot(request).await.unwrap().into_parts();
    let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    (head.status, head.headers, body)
}

/// What clients are generated from is reviewed with the code that changes it.
#[test]
fn the_document_that_is_checked_in_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap();
    let now = format!("{}\n", serde_json::to_string_pretty(&api_document()).unwrap());

    assert!(checked_in == now, "docs/openapi.json is not what the code says: run `make api-document`");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_to_everybody_without_what_is_not_offered() {
    let bed = Bed::with(ControlSettings::default()).await;

    let (status, headers, body) = fetch(&bed, "/api/v1/openapi.json").await;

    assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"application/json".parse().unwrap()));
    let served: Value = serde_json::from_str(&body).unwrap();
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"), "{}", served["openapi"]);
    assert_eq!(served["security"], json!([{"ApiKeyAuth": []}]));
    assert!(served["paths"]["/api/v1/projects/{project_id}/events/fanout"]["post"].is_object());
    let whole = serde_json::to_value(api_document()).unwrap();
    assert!(whole["paths"]["/api/v1/projects/{project_id}/retention"].is_object());
    assert!(served["paths"]["/api/v1/projects/{project_id}/retention"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_people_has_every_operation_and_no_script() {
    let bed = Bed::new().await;

    let (status, headers, page) = fetch(&bed, "/docs").await;
    let (styled, style_headers, _) = fetch(&bed, "/docs/style.css").await;

    assert_eq!((status, styled), (StatusCode::OK, StatusCode::OK));
    assert!(style_headers["content-type"].to_str().unwrap().starts_with("text/css"));
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none';"));
    assert!(headers.contains_key("x-request-id"));
    assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("src="));
    let document = serde_json::to_value(api_document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(page.contains(&format!("<code>{path}</code>")), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap().to_lowercase();
            assert!(page.contains(&format!("id=\"operation-{id}\"")), "{id}");
            assert!(page.contains(&format!("href=\"#operation-{id}\"")), "{id}");
        }
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let anchor = name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        assert!(page.contains(&format!("id=\"schema-{anchor}\"")), "{name}");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_a_tag() {
    let document = serde_json::to_value(api_document()).unwrap();
    let mut names = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(method.parse::<Method>().is_ok());
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "two operations are called {name}");
            assert!(operation["tags"][0].is_string(), "{method} {path} has no tag");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
        }
    }
}

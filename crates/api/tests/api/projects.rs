//! Projects.

use http::Method;

use crate::bed::{Bed, PROJECT, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_read_by_its_own_keys_and_by_people_of_its_organisation() {
    let bed = Bed::new().await;
    for who in ["viewer", "admin", "my-viewer", "my-owner"] {
        let answer = bed.ask(Method::GET, "").key(key(who)).send().await;

        assert_eq!(answer.text("/uid"), PROJECT);
        assert!(answer.headers.contains_key("etag") && answer.headers.contains_key("x-request-id"));
        assert_eq!(answer.headers["x-convoy-version"], "2025-11-24");
    }
}

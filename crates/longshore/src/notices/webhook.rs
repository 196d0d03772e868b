//! The request of a meta event: what is signed is what is sent.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use longshore_core::Timestamp;
use longshore_core::project::Project;
use longshore_core::signature::{self, Encoding, Hash, SigningKey};
use longshore_pipeline::dispatch::SignedRequest;
use longshore_pipeline::dispatch::egress::Route;
use longshore_store::notices::DueMetaEvent;

/// One deadline over everything.
const TIMEOUT: Duration = Duration::from_secs(10);

const CONTRACT_SIGNATURE: HeaderName = HeaderName::from_static("x-convoy-signature");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Builds and signs the request at that instant.
///
/// # Errors
/// What the project's configuration lacks for it, as a sentence for people.
pub(super) fn build(
    event: &DueMetaEvent,
    project: &Arc<Project>,
    at: Timestamp,
) -> Result<SignedRequest, &'static str> {
    let settings = &project.settings.meta_events;
    let url = settings.url.clone().filter(|_| settings.enabled);
    let url = url.ok_or("the project sends no meta events any more; see `settings.meta_events`")?;
    let secret = project.credentials.meta_event_secret.as_ref();
    let secret = secret.ok_or("the project has no `credentials.meta_event_secret` to sign with")?;
    let key = SigningKey::parse(secret.expose())
        .map_err(|_| "the project's `credentials.meta_event_secret` cannot sign")?;
    // The text of the data as it is stored: nothing is parsed and written anew.
    let body = format!(r#"{{"event_type":"{}","data":{}}}"#, event.event_type, event.data);
    let id = event.id.to_string();
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let keys = || std::iter::once(&key);
    let contract = signature::simple(keys(), Hash::Sha256, Encoding::Hex, body.as_bytes());
    let standard = signature::standard(keys(), &id, at, body.as_bytes());
    for (name, value) in [
        (CONTRACT_SIGNATURE, contract),
        (WEBHOOK_ID, Some(id)),
        (WEBHOOK_TIMESTAMP, Some(at.as_secs().to_string())),
        (WEBHOOK_SIGNATURE, standard),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    let route = Route::of_project(project);
    Ok(SignedRequest { url, headers, body: body.into(), timeout: TIMEOUT, route })
}

#[cfg(test)]
mod tests {
    use longshore_core::{MetaEventId, ProjectId, Secret};

    use super::*;

    fn event() -> DueMetaEvent {
        DueMetaEvent {
            project: ProjectId::from_u128(1),
            id: MetaEventId::from_u128(7),
            event_type: "endpoint.disabled".to_owned(),
            data: r#"{"uid":"a"}"#.to_owned(),
            attempt: 1,
            throttled: 0,
            created_at: Timestamp::EPOCH,
        }
    }

    fn project() -> Project {
        let mut project = Project::new(ProjectId::from_u128(1), "shop".to_owned());
        project.settings.meta_events.enabled = true;
        project.settings.meta_events.url = Some("https://a.example/meta".parse().unwrap());
        project.credentials.meta_event_secret = Some(Secret::new("hunter2".to_owned()));
        project
    }

    #[test]
    fn the_body_is_the_contracts_and_both_signatures_are_of_it() {
        let request = build(&event(), &Arc::new(project()), Timestamp::from_secs(1_700_000_000)).unwrap();

        assert_eq!(&*request.body, br#"{"event_type":"endpoint.disabled","data":{"uid":"a"}}"#);
        let key = SigningKey::parse("hunter2").unwrap();
        let expected =
            signature::simple(std::iter::once(&key), Hash::Sha256, Encoding::Hex, &request.body).unwrap();
        assert_eq!(request.headers["x-convoy-signature"], expected);
        assert_eq!(request.headers["webhook-id"], event().id.to_string());
        assert_eq!(request.headers["webhook-timestamp"], "1700000000");
        assert!(request.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    }

    #[test]
    fn what_the_project_lacks_is_named() {
        let mut off = project();
        off.settings.meta_events.enabled = false;
        let mut unsigned = project();
        unsigned.credentials.meta_event_secret = None;

        for (project, named) in [(off, "settings.meta_events"), (unsigned, "meta_event_secret")] {
            assert!(build(&event(), &Arc::new(project), Timestamp::EPOCH).unwrap_err().contains(named));
        }
    }
}

//! `GET /public-keys/{endpoint_id}`: what receivers verify `v1a` signatures with.
//!
//! What it is for: receivers that would rather ask than be told. What it does not do: authenticate (public keys are
//! public) or query: it answers from the configuration in memory. Invariant: nothing of a shared secret is told, not
//! even that there is one.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use longshore_core::{Clock, EndpointId, Snapshot, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

/// A rolled key signs beside the old one for longer than that, so what is cached is good enough.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=60");
const NOT_CACHED: HeaderValue = HeaderValue::from_static("no-store");

/// What the route answers from.
#[derive(Clone)]
struct Known<C> {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    clock: C,
}

/// The route, for the public listener.
pub(crate) fn public_keys_router<C: Clock>(snapshot: watch::Receiver<Arc<Snapshot>>, clock: C) -> Router {
    Router::new().route("/public-keys/{endpoint_id}", get(answer::<C>)).with_state(Known { snapshot, clock })
}

async fn answer<C: Clock>(
    State(known): State<Known<C>>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let keys = {
        let snapshot = known.snapshot.borrow();
        // A path that is not even text names no endpoint.
        let id = path.ok().and_then(|Path(text)| text.parse().ok());
        id.and_then(|id| public_keys(&snapshot, id, known.clock.now()))
    };
    match keys {
        Some(keys) => {
            let body = json!({
                "status": true,
                "message": "Public keys retrieved successfully",
                "data": {"keys": keys},
            });
            ([(CACHE_CONTROL, CACHED)], Json(body)).into_response()
        }
        None => {
            let body = json!({"status": false, "message": "endpoint not found"});
            (StatusCode::NOT_FOUND, [(CACHE_CONTROL, NOT_CACHED)], Json(body)).into_response()
        }
    }
}

/// The public halves of the keys that sign now, oldest first; `None` when there is no such endpoint.
fn public_keys(snapshot: &Snapshot, id: EndpointId, now: Timestamp) -> Option<Vec<Value>> {
    let endpoint = snapshot.endpoint(id)?;
    let live = endpoint.keys.iter().filter(|key| key.is_live(now));
    let keys = live.filter_map(|key| {
        Some(json!({
            "id": key.key.public_key_id()?,
            "algorithm": "ed25519",
            "public_key": key.key.public_key()?,
            "expires_at": key.expires_at.map(|at| at.to_string()),
        }))
    });
    Some(keys.collect())
}

#[cfg(test)]
mod tests {
    use longshore_core::endpoint::EndpointKey;
    use longshore_core::signature::SigningKey;
    use longshore_core::{Endpoint, ProjectId};

    use super::*;

    #[test]
    fn live_public_keys_are_told_and_nothing_else() {
        let key = |text: &str, expires_at: Option<i64>| EndpointKey {
            key: SigningKey::parse(text).unwrap(),
            expires_at: expires_at.map(Timestamp::from_secs),
        };
        let seed = |letter: &str| format!("whsk_{}=", letter.repeat(43));
        let mut endpoint = Endpoint::new(
            EndpointId::from_u128(1),
            ProjectId::from_u128(1),
            "https://a.example/".parse().unwrap(),
        );
        endpoint.keys = vec![
            key(&seed("A"), Some(99)),
            key(&seed("E"), Some(101)),
            key("shared", None),
            key(&seed("I"), None),
        ];
        let snapshot = Snapshot::new(Vec::new(), vec![endpoint], Vec::new());
        let now = Timestamp::from_secs(100);

        let keys = public_keys(&snapshot, EndpointId::from_u128(1), now).unwrap();

        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0]["expires_at"], "1970-01-01T00:01:41Z");
        assert_eq!(keys[1]["expires_at"], Value::Null);
        assert!(keys[1]["public_key"].as_str().unwrap().starts_with("whpk_"));
        assert_eq!(public_keys(&snapshot, EndpointId::from_u128(2), now), None);
    }
}

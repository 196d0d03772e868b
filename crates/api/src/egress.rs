//! `GET /egress-ips`: where webhooks come from, for the firewalls of those who receive them.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// The route, for the public listener. It tells no secret and wants no key.
pub fn egress_router(ips: Vec<String>) -> Router {
    Router::new().route("/egress-ips", get(egress_ips)).with_state(Arc::new(ips))
}

async fn egress_ips(State(ips): State<Arc<Vec<String>>>) -> Json<Value> {
    Json(json!({
        "status": true,
        "message": "Egress IPs fetched successfully",
        "data": {"egress_ips": *ips},
    }))
}

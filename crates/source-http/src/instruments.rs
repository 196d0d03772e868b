//! Counters and timings of the routes, with their handles kept, because looking one up allocates.
//!
//! A handle belongs to the recorder that is installed when it is first used.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

/// Every status the routes can answer with.
const STATUSES: [StatusCode; 11] = [
    StatusCode::CREATED,
    StatusCode::MULTI_STATUS,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// The instruments of one route.
#[derive(Default)]
pub(crate) struct Instruments {
    requests: [OnceLock<Counter>; STATUSES.len()],
    seconds: OnceLock<Histogram>,
}

impl Instruments {
    /// Counts a request that was answered with `status` after `took`.
    pub(crate) fn answered(&self, route: &'static str, status: StatusCode, took: Duration) {
        if let Some(at) = STATUSES.iter().position(|known| *known == status) {
            self.requests[at]
                .get_or_init(|| {
                    let status = status.as_u16().to_string();
                    counter!("ingest_http_requests_total", "route" => route, "status" => status)
                })
                .increment(1);
        }
        self.seconds
            .get_or_init(|| histogram!("ingest_http_request_seconds", "route" => route))
            .record(took.as_secs_f64());
    }
}

//! The response: the contract's envelope `{"status", "message", "data"}`, and the headers around it.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use longshore_source::{Receipt, Refusal, Settled};
use serde::Serialize;

use crate::gate::{Denied, Rate};
use crate::rejection::Rejection;
use crate::request_id::REQUEST_ID;
use crate::ulid::Ulid;

/// The v1 contract's name for the version of the API.
const VERSION: HeaderName = HeaderName::from_static("x-convoy-version");
/// Names of the v1 contract; seconds until the whole limit is there again.
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const DUPLICATE: &str = "Duplicate event received, but will not be sent";

/// What a request is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    body: Vec<u8>,
    media_type: HeaderValue,
    retry_after: Option<u64>,
    /// A header that only this answer has.
    extra: Option<(HeaderName, HeaderValue)>,
    rate: Option<Rate>,
}

#[derive(Serialize)]
struct Success<'a, T> {
    status: bool,
    message: &'a str,
    data: T,
}

#[derive(Serialize)]
struct Failure<'a> {
    status: bool,
    message: &'a str,
}

#[derive(Serialize)]
struct Stored {
    uid: Ulid,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_duplicate_event: bool,
}

impl Answer {
    /// The answer to a single event; `message` says that it was stored.
    pub(crate) fn to_event(settled: Settled, message: &'static str) -> Self {
        match settled {
            Settled::Ack(receipt) => Self::stored(receipt, message),
            Settled::Refuse(refusal) => Self::failed(StatusCode::BAD_REQUEST, &reason(refusal)),
            Settled::Retry(after) => Rejection::NotStored(after).into(),
        }
    }

    /// An envelope with `data`.
    pub(crate) fn with_data(status: StatusCode, ok: bool, message: &str, data: impl Serialize) -> Self {
        Self::new(status, &Success { status: ok, message, data })
    }

    /// `200` with a body of somebody's own; of no media type it is plain text.
    pub(crate) fn verbatim(media_type: &str, body: &str) -> Self {
        let given = HeaderValue::try_from(media_type).ok().filter(|_| !media_type.is_empty());
        let media_type = given.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"));
        let body = body.as_bytes().to_vec();
        Self { status: StatusCode::OK, body, media_type, retry_after: None, extra: None, rate: None }
    }

    /// The same, to be repeated after so many seconds.
    pub(crate) fn retry_after(self, seconds: Option<u64>) -> Self {
        Self { retry_after: seconds, ..self }
    }

    /// The same, saying how the project stands with its limit.
    pub(crate) fn with_rate(self, rate: Option<Rate>) -> Self {
        Self { rate, ..self }
    }

    /// The response, with what every one has.
    pub(crate) fn into_response(self, request_id: HeaderValue, version: HeaderValue) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.media_type);
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(Rate { limit, remaining, reset_seconds }) = self.rate {
            headers.insert(LIMIT, HeaderValue::from(limit));
            headers.insert(REMAINING, HeaderValue::from(remaining));
            headers.insert(RESET, HeaderValue::from(reset_seconds));
        }
        if let Some((name, value)) = self.extra {
            headers.insert(name, value);
        }
        headers.insert(REQUEST_ID, request_id);
        headers.insert(VERSION, version);
        response
    }

    fn stored(receipt: Receipt, message: &str) -> Self {
        let message = if receipt.duplicate { DUPLICATE } else { message };
        // Zero stands for "became no event": there is no id to tell.
        let data = (receipt.event != 0)
            .then_some(Stored { uid: Ulid(receipt.event), is_duplicate_event: receipt.duplicate });
        Self::with_data(StatusCode::CREATED, true, message, data)
    }

    fn failed(status: StatusCode, message: &str) -> Self {
        Self::new(status, &Failure { status: false, message })
    }

    fn new(status: StatusCode, envelope: &impl Serialize) -> Self {
        let body = serde_json::to_vec(envelope).expect("plain structs of texts and numbers always serialize");
        Self { status, body, media_type: JSON, retry_after: None, extra: None, rate: None }
    }
}

impl From<Rejection> for Answer {
    fn from(rejection: Rejection) -> Self {
        let extra = match rejection {
            Rejection::Denied(Denied::Unauthenticated) => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            // So that the next request on this connection finds another instance.
            Rejection::Stopping => Some((CONNECTION, HeaderValue::from_static("close"))),
            _ => None,
        };
        let rate = match rejection {
            Rejection::Denied(Denied::Limited { rate, .. }) => Some(rate),
            _ => None,
        };
        let answer = Self::failed(rejection.status(), &rejection.to_string()).with_rate(rate);
        Self { extra, ..answer.retry_after(rejection.retry_after()) }
    }
}

/// What the producer reads about a refused event.
pub(crate) fn reason(refusal: Refusal) -> String {
    if refusal.field.is_empty() {
        return refusal.problem;
    }
    format!("`{}`: {}", refusal.field, refusal.problem)
}

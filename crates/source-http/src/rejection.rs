//! Everything that keeps an event from being stored, short of the pipeline refusing it.
//!
//! One place for status and text, so that a single event, an item of a batch and a whole batch say the same.

use std::time::Duration;

use http::StatusCode;

use crate::gate::Denied;

/// Why the answer is not a `201`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("there is nothing at this path")]
    NoRoute,
    #[error("this path does not take this method")]
    Method,
    /// A webhook that is not verified, or that is no event. The contract's clients expect `400`.
    #[error("{0}")]
    Unbelieved(String),
    #[error("this source answers no challenges")]
    NoChallenge,
    #[error("`content-type` must be {0}")]
    MediaType(&'static str),
    #[error(
        "CloudEvents are taken as `application/cloudevents+json`, or as any other type with the attributes in `ce-` \
         headers"
    )]
    CloudEventFormat,
    #[error("a batch of CloudEvents goes to `/api/v1/projects/{{project_id}}/events/batch`")]
    CloudEventBatch,
    #[error(
        "a single CloudEvent goes to `/api/v1/projects/{{project_id}}/events`, `…/fanout` or `…/broadcast`; here they \
         are taken as `application/cloudevents-batch+json`"
    )]
    SingleCloudEvent,
    #[error("`{0}`: is not UTF-8: percent-encode it")]
    NotText(String),
    #[error("`Idempotency-Key`: write at most `{0}` visible ASCII characters")]
    IdempotencyKey(usize),
    #[error("`content-encoding` is not supported: send the body as it is")]
    Encoding,
    #[error("the body is larger than `{0}` bytes")]
    TooLarge(usize),
    #[error("the event is larger than `{0}` bytes")]
    ItemTooLarge(usize),
    #[error("the batch holds more than `{0}` events: split it")]
    TooMany(usize),
    #[error("the batch holds no event")]
    Empty,
    #[error(
        "the batch is neither a JSON array of events nor one event per line: \
         begin the body with `[` or `{{`"
    )]
    NoBatch,
    #[error("a batch of CloudEvents must be a JSON array: begin the body with `[`")]
    NoArray,
    #[error("the batch is not valid JSON at line `{line}`, column `{column}`")]
    Malformed { line: usize, column: usize },
    #[error("the body did not arrive complete: nothing was stored")]
    Broken,
    #[error("the body did not arrive in time: nothing was stored")]
    Late,
    #[error("too many events are in flight: send the request again")]
    Full,
    #[error("this instance is shutting down: send the request again")]
    Stopping,
    #[error("the event could not be stored now: send it again with the same `idempotency_key`")]
    NotStored(Option<Duration>),
    #[error(
        "no answer from storage in time: the event may or may not be stored; \
         send it again with the same `idempotency_key`"
    )]
    Unknown,
}

impl Rejection {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Denied(Denied::Unauthenticated) => StatusCode::UNAUTHORIZED,
            Self::Denied(Denied::Forbidden | Denied::Disabled) => StatusCode::FORBIDDEN,
            Self::Denied(Denied::UnknownProject | Denied::UnknownSource) | Self::NoRoute => {
                StatusCode::NOT_FOUND
            }
            Self::Denied(Denied::Limited { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType(_)
            | Self::CloudEventFormat
            | Self::CloudEventBatch
            | Self::SingleCloudEvent
            | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) | Self::ItemTooLarge(_) | Self::TooMany(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotText(_)
            | Self::IdempotencyKey(_)
            | Self::Unbelieved(_)
            | Self::NoChallenge
            | Self::Empty
            | Self::NoBatch
            | Self::NoArray
            | Self::Malformed { .. }
            | Self::Broken => StatusCode::BAD_REQUEST,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Denied(Denied::Unavailable)
            | Self::Full
            | Self::Stopping
            | Self::NotStored(_)
            | Self::Unknown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds after which repeating makes sense; `None` when repeating the same request does not help.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        if let Self::Denied(Denied::Limited { retry_after, .. }) = self {
            return Some((*retry_after).max(1));
        }
        if self.status() != StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        let after = match self {
            Self::NotStored(Some(after)) => after.as_secs() + u64::from(after.subsec_nanos() > 0),
            _ => 1,
        };
        Some(after.max(1))
    }
}

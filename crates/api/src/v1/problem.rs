//! What went wrong, in the contract's envelope: `{"status": false, "message": "…"}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use longshore_core::ports::StoreError;
use serde::Serialize;
use tracing::{error, warn};
use utoipa::ToSchema;

/// An answer that is no success. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// The body of every answer that is no success.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// Always `false`.
    pub(crate) status: bool,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Problem {
    /// Any status with a sentence.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// `400`: a field of the request is wrong.
    pub(crate) fn invalid(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("`{field}`: {problem}"))
    }

    /// `404`: there is no such thing in the project.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    /// `401`: no key, or one that does not exist or has expired.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authorization failed")
    }

    /// `403`: the key is known and has no right to that.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// `503`: it took longer than a request may.
    pub(crate) fn late() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "this took too long and was given up; ask for less, or try again",
        )
    }

    /// `409`: it clashes with what is there.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// `501`: the operation is known, and what it needs is not part of this version.
    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("{what} are not part of this version of Longshore"))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Rejected(problem) => Self::new(StatusCode::BAD_REQUEST, problem),
            StoreError::Unavailable(problem) => {
                warn!("a request could not be answered: {problem}");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the database is away; send the request again")
            }
            StoreError::Misconfigured(problem) => {
                error!("a request could not be answered: {problem}");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "something is wrong with this installation; its log says what",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ErrorBody { status: false, message: self.message };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

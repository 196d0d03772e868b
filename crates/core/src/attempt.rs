//! One HTTP request of a delivery, and what came of it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::event::Headers;
use crate::ids::AttemptId;

/// What came of an attempt. A receiver's failure is data, never an `Err`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The endpoint answered with this status within the deadline.
    Response {
        /// HTTP status code.
        status: u16,
        /// The `Retry-After` header as a delay from now, if there was a valid one.
        retry_after: Option<Duration>,
    },
    /// No complete answer within the endpoint's deadline.
    Timeout,
    /// The name did not resolve.
    Dns,
    /// The connection was refused, reset or closed.
    Connect,
    /// The TLS handshake failed, e.g. on the certificate.
    Tls,
    /// The target's address is not one we send to.
    Blocked,
    /// The answer was not HTTP.
    Protocol,
    /// There was no token to authenticate with; nothing was sent.
    Authentication,
    /// The event cannot be written in the form that the endpoint asks for; nothing was sent.
    Unsendable,
}

impl AttemptOutcome {
    /// Whether the event arrived: any 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Response { status: 200..=299, .. })
    }

    /// The HTTP status, if there was an answer.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Response { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The class stored with the attempt and used as a metric label.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Response { status: 200..=299, .. } => "success",
            Self::Response { status: 300..=399, .. } => "redirect",
            Self::Response { status: 400..=499, .. } => "client_error",
            Self::Response { status: 500..=599, .. } => "server_error",
            Self::Response { .. } => "odd_status",
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Blocked => "blocked",
            Self::Protocol => "protocol",
            Self::Authentication => "auth",
            Self::Unsendable => "unsendable",
        }
    }
}

/// An attempt on record: request, response (capped), timing and outcome.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// 1 for the first.
    pub number: u16,
    /// The URL that was called.
    pub url: String,
    /// When the request was started.
    pub started_at: Timestamp,
    /// From the start to the end of the response body, or to the failure.
    pub duration: Duration,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// A sentence for people where there is no response, or one that needs a word; empty otherwise.
    pub error: String,
    /// Headers sent, credentials redacted.
    pub request_headers: Headers,
    /// Headers received.
    pub response_headers: Headers,
    /// The first bytes of the response body, at most the response cap.
    pub response_body: Bytes,
    /// Who answered: the receiver, or the proxy in between.
    pub remote: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn answer(status: u16) -> AttemptOutcome {
        AttemptOutcome::Response { status, retry_after: None }
    }

    #[test]
    fn any_2xx_is_a_success_and_nothing_else() {
        for (status, class) in [
            (199, "odd_status"),
            (200, "success"),
            (299, "success"),
            (300, "redirect"),
            (399, "redirect"),
            (400, "client_error"),
            (499, "client_error"),
            (500, "server_error"),
            (599, "server_error"),
            (600, "odd_status"),
        ] {
            assert_eq!(answer(status).class(), class, "{status}");
            assert_eq!(answer(status).is_success(), class == "success", "{status}");
            assert_eq!(answer(status).status(), Some(status));
        }
        for outcome in [
            AttemptOutcome::Timeout,
            AttemptOutcome::Dns,
            AttemptOutcome::Blocked,
            AttemptOutcome::Authentication,
            AttemptOutcome::Unsendable,
        ] {
            assert!(!outcome.is_success());
            assert_eq!(outcome.status(), None);
        }
    }
}

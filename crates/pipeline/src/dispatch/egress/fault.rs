//! Why a connection did not come about, or an exchange broke off: which class it is, and a sentence for people.
//!
//! Invariant: no sentence holds a URL's path or query, a credential or a control character.

use std::error::Error;
use std::time::Duration;

use longshore_core::AttemptOutcome;

use super::guard::Denial;
use super::resolver::Unresolved;

/// Longest sentence kept.
const LONGEST: usize = 300;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Blocked(#[from] Denial),
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    #[error("no connection: {0}")]
    Tcp(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("the proxy: {0}")]
    Proxy(String),
    #[error("no connection within {} ms", .0.as_millis())]
    Slow(Duration),
}

/// A class and a sentence.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct Fault {
    pub(in crate::dispatch) outcome: AttemptOutcome,
    pub(in crate::dispatch) text: String,
}

impl Fault {
    pub(in crate::dispatch) fn new(outcome: AttemptOutcome, text: &str) -> Self {
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
        Self { outcome, text }
    }
}

impl ConnectError {
    const fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Blocked(_) => AttemptOutcome::Blocked,
            Self::Unresolved(_) => AttemptOutcome::Dns,
            Self::Tls(_) => AttemptOutcome::Tls,
            Self::Tcp(_) | Self::Proxy(_) | Self::Slow(_) => AttemptOutcome::Connect,
        }
    }

    /// Sorts out what an IO error during a handshake was.
    pub(super) fn handshake(error: &std::io::Error) -> Self {
        match tls_error(error) {
            Some(tls) => Self::Tls(tls.to_string()),
            None => Self::Tls(format!("the handshake broke off: {error}")),
        }
    }
}

/// rustls' errors travel inside IO errors, which may be inside each other.
fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner
        .downcast_ref::<rustls::Error>()
        .or_else(|| inner.downcast_ref::<std::io::Error>().and_then(tls_error))
}

/// Every cause, the outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |at: &&'a (dyn Error + 'static)| (*at).source())
}

/// What an error of the connection's inside was: ours is found again, whatever the client wrapped around it.
pub(super) fn reached(error: &(dyn Error + 'static)) -> ConnectError {
    match causes(error).find_map(|cause| cause.downcast_ref::<ConnectError>()) {
        Some(ours) => ours.clone(),
        None => ConnectError::Tcp(chain(error)),
    }
}

/// Classifies an error of the client's.
pub(super) fn classify(error: &(dyn Error + 'static)) -> Fault {
    for cause in causes(error) {
        if let Some(ours) = cause.downcast_ref::<ConnectError>() {
            return Fault::new(ours.outcome(), &ours.to_string());
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            // A server may refuse our certificate only after its handshake has ended.
            if let Some(tls) = tls_error(io) {
                return Fault::new(AttemptOutcome::Tls, &format!("TLS: {tls}"));
            }
            return Fault::new(AttemptOutcome::Connect, &format!("the connection broke off: {io}"));
        }
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            if let Some(io) = h2.get_io() {
                return Fault::new(AttemptOutcome::Connect, &format!("the connection broke off: {io}"));
            }
            let is_farewell = h2.is_go_away() && h2.is_remote();
            let outcome = if is_farewell { AttemptOutcome::Connect } else { AttemptOutcome::Protocol };
            return Fault::new(outcome, &format!("HTTP/2: {h2}"));
        }
    }
    let hyper = causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
    let is_closed = hyper.is_some_and(|hyper| {
        hyper.is_incomplete_message()
            || hyper.is_closed()
            || hyper.is_canceled()
            || hyper.is_body_write_aborted()
    });
    let outcome = if is_closed { AttemptOutcome::Connect } else { AttemptOutcome::Protocol };
    Fault::new(outcome, &error.source().map_or_else(|| error.to_string(), chain))
}

/// Whether the peer says that it has not processed the request, so that it may go out again (RFC 9113 section 8.7).
pub(super) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>()).is_some_and(|h2| {
        let reason = h2.reason();
        h2.is_remote()
            && (h2.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
                || h2.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// The causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = text + separator + &said;
        }
    }
    text
}

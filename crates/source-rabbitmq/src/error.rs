//! What went wrong, by what can be done about it. The only place that reads the client's errors.

use lapin::ErrorKind;
pub use longshore_source::ConfigError;
use longshore_source::SourceError;

// Reply codes of AMQP 0-9-1, section 1.2 "constants", as RabbitMQ uses them.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// Sorts a client error; `doing` is what was tried, e.g. "connecting to `host:port`".
pub(crate) fn explain(error: &lapin::Error, doing: &str) -> SourceError {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => {
            // The broker's text names queues, users and vhosts, never passwords or payloads.
            let text = format!("{doing}: {}", refusal.get_message());
            match refusal.get_id() {
                ACCESS_REFUSED => SourceError::Denied(text),
                NOT_ALLOWED if text.contains("refused") => SourceError::Denied(text),
                NOT_FOUND | PRECONDITION_FAILED | NOT_ALLOWED => SourceError::Misconfigured(text),
                _ => SourceError::Disconnected(text),
            }
        }
        ErrorKind::AuthProviderError(_) => SourceError::Denied(format!("{doing}: {error}")),
        // What rustls makes of a certificate that it cannot accept, and what a bad PEM file gives.
        ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            SourceError::Misconfigured(format!("{doing}: TLS: {io}"))
        }
        _ => SourceError::Disconnected(format!("{doing}: {error}")),
    }
}

//! Why a source ended, by what can be done about it.

/// Why a source ended. Messages are lower-case and hold neither payload nor credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The connection is gone; a new one may work at once.
    #[error("disconnected: {0}")]
    Disconnected(String),
    /// The broker refuses the credentials or the rights.
    #[error("denied: {0}")]
    Denied(String),
    /// The configuration cannot work: no such queue, bad option.
    #[error("misconfigured: {0}")]
    Misconfigured(String),
    /// The source was closed.
    #[error("closed")]
    Closed,
}

impl SourceError {
    /// Whether a new connection may work without anybody changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}

/// A setting that cannot work, found without asking the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct ConfigError {
    /// The setting's name as it stands in the configuration, e.g. `auth.username`.
    pub field: &'static str,
    /// What is wrong and what to do; holds no secret.
    pub problem: String,
}

impl ConfigError {
    /// A fault of `field`; `problem` goes on after its name, e.g. "is empty; name the queue to consume".
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl From<ConfigError> for SourceError {
    fn from(error: ConfigError) -> Self {
        Self::Misconfigured(error.to_string())
    }
}

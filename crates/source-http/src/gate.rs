//! Who may send. The binary answers from a cached snapshot; nothing here knows keys or projects.

/// Decides whether a request may send events to a project, before its body is read.
///
/// Called on the runtime for each request: it must answer from memory.
pub trait Gate: Send + Sync {
    /// `project` is the path's text, `bearer` the token of `Authorization: Bearer …` if there is one.
    ///
    /// # Errors
    /// [`Denied`] says which answer the producer gets.
    fn admit(&self, project: &str, bearer: Option<&str>) -> Result<Admission, Denied>;

    /// Counts events of a batch beyond the one that was admitted.
    fn spend(&self, admission: &Admission, events: usize) {
        let _ = (admission, events);
    }
}

/// A request that may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The tenant, as the 128 bits of its id.
    pub project: u128,
    /// Largest body of one event.
    pub max_body_bytes: usize,
    /// How the project stands with its limit, if it has one.
    pub rate: Option<Rate>,
}

/// How a project stands with its limit of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events in the limit's time.
    pub limit: u32,
    /// What is left of it.
    pub remaining: u32,
    /// Seconds until all of it is there again.
    pub reset_seconds: u64,
}

/// Why a request may not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No key, or one that does not exist or has expired: `401`.
    #[error("authorization failed")]
    Unauthenticated,
    /// The key exists and has no right to this project's events: `403`.
    #[error("this API key may not send events to this project")]
    Forbidden,
    /// There is no such project: `404`.
    #[error("project not found")]
    UnknownProject,
    /// No source receives at this URL: `404`.
    #[error("source not found")]
    UnknownSource,
    /// The source is switched off: `403`.
    #[error("this source is switched off")]
    Disabled,
    /// The project has sent its limit of events: `429`.
    #[error("exceeded rate limit")]
    Limited {
        /// How it stands.
        rate: Rate,
        /// Seconds after which there is room again.
        retry_after: u64,
    },
    /// Nobody can tell yet: `503`.
    #[error("API keys cannot be checked right now: send the request again")]
    Unavailable,
}

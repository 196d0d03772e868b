//! What went wrong, by what can be done about it. The only place that reads the service's errors.

use std::error::Error as _;

pub use longshore_source::ConfigError;
use longshore_source::SourceError;
use prost::Message as _;
use tonic::{Code, Status};

use crate::wire::{ErrorInfo, RpcStatus};

/// Sorts a failed call; `doing` is what was tried, e.g. "reading `projects/…`".
pub(crate) fn explain(status: &Status, doing: &str) -> SourceError {
    let said = said(status);
    match status.code() {
        Code::NotFound => SourceError::Misconfigured(format!(
            "{doing}: there is no such subscription; create it, or correct `project_id` and `subscription_id` ({said})"
        )),
        Code::PermissionDenied => SourceError::Denied(format!(
            "{doing}: not permitted; grant the role Pub/Sub Subscriber on the subscription ({said})"
        )),
        Code::Unauthenticated => {
            SourceError::Denied(format!("{doing}: the credentials are refused ({said})"))
        }
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            SourceError::Misconfigured(format!("{doing}: {said}"))
        }
        _ => SourceError::Disconnected(format!("{doing}: {said}")),
    }
}

/// Whether the same call may work a moment later without anybody changing anything.
pub(crate) fn is_transient(status: &Status) -> bool {
    explain(status, "").is_transient()
}

/// The service's own words, which name resources and never hold payloads; for a lost connection, the reasons below.
fn said(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let reason = error.to_string();
        if !reason.is_empty() && !text.contains(&reason) {
            text = if text.is_empty() { reason } else { format!("{text}: {reason}") };
        }
        source = error.source();
    }
    if text.is_empty() { status.code().description().to_owned() } else { text }
}

/// What became of one acknowledgement id of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The call worked for it.
    Done,
    /// It may work later.
    Again,
    /// It can never work: the lease is over, or the subscription is gone.
    Lost,
}

/// Says of each id what became of it. Exactly-once subscriptions name the ids that failed in the error's details; what
/// they do not name worked (<https://cloud.google.com/pubsub/docs/exactly-once-delivery>).
pub(crate) fn fates<'a>(status: &Status, ids: impl Iterator<Item = &'a str>) -> Vec<Fate> {
    let details = RpcStatus::decode(status.details()).unwrap_or_default().details;
    let infos = details.iter().filter(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"));
    let mut named = std::collections::HashMap::new();
    for info in infos.filter_map(|info| ErrorInfo::decode(info.value.as_slice()).ok()) {
        named.extend(info.metadata.into_iter().filter(|(_, outcome)| {
            outcome.starts_with("PERMANENT_FAILURE_") || outcome.starts_with("TRANSIENT_FAILURE_")
        }));
    }
    let all = if is_transient(status) { Fate::Again } else { Fate::Lost };
    ids.map(|id| match named.get(id) {
        _ if named.is_empty() => all,
        None => Fate::Done,
        Some(outcome) if outcome.starts_with("TRANSIENT") => Fate::Again,
        Some(_) => Fate::Lost,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Detail;

    fn with_details(outcomes: &[(&str, &str)]) -> Status {
        let metadata =
            outcomes.iter().map(|(id, outcome)| ((*id).to_owned(), (*outcome).to_owned())).collect();
        let value = ErrorInfo { metadata }.encode_to_vec();
        let type_url = "type.googleapis.com/google.rpc.ErrorInfo".to_owned();
        let details = RpcStatus { details: vec![Detail { type_url, value }] }.encode_to_vec();
        Status::with_details(Code::FailedPrecondition, "some failed", details.into())
    }

    #[test]
    fn each_id_has_its_own_outcome() {
        let status =
            with_details(&[("a", "PERMANENT_FAILURE_INVALID_ACK_ID"), ("b", "TRANSIENT_FAILURE_INTERNAL")]);

        assert_eq!(fates(&status, ["a", "b", "c"].into_iter()), [Fate::Lost, Fate::Again, Fate::Done]);
    }

    #[test]
    fn without_details_the_code_speaks_for_all() {
        let ids = || ["a", "b"].into_iter();
        assert_eq!(fates(&Status::unavailable("away"), ids()), [Fate::Again; 2]);
        assert_eq!(fates(&Status::not_found("gone"), ids()), [Fate::Lost; 2]);
    }
}

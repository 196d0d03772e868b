//! What went wrong, by what can be done about it. The only place that reads the client's errors.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
pub use longshore_source::ConfigError;
use longshore_source::SourceError;

/// Sorts a client error; `doing` is what was tried, e.g. "receiving from `orders`".
pub(crate) fn explain<E>(error: &SdkError<E>, doing: &str) -> SourceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(refusal) => sort(refusal.err().code(), refusal.err().message(), doing),
        SdkError::TimeoutError(_) => SourceError::Disconnected(format!("{doing}: no answer in time")),
        // What could not even be sent for want of credentials is neither an IO error nor a timeout.
        SdkError::DispatchFailure(failure)
            if !failure.is_io() && !failure.is_timeout() && chain(error).contains("credentials") =>
        {
            SourceError::Denied(format!("{doing}: no credentials: {}", root(error)))
        }
        SdkError::DispatchFailure(_) => SourceError::Disconnected(format!("{doing}: {}", root(error))),
        SdkError::ConstructionFailure(_) => SourceError::Misconfigured(format!("{doing}: {}", root(error))),
        _ => SourceError::Disconnected(format!("{doing}: the answer is not one of SQS")),
    }
}

/// By the codes of the SQS API reference, "common errors" and the operations' own. A code may carry a prefix of the
/// older protocol.
fn sort(code: Option<&str>, message: Option<&str>, doing: &str) -> SourceError {
    let code = code.unwrap_or("unknown error");
    let short = code.rsplit(['.', '#']).next().unwrap_or(code);
    // The service's texts name queues, actions, roles and keys by their public ids, never secrets or bodies.
    let text = match message {
        Some(message) if !message.is_empty() => format!("{doing}: {message} ({code})"),
        _ => format!("{doing}: {code}"),
    };
    match short {
        "QueueDoesNotExist" | "NonExistentQueue" => SourceError::Misconfigured(format!(
            "{doing}: there is no such queue; check its name, the region and the account that owns it"
        )),
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidSecurity"
        | "KmsAccessDenied"
        | "KmsDisabled"
        | "KmsInvalidKeyUsage"
        | "KmsInvalidState"
        | "KmsNotFound"
        | "KmsOptInRequired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "IncompleteSignature"
        | "NotAuthorized"
        | "OptInRequired"
        | "ExpiredToken"
        | "ExpiredTokenException" => SourceError::Denied(text),
        "InvalidAddress"
        | "InvalidAttributeValue"
        | "InvalidAttributeName"
        | "InvalidParameterValue"
        | "MissingParameter"
        | "UnsupportedOperation"
        | "ValidationError"
        | "ValidationException"
        | "InvalidAction" => SourceError::Misconfigured(text),
        _ => SourceError::Disconnected(text),
    }
}

fn causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> impl Iterator<Item = String> + 'a {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).collect::<Vec<_>>().join(": ")
}

fn root(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_can_be_done() {
        let sorted = |code| sort(Some(code), None, "receiving");
        for code in ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"] {
            assert!(
                matches!(sorted(code), SourceError::Misconfigured(text) if text.contains("no such queue"))
            );
        }
        for code in ["KMS.KmsAccessDenied", "KmsDisabled", "AccessDeniedException", "ExpiredToken"] {
            assert!(matches!(sorted(code), SourceError::Denied(_)), "{code}");
        }
        for code in ["OverLimit", "RequestThrottled", "KmsThrottled", "ThrottlingException", "InternalError"]
        {
            assert!(sorted(code).is_transient(), "{code}");
        }
    }
}

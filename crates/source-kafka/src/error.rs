//! What went wrong, by what can be done about it. The only place that sorts the client's errors.

pub use longshore_source::ConfigError;
use longshore_source::SourceError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Sorts a client error; `doing` is what was tried, e.g. "joining group `orders`". `reason` is librdkafka's own
/// sentence, which names brokers, topics, groups and users, never passwords or payloads.
pub(crate) fn explain(error: &KafkaError, doing: &str, reason: &str) -> SourceError {
    let reason = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
    let text = format!("{doing}: {reason}");
    match error.rdkafka_error_code() {
        // TLS 1.3 tells a client that its certificate is missing or unknown only after the handshake.
        Some(Code::SSL | Code::BrokerTransportFailure) if is_refused_certificate(&text) => {
            SourceError::Denied(format!("{text} (our certificate: `tls.cert_file`?)"))
        }
        Some(
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed,
        ) => SourceError::Denied(text),
        Some(Code::UnsupportedSASLMechanism) => SourceError::Misconfigured(text),
        Some(Code::SSL) => SourceError::Misconfigured(format!("{text} (`tls.ca_file`?)")),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic) => {
            SourceError::Misconfigured(format!("{text}: create the topic, or name another"))
        }
        Some(Code::InvalidGroupId | Code::InconsistentGroupProtocol | Code::UnsupportedVersion) => {
            SourceError::Misconfigured(format!(
                "{text}: other members of the group may use another `assignment` or `group_protocol`"
            ))
        }
        Some(Code::FencedInstanceId | Code::UnreleasedInstanceId) => SourceError::Misconfigured(format!(
            "{text}: another consumer has the same `group_instance_id` on a host of the same name"
        )),
        Some(Code::AutoOffsetReset) => SourceError::Misconfigured(format!(
            "{text}: the group's position does not exist and `offset_reset` is `error`; set it to `earliest` or \
             `latest`, or set the group's offsets with Kafka's own tools"
        )),
        _ => match error {
            KafkaError::ClientConfig(_, problem, key, _) => {
                SourceError::Misconfigured(format!("`{key}`: {problem}"))
            }
            KafkaError::ClientCreation(problem) => SourceError::Misconfigured(format!("{doing}: {problem}")),
            _ => SourceError::Disconnected(text),
        },
    }
}

/// In OpenSSL's words for the alerts of RFC 8446, section 6.2.
fn is_refused_certificate(text: &str) -> bool {
    ["alert bad certificate", "alert certificate", "alert unknown ca", "certificate required"]
        .iter()
        .any(|words| text.contains(words))
}

/// Whether a commit that failed is simply to be made again: the group is moving, or its coordinator is.
pub(crate) fn is_commit_to_repeat(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::IllegalGeneration
                | Code::RebalanceInProgress
                | Code::UnknownMemberId
                | Code::StaleMemberEpoch
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::RequestTimedOut
                | Code::WaitingForCoordinator
                | Code::OperationTimedOut
                | Code::BrokerTransportFailure
        )
    )
}

//! Looks a source over without starting it: can it connect, and what about it should be changed.

use lapin::types::ShortString;
use longshore_source::SourceError;
use tokio::time::timeout;

use crate::address::{addresses, shown};
use crate::config::{QueueType, RabbitMqConfig};
use crate::connection::{OPEN_TIMEOUT, find_queue};
use crate::transport::dial;

/// Connects to the first node that answers and looks the queue up, without consuming or changing anything.
pub(crate) async fn check(config: &RabbitMqConfig) -> Result<Vec<String>, SourceError> {
    config.validate()?;
    let mut outcome = Ok(Vec::new());
    for node in addresses(config)? {
        let place = shown(&node);
        let looking = async {
            let connection = dial(config, None, node).await?;
            let found = find_queue(config, &connection).await;
            let _ = connection.close(200, ShortString::from("checked")).await;
            let mut warnings = warnings(config, None);
            match found {
                Err(SourceError::Misconfigured(_)) if config.declare.is_some() => {
                    warnings
                        .push(format!("queue `{}` does not exist yet; it will be declared", config.queue));
                }
                found => found?,
            }
            Ok(warnings)
        };
        outcome = timeout(OPEN_TIMEOUT, looking)
            .await
            .unwrap_or_else(|_| Err(SourceError::Disconnected(format!("no answer from `{place}` in time"))));
        if !outcome.as_ref().is_err_and(SourceError::is_transient) {
            break;
        }
    }
    outcome
}

/// What the settings say about a source that works but may surprise. A queue that is only looked up shows neither its
/// kind nor its arguments in AMQP 0-9-1, so nothing is said about it. `stored_end` is where a stream goes on, if it does.
pub(crate) fn warnings(config: &RabbitMqConfig, stored_end: Option<u64>) -> Vec<String> {
    let mut warnings = Vec::new();
    let kind = config.declare.as_ref().and_then(|declare| declare.kind);
    let has = |argument: &str| {
        config.declare.as_ref().is_some_and(|declare| declare.arguments.contains_key(argument))
    };
    let dead_letters = config.dead_letter_exchange.as_ref().is_some_and(|exchange| !exchange.is_empty())
        || has("x-dead-letter-exchange");
    if kind == Some(QueueType::Quorum) && !dead_letters {
        warnings.push(
            "the quorum queue is declared without a dead-letter exchange: what exceeds its delivery limit is dropped; \
             set `deadLetterExchange`"
                .to_owned(),
        );
    }
    let says_where = stored_end.is_some() || config.consumer_arguments.contains_key("x-stream-offset");
    if kind == Some(QueueType::Stream) && !says_where {
        warnings.push(
            "the stream is read from its end on: what was published before the first start is skipped; set \
             `consumer_arguments.x-stream-offset` to `first`"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Argument, Declare};

    fn declared(kind: QueueType) -> RabbitMqConfig {
        RabbitMqConfig {
            declare: Some(Declare { kind: Some(kind), ..Declare::default() }),
            ..RabbitMqConfig::default()
        }
    }

    #[test]
    fn only_what_is_known_is_warned_of() {
        assert_eq!(warnings(&RabbitMqConfig::default(), None), [""; 0]);
        assert_eq!(warnings(&declared(QueueType::Classic), None), [""; 0]);
        assert!(warnings(&declared(QueueType::Quorum), None)[0].contains("`deadLetterExchange`"));
        let dead_letter_exchange = Some("dead".to_owned());
        let quorum = RabbitMqConfig { dead_letter_exchange, ..declared(QueueType::Quorum) };
        assert_eq!(warnings(&quorum, None), [""; 0]);

        assert!(warnings(&declared(QueueType::Stream), None)[0].contains("x-stream-offset"));
        assert_eq!(warnings(&declared(QueueType::Stream), Some(7)), [""; 0]);
        let offset = BTreeMap::from([("x-stream-offset".to_owned(), Argument::Text("first".to_owned()))]);
        let stream = RabbitMqConfig { consumer_arguments: offset, ..declared(QueueType::Stream) };
        assert_eq!(warnings(&stream, None), [""; 0]);
    }
}

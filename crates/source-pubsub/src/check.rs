//! Looks the subscription up: whether it can be consumed, and what of it should be changed.

use std::time::Duration;

use futures_util::stream::{once, pending};
use futures_util::{FutureExt as _, StreamExt as _};
use longshore_source::SourceError;
use tokio::time::timeout;
use tonic::Code;

use crate::api::Api;
use crate::config::PubSubConfig;
use crate::error::explain;
use crate::wire::{StreamingPullRequest, Subscription};

/// How long the service may take to refuse a stream.
const PROBE: Duration = Duration::from_secs(3);
/// The least lease that Google's own clients ask for on exactly-once subscriptions.
const EXACTLY_ONCE_LEASE: u16 = 60;

/// What is known of a subscription that can be consumed.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) warnings: Vec<String>,
    pub(crate) ordered: bool,
    pub(crate) counts_deliveries: bool,
}

/// Looks the subscription up, and changes nothing.
pub(crate) async fn look(api: &Api, config: &PubSubConfig) -> Result<Found, SourceError> {
    let name = api.subscription();
    match api.get_subscription().await {
        Ok(subscription) => {
            if let Some(problem) = problem(&subscription) {
                return Err(SourceError::Misconfigured(format!("`{name}` {problem}")));
            }
            Ok(Found {
                warnings: warnings(&subscription, config, api.place.is_global()),
                ordered: subscription.enable_message_ordering,
                counts_deliveries: subscription.dead_letter_policy.is_some(),
            })
        }
        // Whoever may consume a subscription may not always look at it.
        Err(status) if status.code() == Code::PermissionDenied => {
            probe(api, config).await?;
            let warning = "its settings cannot be checked; grant the role Pub/Sub Viewer as well".to_owned();
            Ok(Found { warnings: vec![warning], ..Found::default() })
        }
        Err(status) => Err(explain(&status, &format!("looking up `{name}`"))),
    }
}

/// Opens a stream that asks for as little as possible, to see whether it is refused.
async fn probe(api: &Api, config: &PubSubConfig) -> Result<(), SourceError> {
    let opening = StreamingPullRequest {
        subscription: api.subscription().to_owned(),
        stream_ack_deadline_seconds: config.ack_deadline.into(),
        client_id: "probe".to_owned(),
        max_outstanding_messages: 1,
        max_outstanding_bytes: 1,
        protocol_version: 1,
    };
    let requests = once(std::future::ready(opening)).chain(pending());
    let opened = async {
        let mut stream = api.streaming_pull(requests).await?;
        // What came with it goes back at once.
        let first = stream.message().now_or_never().and_then(Result::ok).flatten();
        let ids =
            first.map(|first| first.received_messages.into_iter().map(|message| message.ack_id).collect());
        if let Some(ids) = ids.filter(|ids: &Vec<_>| !ids.is_empty()) {
            api.modify_ack_deadline(ids, 0).await?;
        }
        Ok(())
    };
    match timeout(PROBE, opened).await {
        Ok(Err(status)) => {
            let status: tonic::Status = status;
            Err(explain(&status, &format!("consuming `{}`", api.subscription())))
        }
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Why the subscription cannot be consumed at all.
fn problem(subscription: &Subscription) -> Option<&'static str> {
    let names =
        |named: &Option<crate::wire::Named>| named.as_ref().is_some_and(|named| !named.name.is_empty());
    if subscription.detached {
        Some("is detached from its topic and gets nothing any more; create it anew")
    } else if names(&subscription.push_config) {
        Some("is a push subscription; create one that is pulled")
    } else if names(&subscription.bigquery_config) || names(&subscription.cloud_storage_config) {
        Some("exports to another service; create one that is pulled")
    } else if subscription.topic == "_deleted-topic_" {
        Some("belongs to a topic that was deleted; create topic and subscription anew")
    } else {
        None
    }
}

fn warnings(subscription: &Subscription, config: &PubSubConfig, is_global: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if subscription.retry_policy.as_ref().is_none_or(|policy| policy.minimum_backoff.is_none()) {
        warnings.push(
            "the subscription has no retry policy: what is given back comes again at once; set a minimum backoff"
                .to_owned(),
        );
    }
    if subscription.dead_letter_policy.is_none() {
        warnings.push(
            "the subscription has no dead-letter topic: deliveries are not counted, and a message that always fails \
             comes again until it is too old"
                .to_owned(),
        );
    }
    let never_expires = subscription.expiration_policy.is_some_and(|policy| policy.ttl.is_none());
    if !never_expires {
        let ttl = subscription.expiration_policy.and_then(|policy| policy.ttl);
        let days = ttl.map_or(31, |ttl| ttl.seconds / (24 * 3600));
        warnings.push(format!(
            "the subscription is deleted when nothing consumes it for {days} days; let it never expire"
        ));
    }
    if subscription.enable_exactly_once_delivery {
        if is_global {
            warnings.push(
                "the subscription delivers exactly once, which holds within one region; set `endpoint` to a regional \
                 one"
                .to_owned(),
            );
        }
        if config.ack_deadline < EXACTLY_ONCE_LEASE {
            warnings.push(format!(
                "the subscription delivers exactly once, and `ack_deadline` is {} s: an acknowledgement that takes \
                 longer is void; use {EXACTLY_ONCE_LEASE} or more",
                config.ack_deadline
            ));
        }
    }
    warnings
}

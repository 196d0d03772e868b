//! Topics and subscriptions on a Pub/Sub server for tests: a topic and a subscription of its own for each, publishing,
//! what is left.
//!
//! It speaks gRPC without TLS and credentials, so it works with Google's emulator too. What a test server keeps is gone
//! when it ends; nothing expires before.

mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::publication::Publication;
use crate::{server_url, unique};

const PROJECT: &str = "longshore-test";
/// The most messages, and about the most bytes, of one publish request (the service takes 1,000 and 10 MB).
const BATCH: (usize, usize) = (1_000, 5_000_000);
/// Calls of [`TestSubscription::drain`] in flight.
const DRAINING: usize = 4;
/// How long a server may take to notice that leases have ended.
const SETTLED: Duration = Duration::from_millis(300);

/// How a subscription is made.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionOptions {
    /// Messages of one key come in order.
    pub ordering: bool,
    /// Acknowledgements have results.
    pub exactly_once: bool,
    /// The subscription's own lease in seconds, 10 to 600; by default 10.
    pub ack_deadline: Option<i32>,
    /// Deliveries are counted, and a message goes to another topic after so many, 5 to 100.
    pub dead_letter: Option<i32>,
    /// Which messages it gets, e.g. `attributes.kind = "order"`.
    pub filter: Option<String>,
    /// What is given back stays away for this long.
    pub retry_after: Option<Duration>,
    /// Labels; some ask our own test server for faults, see `scripts/lib/pubsub/main.go`.
    pub labels: HashMap<String, String>,
    /// It is not pulled but pushed to this address.
    pub push_to: Option<String>,
    /// It is never deleted for lack of a consumer.
    pub never_expires: bool,
}

/// A connection to the server under test.
#[derive(Clone, Debug)]
pub struct PubSub {
    endpoint: String,
    channel: Channel,
}

impl PubSub {
    /// Connects to the server that `LONGSHORE_TEST_PUBSUB_ENDPOINT` names.
    ///
    /// # Panics
    /// When the variable is not set.
    pub async fn connect() -> Self {
        Self::connect_to(&server_url("LONGSHORE_TEST_PUBSUB_ENDPOINT")).await
    }

    /// Connects to a server, given as `host:port`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn connect_to(endpoint: &str) -> Self {
        let dialled = match Endpoint::from_shared(format!("http://{endpoint}")) {
            Ok(dialling) => dialling.connect().await,
            Err(error) => Err(error),
        };
        let channel =
            dialled.unwrap_or_else(|error| panic!("Pub/Sub at `{endpoint}` does not answer: {error}"));
        Self { endpoint: endpoint.to_owned(), channel }
    }

    /// `host:port` of the server.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a topic and a subscription with names of their own.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn subscription(&self) -> TestSubscription {
        self.subscription_with(SubscriptionOptions::default()).await
    }

    /// Makes a topic and a subscription with names of their own.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn subscription_with(&self, options: SubscriptionOptions) -> TestSubscription {
        let id = unique::name("pubsub");
        let topic = format!("projects/{PROJECT}/topics/{id}");
        self.create_topic(&topic).await;
        if options.dead_letter.is_some() {
            self.create_topic(&format!("{topic}_dead")).await;
        }
        let subscription = TestSubscription { server: self.clone(), id, topic, options };
        subscription.create().await;
        subscription
    }

    async fn create_topic(&self, name: &str) {
        let topic = wire::Topic { name: name.to_owned() };
        let made = self.call::<_, wire::Topic>("/google.pubsub.v1.Publisher/CreateTopic", topic).await;
        made.unwrap_or_else(|status| panic!("Pub/Sub refuses topic `{name}`: {status}"));
    }

    async fn call<Q, A>(&self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let codec = ProstCodec::<Q, A>::default();
        grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec)
            .await
            .map(tonic::Response::into_inner)
    }
}

/// A topic and its subscription. Lives until [`Self::delete`] or the end of the server.
#[derive(Clone, Debug)]
pub struct TestSubscription {
    server: PubSub,
    id: String,
    topic: String,
    options: SubscriptionOptions,
}

impl TestSubscription {
    /// The subscription's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The server, `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.server.endpoint
    }

    /// The `pubsub` table of a source that consumes it, as JSON.
    #[must_use]
    pub fn settings(&self) -> Value {
        self.settings_at(&self.server.endpoint)
    }

    /// As [`Self::settings`], by way of a proxy at `host:port`.
    #[must_use]
    pub fn settings_at(&self, endpoint: &str) -> Value {
        json!({
            "project_id": PROJECT,
            "subscription_id": self.id,
            "endpoint": format!("http://{endpoint}"),
        })
    }

    /// Publishes in the order given and returns the server's ids.
    ///
    /// # Panics
    /// When the server is away or refuses a message.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Publication>) -> Vec<String> {
        let mut ids = Vec::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for message in messages {
            let message = pubsub_message(message);
            bytes += message.encoded_len();
            batch.push(message);
            if batch.len() == BATCH.0 || bytes >= BATCH.1 {
                ids.extend(self.publish_batch(std::mem::take(&mut batch)).await);
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            ids.extend(self.publish_batch(batch).await);
        }
        ids
    }

    /// How many messages the server has for a new consumer once nobody consumes the subscription: takes them all, and gives
    /// them back. Messages that are leased to somebody are not seen; each that is counts as delivered once more.
    ///
    /// # Panics
    /// When the server is away or the subscription gone.
    pub async fn left(&self) -> u64 {
        let subscription = self.name();
        let mut ids = Vec::new();
        let mut empty = 0;
        while empty < 2 {
            let pulled = self.pull().await;
            if pulled.is_empty() {
                empty += 1;
                tokio::time::sleep(SETTLED).await;
            }
            ids.extend(pulled);
        }
        for chunk in ids.chunks(1_000) {
            let give_back = wire::ModifyAckDeadlineRequest {
                subscription: subscription.clone(),
                ack_deadline_seconds: 0,
                ack_ids: chunk.to_vec(),
            };
            let path = "/google.pubsub.v1.Subscriber/ModifyAckDeadline";
            let given = self.server.call::<_, wire::Empty>(path, give_back).await;
            given.unwrap_or_else(|status| panic!("`{subscription}`: {status}"));
        }
        ids.len() as u64
    }

    /// Takes and acknowledges that many messages and returns how long it took: what the server allows at most.
    ///
    /// # Panics
    /// When the server is away or the subscription gone.
    pub async fn drain(&self, count: u64) -> Duration {
        let (started, left) = (Instant::now(), Arc::new(AtomicU64::new(count)));
        let mut pullers = JoinSet::new();
        for _ in 0..DRAINING {
            let (subscription, left) = (self.clone(), Arc::clone(&left));
            pullers.spawn(async move {
                while left.load(Ordering::Relaxed) > 0 {
                    let ids = subscription.pull().await;
                    let taken = ids.len() as u64;
                    if taken > 0 {
                        let request =
                            wire::AcknowledgeRequest { subscription: subscription.name(), ack_ids: ids };
                        subscription.admin("/google.pubsub.v1.Subscriber/Acknowledge", request).await;
                    }
                    let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        Some(left.saturating_sub(taken))
                    });
                }
            });
        }
        while let Some(joined) = pullers.join_next().await {
            joined.expect("a puller says by itself what is wrong");
        }
        started.elapsed()
    }

    /// Deletes the subscription, and keeps the topic. What is published until [`Self::create`] is lost.
    ///
    /// # Panics
    /// When the server is away or the subscription gone.
    pub async fn delete(&self) {
        let name = wire::Name { name: self.name() };
        self.admin("/google.pubsub.v1.Subscriber/DeleteSubscription", name).await;
    }

    /// Makes the subscription again after [`Self::delete`].
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn create(&self) {
        let options = &self.options;
        let named = |name: String| wire::Name { name };
        let subscription = wire::Subscription {
            name: self.name(),
            topic: self.topic.clone(),
            push_config: options.push_to.clone().map(named),
            ack_deadline_seconds: options.ack_deadline.unwrap_or(10),
            labels: options.labels.clone(),
            enable_message_ordering: options.ordering,
            expiration_policy: options.never_expires.then_some(wire::Empty {}),
            filter: options.filter.clone().unwrap_or_default(),
            dead_letter_policy: options.dead_letter.map(|max_delivery_attempts| wire::DeadLetterPolicy {
                dead_letter_topic: format!("{}_dead", self.topic),
                max_delivery_attempts,
            }),
            retry_policy: options.retry_after.map(|after| wire::RetryPolicy {
                minimum_backoff: Some(wire::Duration { seconds: after.as_secs() as i64 }),
            }),
            enable_exactly_once_delivery: options.exactly_once,
        };
        self.admin("/google.pubsub.v1.Subscriber/CreateSubscription", subscription).await;
    }

    /// Detaches the subscription from its topic: it gets nothing any more.
    ///
    /// # Panics
    /// When the server is away or the subscription gone.
    pub async fn detach(&self) {
        let name = wire::Name { name: self.name() };
        self.admin("/google.pubsub.v1.Publisher/DetachSubscription", name).await;
    }

    /// Takes what is there; gives the ids to acknowledge it by.
    async fn pull(&self) -> Vec<String> {
        let subscription = self.name();
        let pull = wire::PullRequest {
            subscription: subscription.clone(),
            return_immediately: true,
            max_messages: 1_000,
        };
        let pulled = self.server.call("/google.pubsub.v1.Subscriber/Pull", pull).await;
        let pulled: wire::PullResponse = pulled.unwrap_or_else(|status| panic!("`{subscription}`: {status}"));
        pulled.received_messages.into_iter().map(|message| message.ack_id).collect()
    }

    async fn admin(&self, path: &'static str, message: impl Message + 'static) {
        // The answers are not looked at, and Empty reads anything.
        let answered = self.server.call::<_, wire::Empty>(path, message).await;
        answered.unwrap_or_else(|status| panic!("{path} of `{}`: {status}", self.id));
    }

    async fn publish_batch(&self, messages: Vec<wire::PubsubMessage>) -> Vec<String> {
        let count = messages.len();
        let request = wire::PublishRequest { topic: self.topic.clone(), messages };
        let published = self.server.call("/google.pubsub.v1.Publisher/Publish", request).await;
        let response: wire::PublishResponse =
            published.unwrap_or_else(|status| panic!("publishing to `{}`: {status}", self.topic));
        assert_eq!(response.message_ids.len(), count, "Pub/Sub did not take every message");
        response.message_ids
    }

    fn name(&self) -> String {
        format!("projects/{PROJECT}/subscriptions/{}", self.id)
    }
}

fn pubsub_message(message: Publication) -> wire::PubsubMessage {
    wire::PubsubMessage {
        data: message.body.unwrap_or_default(),
        attributes: message.headers.into_iter().collect(),
        ordering_key: message.key.unwrap_or_default(),
    }
}

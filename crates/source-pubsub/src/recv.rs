//! Hands out what the streams bring, as far as there are slots and the ordering keys allow it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_source::{
    AckToken, Context, Features, Message, Position, Slots, Source, SourceError, Tracker, in_flight_bytes,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::api::Api;
use crate::check;
use crate::config::PubSubConfig;
use crate::health::Health;
use crate::lease::{AckId, Leases, keep};
use crate::order::Admission;
use crate::settle::{Handle, Settler, SharedOrder, Work};
use crate::stream::{Fetched, Stream};
use crate::wire::{Attribute, StreamingPullRequest};

/// How long the service may take to answer the last calls.
const GOODBYE: Duration = Duration::from_secs(5);

/// What stands for "without a deadline": later instants may not exist.
const LONGEST_CLOSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// One consumer of one subscription: its streams, and the task that settles.
pub struct PubSubSource {
    config: Arc<PubSubConfig>,
    features: Features,
    tracker: Tracker<Handle>,
    fetched: mpsc::Receiver<Fetched>,
    order: SharedOrder,
    returns: mpsc::UnboundedSender<AckId>,
    stop: watch::Sender<bool>,
    streams: JoinSet<()>,
    /// Extends leases; ends with the source.
    _keeper: JoinSet<()>,
    settler: Owned,
    close: oneshot::Sender<Instant>,
    context: Context,
}

impl std::fmt::Debug for PubSubSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSubSource").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PubSubSource {
    pub(crate) async fn connect(config: PubSubConfig, context: Context) -> Result<Self, SourceError> {
        let api = Api::new(&config)?;
        let found = check::look(&api, &config).await?;
        context.status.warn(found.warnings.clone());
        context.status.consuming();
        tracing::info!(source.name = context.name, subscription = api.subscription(), "consuming");

        let config = Arc::new(config);
        let capacity = NonZeroUsize::new(config.max_in_flight as usize).unwrap_or(NonZeroUsize::MIN);
        let most_bytes = usize::try_from(config.max_in_flight_bytes).unwrap_or(usize::MAX);
        let (tracker, settlements) =
            in_flight_bytes(capacity, NonZeroUsize::new(most_bytes).unwrap_or(NonZeroUsize::MIN));
        context.status.watch(tracker.ages());

        let (leases, order) = (Leases::default(), SharedOrder::default());
        let (sender, fetched) = mpsc::channel(capacity.get());
        let (stop, stopping) = watch::channel(false);
        let mut streams = JoinSet::new();
        let shares = config.shares();
        let health = Health::new(context.clone(), shares.len());
        for (number, (max_outstanding_messages, max_outstanding_bytes)) in shares.into_iter().enumerate() {
            let opening = StreamingPullRequest {
                subscription: api.subscription().to_owned(),
                stream_ack_deadline_seconds: config.ack_deadline.into(),
                client_id: format!("{}-{}-{number}", context.name, context.worker),
                max_outstanding_messages,
                max_outstanding_bytes,
                protocol_version: 1,
            };
            let (fetched, stop) = (sender.clone(), stopping.clone());
            let (api, leases, health) = (api.clone(), leases.clone(), health.clone());
            streams.spawn(Stream { api, number, opening, fetched, leases, health, stop }.run());
        }
        let mut keeper = JoinSet::new();
        let max_extension = Duration::from_secs(config.max_extension.into());
        keeper.spawn(keep(leases.clone(), api.clone(), config.ack_deadline, max_extension));
        let (returns, returning) = mpsc::unbounded_channel();
        let (close, closing) = oneshot::channel();
        let settler = Settler {
            api,
            settlements,
            returns: returning,
            order: order.clone(),
            leases,
            status: context.status.clone(),
            patience: config.lease(),
            work: Work::default(),
        };
        let settler = Owned(tokio::spawn(settler.run(closing)));
        let features = Features {
            ordered: found.ordered,
            native_retry_delay: true,
            redelivery_count: found.counts_deliveries,
            lease: Some(config.lease()),
            replies: false,
        };
        Ok(Self {
            config,
            features,
            tracker,
            fetched,
            order,
            returns,
            stop,
            streams,
            _keeper: keeper,
            settler,
            close,
            context,
        })
    }

    /// Makes a message of what has come, unless it must not be handed out now.
    fn hand_out(&self, slots: &mut Slots<Handle>, fetched: Fetched) -> Option<Message> {
        let key = Some(fetched.message.ordering_key.clone()).filter(|key| !key.is_empty());
        if let Some(key) = &key {
            match self.order.admit(key, &fetched.message.message_id, &fetched.id) {
                Admission::HandOut => {}
                Admission::Park => return None,
                Admission::Return => {
                    let _ = self.returns.send(fetched.id);
                    return None;
                }
            }
        }
        let handle = Handle { id: AckId::clone(&fetched.id), key };
        let ack = slots.fill_sized(handle, fetched.bytes)?;
        Some(message(fetched, &self.config.subscription_id, ack))
    }
}

fn message(fetched: Fetched, subscription: &str, ack: AckToken) -> Message {
    let Fetched { message, attempt, .. } = fetched;
    let published = message.publish_time.map(|time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000);
    let position = Position {
        message_id: Some(message.message_id).filter(|id| !id.is_empty()),
        label: None,
        timestamp_ms: published,
        address: subscription.to_owned(),
        key: Some(message.ordering_key).filter(|key| !key.is_empty()),
        offset: None,
    };
    Message {
        body: message.data,
        headers: message.attributes.into_iter().map(header).collect(),
        position,
        route: None,
        redelivered: attempt.is_some_and(|attempt| attempt > 1),
        attempt,
        tombstone: false,
        ack,
    }
}

/// The service takes only UTF-8. Should anything else come through, it is shown as base64 text, and loses no message.
fn header(attribute: Attribute) -> (String, String) {
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap_or_else(|error| format!("\"{}\"", STANDARD.encode(error.as_bytes())))
    };
    (text(attribute.name), text(attribute.value))
}

impl Source for PubSubSource {
    fn features(&self) -> Features {
        self.features
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        loop {
            let mut slots = self.tracker.reserve(max).await;
            let Some(first) = self.fetched.recv().await else {
                return Err(SourceError::Disconnected("the streams have ended".to_owned()));
            };
            // No await from here on: dropping this future loses nothing.
            let mut bytes = first.bytes;
            let mut messages: Vec<_> = self.hand_out(&mut slots, first).into_iter().collect();
            while !slots.is_empty() && (bytes as u64) < self.config.max_in_flight_bytes {
                let Ok(next) = self.fetched.try_recv() else { break };
                bytes += next.bytes;
                messages.extend(self.hand_out(&mut slots, next));
            }
            if !messages.is_empty() {
                self.context.status.received(messages.len());
                return Ok(messages);
            }
        }
    }

    async fn close(self, deadline: Duration) -> Result<(), SourceError> {
        let Self { mut fetched, returns, stop, mut streams, mut settler, close, tracker, .. } = self;
        let deadline = Instant::now() + deadline.min(LONGEST_CLOSE);
        let _ = stop.send(true);
        // What was not handed out goes back, and so does what still comes until the streams have ended.
        let stopping = async {
            loop {
                tokio::select! {
                    biased;
                    next = fetched.recv() => match next {
                        Some(next) => {
                            let _ = returns.send(next.id);
                        }
                        None => break,
                    },
                    Some(_) = streams.join_next() => {}
                }
            }
        };
        let _ = timeout_at(deadline, stopping).await;
        drop((returns, streams, tracker));
        let _ = close.send(deadline);
        let lost = match timeout_at(deadline + GOODBYE, &mut settler.0).await {
            Ok(Ok(lost)) => lost,
            _ => return Err(SourceError::Disconnected("settlements were still being sent".to_owned())),
        };
        if lost > 0 {
            return Err(SourceError::Disconnected(format!(
                "{lost} acknowledgements were not confirmed by the service"
            )));
        }
        Ok(())
    }
}

/// A task that ends with its owner.
struct Owned(JoinHandle<usize>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! Takes messages from the subscription, and makes it again when it ends.

use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::BasicCancelOptions;
use lapin::types::ShortString;
use longshore_source::{Context, Features, Message, Receipt, Slots, Source, SourceError, Tracker, in_flight};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::check::warnings;
use crate::config::RabbitMqConfig;
use crate::connection::{Connector, Link};
use crate::delivery::{log, message, stream_offset};
use crate::settle::{Handle, Live, Settler};
use crate::stream::StreamPosition;

/// How long the broker may take to confirm the end of a connection.
const GOODBYE: Duration = Duration::from_secs(5);

/// Between two questions for the stored end of a stream.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What stands for "without a deadline": later instants may not exist.
const LONGEST_CLOSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// One consumer of one queue, on a connection of its own.
pub struct RabbitMqSource {
    config: Arc<RabbitMqConfig>,
    state: State,
    tracker: Tracker<Handle>,
    live: watch::Sender<Option<Live>>,
    stream: Arc<StreamPosition>,
    settler: Owned,
    close: oneshot::Sender<Instant>,
    context: Context,
}

enum State {
    /// Consuming. `ended` is why the subscription is over, once it is.
    Up { link: Box<Link>, connector: Box<Connector>, worked: bool, ended: Option<String> },
    /// Connecting. Kept here so that a `recv` that is dropped does not start it over.
    Down(Pin<Box<dyn Future<Output = (Link, Connector)> + Send>>),
    /// Between the two; never seen from outside `link_up`.
    Moving,
}

impl std::fmt::Debug for RabbitMqSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitMqSource").field("config", &self.config).finish_non_exhaustive()
    }
}

impl RabbitMqSource {
    pub(crate) async fn connect(config: RabbitMqConfig, context: Context) -> Result<Self, SourceError> {
        let config = Arc::new(config);
        let stored = stored_end(&config, &context).await;
        let stream = Arc::new(StreamPosition::starting_at(stored));
        let mut connector = Connector::new(Arc::clone(&config), Arc::clone(&stream), context.clone())?;
        let link = connector.first().await?;
        context.status.consuming();
        context.status.warn(warnings(&config, stored));
        tracing::info!(source.name = context.name, queue = %config.queue, "consuming");

        let capacity = NonZeroUsize::new(config.prefetch.into()).unwrap_or(NonZeroUsize::MIN);
        let (tracker, settlements) = in_flight(capacity);
        context.status.watch(tracker.ages());
        let (live, news) = watch::channel(Some(Live { epoch: link.epoch, channel: link.channel.clone() }));
        let (close, closing) = oneshot::channel();
        let settler = Settler::new(settlements, news, Arc::clone(&stream), context.status.clone());
        let settler = Owned(tokio::spawn(settler.run(closing)));
        let state =
            State::Up { link: Box::new(link), connector: Box::new(connector), worked: false, ended: None };
        Ok(Self { config, state, tracker, live, stream, settler, close, context })
    }

    /// Waits until there is a link that has not ended. Cancel-safe.
    async fn link_up(&mut self) {
        if matches!(&self.state, State::Up { ended: Some(_), .. }) {
            self.take_down();
        }
        if let State::Down(connecting) = &mut self.state {
            let (link, connector) = connecting.await;
            // Before any message of this link is out, so that its settlements find the channel.
            self.live.send_replace(Some(Live { epoch: link.epoch, channel: link.channel.clone() }));
            self.state = State::Up {
                link: Box::new(link),
                connector: Box::new(connector),
                worked: false,
                ended: None,
            };
        }
    }

    fn take_down(&mut self) {
        let State::Up { link, mut connector, worked, ended } =
            std::mem::replace(&mut self.state, State::Moving)
        else {
            return;
        };
        let reason = ended.unwrap_or_default();
        tracing::warn!(source.name = self.context.name, queue = %self.config.queue, reason, "subscription ended; connecting again");
        self.live.send_replace(None);
        self.context.status.connecting();
        if worked {
            connector.worked();
        }
        // Closes the connection if it is still open, so that the broker requeues what is out.
        drop(link);
        self.state = State::Down(Box::pin(async move {
            let link = connector.again().await;
            (link, *connector)
        }));
    }

    /// Takes what the client has buffered, at least one message unless the subscription has ended.
    fn poll_take(&mut self, slots: &mut Slots<Handle>, cx: &mut task::Context<'_>) -> Poll<Vec<Message>> {
        let State::Up { link, worked, ended, .. } = &mut self.state else { return Poll::Ready(Vec::new()) };
        let mut taken = Vec::new();
        if !link.channel.status().connected() {
            // What is still buffered comes again on the next connection, and could not be settled now.
            *ended = Some(last_words(link, cx));
            return Poll::Ready(taken);
        }
        while !slots.is_empty() {
            match link.consumer.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(delivery))) => {
                    *worked = true;
                    self.context.status.received(1);
                    taken.extend(fill(slots, link.epoch, delivery, &self.config.queue, &self.stream));
                }
                Poll::Ready(Some(Err(error))) => {
                    *ended = Some(error.to_string());
                    return Poll::Ready(taken);
                }
                Poll::Ready(None) => {
                    *ended = Some("the broker cancelled the consumer (queue deleted or moved?)".to_owned());
                    return Poll::Ready(taken);
                }
                Poll::Pending if taken.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(taken)
    }
}

/// The offset behind the last stored event, if the queue is a stream of which something is stored. Waits until that is
/// known: starting elsewhere could skip what was published meanwhile, and nothing could be stored now anyway.
async fn stored_end(config: &RabbitMqConfig, context: &Context) -> Option<u64> {
    loop {
        match context.watermarks.load().await {
            Ok(next) => return next.get(&log(&config.queue)).copied(),
            Err(problem) => context.status.failing(&format!("where to go on is not known: {problem}")),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Why the channel of `link` is closed, as far as the client says.
fn last_words(link: &mut Link, cx: &mut task::Context<'_>) -> String {
    while let Poll::Ready(Some(next)) = link.consumer.poll_next_unpin(cx) {
        if let Err(error) = next {
            return error.to_string();
        }
    }
    "the connection is lost".to_owned()
}

fn fill(
    slots: &mut Slots<Handle>,
    epoch: u64,
    delivery: Delivery,
    queue: &str,
    stream: &StreamPosition,
) -> Option<Message> {
    let offset = stream_offset(&delivery);
    let ack = slots.fill_sized(Handle { epoch, tag: delivery.delivery_tag, offset }, delivery.data.len())?;
    if offset.is_some_and(|offset| !stream.read(epoch, offset)) {
        // Settled before; only the broker's window needs the acknowledgement.
        ack.ack(Receipt::default());
        return None;
    }
    Some(message(delivery, offset, queue, ack))
}

impl Source for RabbitMqSource {
    fn features(&self) -> Features {
        Features {
            ordered: self.config.is_stream(),
            native_retry_delay: true,
            redelivery_count: false,
            lease: None,
            replies: false,
        }
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        loop {
            self.link_up().await;
            let mut slots = self.tracker.reserve(max).await;
            let stream = Arc::clone(&self.stream);
            let epoch = if let State::Up { link, .. } = &self.state { link.epoch } else { 0 };
            // Biased: what is here is taken first; going back in a stream is rare.
            let taken = tokio::select! {
                biased;
                () = stream.rewound(epoch) => {
                    if let State::Up { ended, .. } = &mut self.state {
                        *ended = Some("a message is to be read again".to_owned());
                    }
                    continue;
                }
                taken = poll_fn(|cx| self.poll_take(&mut slots, cx)) => taken,
            };
            if !taken.is_empty() {
                return Ok(taken);
            }
        }
    }

    async fn close(self, deadline: Duration) -> Result<(), SourceError> {
        let Self { state, close, mut settler, live, .. } = self;
        let deadline = Instant::now() + deadline.min(LONGEST_CLOSE);
        let link = match state {
            State::Up { link, ended: None, .. } => Some(link),
            _ => None,
        };
        if let Some(link) = &link {
            let stop = link.channel.basic_cancel(link.consumer.tag(), BasicCancelOptions::default());
            // Best effort: what still comes is requeued when the connection ends.
            let _ = timeout_at(deadline, stop).await;
        }
        let _ = close.send(deadline);
        let lost = match timeout_at(deadline + GOODBYE, &mut settler.0).await {
            Ok(Ok(lost)) => lost,
            _ => return Err(SourceError::Disconnected("settlements were still being written".to_owned())),
        };
        drop(live);
        if let Some(link) = link {
            let Link { connection, depth, .. } = *link;
            depth.end().await;
            // Its confirmation says that the broker has read every acknowledgement before it.
            let goodbye = connection.close(200, ShortString::from("closed"));
            match timeout(GOODBYE, goodbye).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(crate::error::explain(&error, "closing")),
                Err(_) => return Err(SourceError::Disconnected("closing: no answer in time".to_owned())),
            }
        }
        if lost > 0 {
            return Err(SourceError::Disconnected(format!(
                "{lost} acknowledgements did not reach the broker"
            )));
        }
        Ok(())
    }
}

/// A task that ends with its owner.
struct Owned(JoinHandle<u64>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

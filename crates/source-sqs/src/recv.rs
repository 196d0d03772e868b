//! The source: starts the pollers, hands out what they bring, and ends it all in the right order.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use longshore_source::{
    Context, Features, Message, Settlements, Source, SourceError, Tracker, in_flight_bytes,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::attributes::{Known, watch};
use crate::client::Queue;
use crate::config::SqsConfig;
use crate::leases::Leases;
use crate::poll::{Arrived, Health, Poller};
use crate::reader::Reader;
use crate::settle::{Handle, Settler};

/// How long `close` waits for answers that are on their way to receive calls.
const GRACE: Duration = Duration::from_millis(500);
/// How much longer than the deadline the last requests may take.
const GOODBYE: Duration = Duration::from_secs(5);
/// What stands for "without a deadline": later instants may not exist.
const LONGEST_CLOSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// One consumer of one queue.
pub struct SqsSource {
    config: Arc<SqsConfig>,
    features: Features,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    tracker: Arc<Tracker<Handle>>,
    pollers: JoinSet<()>,
    stop: CancellationToken,
    settler: Owned<u64>,
    close: oneshot::Sender<Instant>,
    keeper: Owned<()>,
    watcher: Owned<()>,
}

impl std::fmt::Debug for SqsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqsSource").field("config", &self.config).finish_non_exhaustive()
    }
}

impl SqsSource {
    pub(crate) async fn connect(config: SqsConfig, context: Context) -> Result<Self, SourceError> {
        let queue = Queue::find(&config).await?;
        let known = Known::read(&queue, &config).await?;
        let config = Arc::new(config);
        let status = context.status.clone();
        let visibility = Duration::from_secs(known.visibility_secs.into());

        let count = NonZeroUsize::new(config.max_in_flight as usize).unwrap_or(NonZeroUsize::MIN);
        let bytes = usize::try_from(config.max_in_flight_bytes).unwrap_or(usize::MAX);
        let bytes = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        let (tracker, settlements) = in_flight_bytes(count, bytes);
        let tracker = Arc::new(tracker);
        let longest = Duration::from_secs(config.max_extension.into());
        let leases = Arc::new(Leases::new(visibility, longest));
        let (sender, arrived) = mpsc::unbounded_channel();
        let poller = Poller {
            queue: queue.clone(),
            tracker: Arc::clone(&tracker),
            leases: Arc::clone(&leases),
            arrived: sender,
            health: Health::new(status.clone(), &context.name),
            reader: Arc::new(Reader::new(&config, status.clone(), &context.name)),
            lots: Arc::new(AtomicU64::new(0)),
            wait_secs: config.wait_time.into(),
            max_messages: NonZeroUsize::new(config.max_messages.into()).unwrap_or(NonZeroUsize::MIN),
            visibility_secs: known
                .is_asked_for
                .then(|| i32::try_from(known.visibility_secs).unwrap_or(i32::MAX)),
        };

        // Before anything is started that would have to end if this fails.
        poller.first().await?;
        let (settler, close) = settle(settlements, &queue, &leases, &context);
        let keeper = {
            let (leases, queue, status) = (Arc::clone(&leases), queue.clone(), status.clone());
            Owned(tokio::spawn(async move { leases.keep(&queue, &status).await }))
        };
        // Consumers that share a name share a queue: one of them tells its depth.
        let reports_lag = context.worker == 0;
        if reports_lag {
            status.lag(known.lag);
        }
        status.warn(known.warnings);
        status.watch(tracker.ages());
        let watcher = watch(queue.clone(), Arc::clone(&config), leases, status.clone(), reports_lag);
        let watcher = Owned(tokio::spawn(watcher));
        let stop = CancellationToken::new();
        let mut pollers = JoinSet::new();
        for _ in 0..config.pollers {
            pollers.spawn(poller.clone().run(stop.clone()));
        }
        status.consuming();
        tracing::info!(source.name = context.name, queue = queue.name, "consuming");
        let features = Features {
            ordered: queue.is_fifo,
            native_retry_delay: true,
            redelivery_count: true,
            lease: Some(visibility),
            replies: false,
        };
        Ok(Self { config, features, arrived, tracker, pollers, stop, settler, close, keeper, watcher })
    }
}

fn settle(
    settlements: Settlements<Handle>,
    queue: &Queue,
    leases: &Arc<Leases>,
    context: &Context,
) -> (Owned<u64>, oneshot::Sender<Instant>) {
    let (close, closing) = oneshot::channel();
    let settler = Settler::new(settlements, queue.clone(), Arc::clone(leases), context.status.clone());
    (Owned(tokio::spawn(settler.run(closing))), close)
}

impl Source for SqsSource {
    fn features(&self) -> Features {
        self.features
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        loop {
            let mut arrived = Vec::new();
            // Cancel-safe, and there is no await after it.
            if self.arrived.recv_many(&mut arrived, max.get()).await == 0 {
                return Err(SourceError::Disconnected("the pollers have ended".to_owned()));
            }
            // What stands behind one of its group that was given back goes back as well: its token is dropped.
            let in_order =
                |arrived: &Arrived| arrived.place.as_ref().is_none_or(|place| !place.is_overtaken());
            let messages = arrived.into_iter().filter(in_order).map(|arrived| arrived.message);
            let messages = messages.collect::<Vec<_>>();
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    async fn close(self, deadline: Duration) -> Result<(), SourceError> {
        let Self { arrived, tracker, mut pollers, stop, mut settler, close, keeper, watcher, .. } = self;
        let deadline = Instant::now() + deadline.min(LONGEST_CLOSE);
        stop.cancel();
        drop(watcher);
        let _ = close.send(deadline);
        // What was received and never handed out goes back at once; so does what is on its way.
        drop((arrived, tracker));
        let polls_end = timeout(GRACE, async { while pollers.join_next().await.is_some() {} });
        let settles_end = timeout_at(deadline + GOODBYE, &mut settler.0);
        let (_, settled) = tokio::join!(polls_end, settles_end);
        // A call that is still open ends when its wait is over. Hung up on, a server may answer it all the same, and
        // a message would be gone for the visibility timeout; so these few tasks outlive the source.
        pollers.detach_all();
        drop(keeper);
        match settled {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(lost)) => {
                Err(SourceError::Disconnected(format!("{lost} acknowledgements did not reach the broker")))
            }
            _ => Err(SourceError::Disconnected("settlements were still being written".to_owned())),
        }
    }
}

/// A task that ends with its owner.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! The source itself: hands out what the reading thread has read.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use longshore_source::{Context, Features, Message, Slots, Source, SourceError, Tracker, in_flight_bytes};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::KafkaConfig;
use crate::ledger::Handle;
use crate::reader::Reader;
use crate::settle;
use crate::shared::Shared;

/// How long the broker may take for the last commit and for letting us go: a connection that it has just ended, with a token
/// or a session that is over, is made anew for that.
const GOODBYE: Duration = Duration::from_secs(10);
/// What stands for "without a deadline": later instants may not exist.
const LONGEST_CLOSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// One member of a consumer group, on a thread of its own.
#[derive(Debug)]
pub struct KafkaSource {
    shared: Arc<Shared>,
    tracker: Option<Tracker<Handle>>,
    settler: Option<JoinHandle<()>>,
    close: Option<oneshot::Sender<Instant>>,
    over: oneshot::Receiver<bool>,
    /// How many bytes one call hands out.
    round_bytes: usize,
}

impl KafkaSource {
    pub(crate) async fn connect(config: KafkaConfig, context: Context) -> Result<Self, SourceError> {
        config.validate()?;
        let capacity = NonZeroUsize::new(config.max_in_flight as usize).unwrap_or(NonZeroUsize::MIN);
        let bytes = usize::try_from(config.max_in_flight_bytes).unwrap_or(usize::MAX);
        let max_bytes = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        let shared = Arc::new(Shared::new(config, context));
        // From here on, dropping this future ends the thread.
        let mut guard = Unless { shared: Arc::clone(&shared), kept: false };
        let (ready, begun) = oneshot::channel();
        let (said, over) = oneshot::channel();
        let reading = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(move || Reader::run(reading, ready, said))
            .map_err(|error| SourceError::Disconnected(format!("no thread: {error}")))?;
        let warnings = begun
            .await
            .unwrap_or_else(|_| Err(SourceError::Disconnected("the reading thread broke off".to_owned())))?;
        let context = &shared.context;
        for warning in &warnings {
            tracing::warn!(source.name = context.name, warning, "works, but should be changed");
        }
        context.status.warn(warnings);
        context.status.consuming();
        tracing::info!(source.name = context.name, group = shared.config.group(context), "consuming");
        let (tracker, settlements) = in_flight_bytes(capacity, max_bytes);
        context.status.watch(tracker.ages());
        let (close, closing) = oneshot::channel();
        let settler = tokio::spawn(settle::run(Arc::clone(&shared), settlements, closing));
        guard.kept = true;
        Ok(Self {
            shared,
            tracker: Some(tracker),
            settler: Some(settler),
            close: Some(close),
            over,
            round_bytes: (max_bytes.get() / 4).max(1),
        })
    }

    fn take(&self, slots: &mut Slots<Handle>) -> Vec<Message> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut ledger = self.shared.ledger();
        while !slots.is_empty() && bytes < self.round_bytes {
            let Some(record) = ledger.take() else { break };
            bytes += record.size;
            // There is a slot: it was looked for. Otherwise the token would be dropped, and the record come again.
            if let Some(ack) = slots.fill_sized(record.handle(), record.size) {
                taken.push(record.message(ack));
            }
        }
        drop(ledger);
        if !taken.is_empty() {
            self.shared.context.status.received(taken.len());
            self.shared.stir();
        }
        taken
    }
}

impl Source for KafkaSource {
    fn features(&self) -> Features {
        Features {
            ordered: true,
            native_retry_delay: true,
            redelivery_count: false,
            lease: None,
            replies: false,
        }
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        let Some(tracker) = &self.tracker else { return Err(SourceError::Closed) };
        let mut slots = tracker.reserve(max).await;
        loop {
            // One permit is stored, so that what arrives between the look and the wait is not missed.
            let taken = self.take(&mut slots);
            if !taken.is_empty() {
                return Ok(taken);
            }
            if self.shared.has_ended() {
                let problem = self.shared.last_problem();
                return Err(problem.unwrap_or_else(|| {
                    SourceError::Disconnected("the reading thread has ended".to_owned())
                }));
            }
            self.shared.arrived.notified().await;
        }
    }

    async fn close(mut self, deadline: Duration) -> Result<(), SourceError> {
        let deadline = Instant::now() + deadline.min(LONGEST_CLOSE);
        self.shared.close();
        // What waits is for others; what is out is waited for.
        self.shared.ledger().withhold(|_, _| true);
        self.tracker = None;
        if let (Some(close), Some(mut settler)) = (self.close.take(), self.settler.take()) {
            let _ = close.send(deadline);
            if timeout_at(deadline + GOODBYE, &mut settler).await.is_err() {
                settler.abort();
            }
        }
        self.shared.finish();
        match timeout(GOODBYE, &mut self.over).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                Err(SourceError::Disconnected("the last positions could not be committed".to_owned()))
            }
            Ok(Err(_)) => Err(SourceError::Disconnected("the reading thread broke off".to_owned())),
            Err(_) => Err(SourceError::Disconnected("closing: no answer in time".to_owned())),
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        // The thread leaves the group by itself, in its own time.
        self.shared.finish();
        if let Some(settler) = self.settler.take() {
            settler.abort();
        }
        self.shared.context.status.stopped();
    }
}

/// Ends the reading thread unless it is kept.
struct Unless {
    shared: Arc<Shared>,
    kept: bool,
}

impl Drop for Unless {
    fn drop(&mut self) {
        if !self.kept {
            self.shared.finish();
        }
    }
}

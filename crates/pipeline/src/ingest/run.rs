//! The ingest driver: one per consumer.

use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use longshore_core::ports::{ClaimedDelivery, DynamicEndpoint, EventLog, StoreError, Stored};
use longshore_core::{Clock, EndpointId, Snapshot};
use longshore_source::{Message, Source, SourceError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Decoded, Matched, Persisted};
use super::decode::Context;
use super::fanout::Fanout;
use super::{Ingest, Origin};

/// Why ingest ended unasked.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The source ended; the supervisor builds a new one.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The dispatcher is gone: the process is stopping.
    #[error("the dispatcher has ended")]
    DispatcherGone,
}

/// A batch that was given up because the process stops or its producers cannot wait longer.
struct GivenUp;

/// How often the fate of a batch is asked for that was given back without knowing it.
const RESOLVE: Duration = Duration::from_secs(1);
/// How long a message waits for a configuration that is newer than the snapshot.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Receives, stores, hands over and acks until `soft` is cancelled, then closes the source. While the database is
/// away the batch is held and nothing more is received; `hard` ends even that, and the messages go back.
///
/// # Errors
/// [`IngestError`] when the source ends by itself.
pub async fn run<S: Source, L: EventLog, C: Clock>(
    mut source: S,
    origin: Origin,
    mut ingest: Ingest<L, C>,
    soft: CancellationToken,
    hard: CancellationToken,
) -> Result<(), IngestError> {
    let replies = source.features().replies;
    let mut driver = Driver { origin, replies, hard, behind: 0, unresolved: Vec::new() };
    let ended = loop {
        let messages = tokio::select! {
            // A stop wins over the next batch.
            biased;
            () = soft.cancelled() => break Ok(()),
            () = tokio::time::sleep(RESOLVE), if !driver.unresolved.is_empty() => {
                if ingest.dispatch.send(driver.resolve(&ingest).await).is_err() {
                    break Err(IngestError::DispatcherGone);
                }
                continue;
            }
            received = receive(&mut source, &driver.origin, &ingest) => match received {
                Ok(messages) => messages,
                Err(error) => break Err(error.into()),
            },
        };
        metrics::counter!("ingest_messages_received_total", "source" => driver.origin.kind)
            .increment(messages.len() as u64);
        if !driver.unresolved.is_empty() {
            if ingest.dispatch.send(driver.resolve(&ingest).await).is_err() {
                break Err(IngestError::DispatcherGone);
            }
            if !driver.unresolved.is_empty() {
                // Still away: better told at once than held one after another.
                drop(messages);
                continue;
            }
        }
        if let Ok(fresh) = driver.take(messages, &mut ingest).await
            && ingest.dispatch.send(fresh).is_err()
        {
            break Err(IngestError::DispatcherGone);
        }
    };
    let closed = source.close(ingest.limits.close).await;
    ended.and(closed.map_err(IngestError::from))
}

/// Receives what the project's ingest limit has room for; until there is some, the messages stay with their broker. HTTP has
/// counted its requests already.
async fn receive<S: Source, L: EventLog, C: Clock>(
    source: &mut S,
    origin: &Origin,
    ingest: &Ingest<L, C>,
) -> Result<Vec<Message>, SourceError> {
    let Some((_, project)) = origin.source else { return source.recv(ingest.limits.batch).await };
    let limit = || ingest.config.borrow().project(project).and_then(|found| found.settings.ingest_rate_limit);
    let Some(found) = limit() else { return source.recv(ingest.limits.batch).await };
    let room = ingest.intake.room(project, limit, ingest.limits.batch).await;
    let received = source.recv(room).await;
    if let Ok(messages) = &received {
        ingest.intake.spend(project, found, messages.len());
    }
    received
}

struct Driver {
    origin: Origin,
    replies: bool,
    hard: CancellationToken,
    /// A configuration version that was waited for in vain; not waited for again.
    behind: i64,
    /// Batches whose messages went back while nobody knew whether they are stored: if they are, this process owns
    /// their deliveries. They keep their room until that is known, so this is one batch at most.
    unresolved: Vec<Batch<Matched>>,
}

impl Driver {
    /// The whole way of one batch.
    async fn take<L: EventLog, C: Clock>(
        &mut self,
        messages: Vec<Message>,
        ingest: &mut Ingest<L, C>,
    ) -> Result<Vec<ClaimedDelivery>, GivenUp> {
        let (decoded, mut snapshot) = self.decode(messages, ingest).await?;
        let registrations = decoded.registrations();
        let mut matched = decoded.into_rows(&self.origin);
        let mut fanout = Fanout::of(&matched.rows().events, &snapshot);
        // An event that matches nothing may have been published right after its subscription was made.
        if fanout.has_unmatched() && self.catch_up(&mut snapshot, ingest).await? {
            fanout = Fanout::of(&matched.rows().events, &snapshot);
        }
        if self.see_registered(&registrations, &mut snapshot, ingest).await? {
            fanout = Fanout::of(&matched.rows().events, &snapshot);
        }
        fanout.reserve(matched.events_mut(), &ingest.ledger, &ingest.clock).await;
        let mut handed_over = Vec::new();
        for persisted in self.persist(matched, ingest).await? {
            handed_over.extend(finish(persisted, ingest, &self.origin));
        }
        Ok(handed_over)
    }

    /// Decodes against the newest configuration that matters.
    async fn decode<L: EventLog, C: Clock>(
        &mut self,
        messages: Vec<Message>,
        ingest: &mut Ingest<L, C>,
    ) -> Result<(Batch<Decoded>, Arc<Snapshot>), GivenUp> {
        let now = ingest.clock.now();
        let window = ingest.log.id_window();
        let mut snapshot = ingest.snapshot();
        let (ledger, rules) = (ingest.ledger.clone(), Arc::clone(&ingest.rules));
        let ids = ledger.ids();
        let mut decoded = Batch::received(messages, now).decode(&Context {
            origin: &self.origin,
            snapshot: &snapshot,
            rules: &rules,
            ids,
            window,
            now,
        });
        if decoded.may_be_newer() && self.catch_up(&mut snapshot, ingest).await? {
            let context =
                Context { origin: &self.origin, snapshot: &snapshot, rules: &rules, ids, window, now };
            decoded = decoded.decode_again(&context);
        }
        if self.replies {
            decoded.refuse_faults();
        }
        let registrations = decoded.registrations();
        if !registrations.is_empty() {
            // They become visible with the next snapshot, which the fan-out waits for since they match nothing yet.
            for (endpoint, problem) in self.register(&registrations, ingest).await? {
                tracing::warn!(%problem, "the database refuses an endpoint for good; its messages are faults");
                let told = "the database does not accept it";
                decoded.refuse_registration(endpoint, if self.replies { told } else { &problem });
            }
            if self.replies {
                decoded.refuse_faults();
            }
        }
        Ok((decoded, snapshot))
    }

    /// Waits until the snapshot shows every endpoint registered for this batch; whether it had to. An event stored
    /// without its endpoint would make no delivery, and nobody would know.
    async fn see_registered<L: EventLog, C: Clock>(
        &mut self,
        registered: &[DynamicEndpoint],
        snapshot: &mut Arc<Snapshot>,
        ingest: &Ingest<L, C>,
    ) -> Result<bool, GivenUp> {
        let mut patience = Patience::new(self, ingest);
        let mut has_waited = false;
        while registered
            .iter()
            .any(|endpoint| snapshot.endpoint_by_url(endpoint.project, endpoint.url.as_str()).is_none())
        {
            has_waited = true;
            let behind = "the configuration does not show a registered endpoint yet".to_owned();
            patience.wait(&StoreError::Unavailable(behind)).await?;
            *snapshot = ingest.snapshot();
            // Somebody may have deleted it meanwhile.
            if !self.register(registered, ingest).await?.is_empty() {
                break; // nor will the database take an event for it
            }
        }
        Ok(has_waited)
    }

    /// Waits for a newer snapshot if there is a newer configuration; whether one came. Whether there is one must be
    /// known: what an older snapshot does not match would be stored without its deliveries.
    async fn catch_up<L: EventLog, C: Clock>(
        &mut self,
        snapshot: &mut Arc<Snapshot>,
        ingest: &mut Ingest<L, C>,
    ) -> Result<bool, GivenUp> {
        let mut patience = Patience::new(self, ingest);
        let version = loop {
            match ingest.log.config_version().await {
                Ok(version) => break version,
                Err(error) => patience.wait(&error).await?,
            }
        };
        if version <= snapshot.version() || version == self.behind {
            return Ok(false);
        }
        let newer = ingest.config.wait_for(|snapshot| snapshot.version() >= version);
        match tokio::time::timeout(CATCH_UP, newer).await {
            Ok(Ok(newer)) => {
                *snapshot = Arc::clone(&newer);
                Ok(true)
            }
            _ => {
                self.behind = version;
                Ok(false)
            }
        }
    }

    /// Registers endpoints, however long the database is away. Returns those that it refuses for good, and why.
    async fn register<L: EventLog, C: Clock>(
        &mut self,
        endpoints: &[DynamicEndpoint],
        ingest: &Ingest<L, C>,
    ) -> Result<Vec<(EndpointId, String)>, GivenUp> {
        let mut patience = Patience::new(self, ingest);
        let (mut todo, mut refused) = (vec![endpoints], Vec::new());
        while let Some(some) = todo.pop() {
            match ingest.log.register_dynamic(some).await {
                Ok(()) => {}
                Err(StoreError::Rejected(problem)) => match some {
                    [one] => refused.push((one.id, problem)),
                    _ => todo.extend(some.chunks(1)),
                },
                Err(error) => {
                    patience.wait(&error).await?;
                    todo.push(some);
                }
            }
        }
        Ok(refused)
    }

    /// Commits the batch, however long the database is away.
    async fn persist<L: EventLog, C: Clock>(
        &mut self,
        matched: Batch<Matched>,
        ingest: &Ingest<L, C>,
    ) -> Result<Vec<Batch<Persisted>>, GivenUp> {
        let mut patience = Patience::new(self, ingest);
        let mut todo = vec![matched];
        let mut done = Vec::with_capacity(1);
        while let Some(batch) = todo.pop() {
            let started = Instant::now();
            let (error, batch) = match batch.commit(&*ingest.log).await {
                Ok(persisted) => {
                    metrics::histogram!("ingest_commit_seconds").record(started.elapsed().as_secs_f64());
                    done.push(persisted);
                    continue;
                }
                Err(failed) => failed,
            };
            match error {
                StoreError::Rejected(_) if batch.rows().events.len() + batch.rows().quarantined.len() > 1 => {
                    // Taken from the end: they are stored in the order in which they came.
                    todo.extend(batch.into_singles().into_iter().rev());
                }
                StoreError::Rejected(problem) if self.replies && !batch.rows().events.is_empty() => {
                    tracing::warn!(%problem, "the database refuses an event for good; its producer is told");
                    release(&batch, ingest);
                    batch.refuse();
                }
                StoreError::Rejected(problem) if !batch.rows().events.is_empty() => {
                    tracing::warn!(%problem, "the database refuses an event for good; it goes to quarantine");
                    release(&batch, ingest);
                    todo.push(batch.into_quarantine(&problem));
                }
                error => {
                    if patience.wait(&error).await.is_err() {
                        todo.push(batch);
                        todo.iter_mut().for_each(Batch::give_back);
                        self.unresolved.append(&mut todo);
                        // What is committed stays committed, and its producers are told so.
                        return if done.is_empty() { Err(GivenUp) } else { Ok(done) };
                    }
                    todo.push(batch);
                }
            }
        }
        Ok(done)
    }
}

impl Driver {
    /// Finds out what became of batches that were given back without knowing whether they are stored, and returns what
    /// this process owns of them. Nothing is stored now: their producers were told to come again.
    async fn resolve<L: EventLog, C: Clock>(&mut self, ingest: &Ingest<L, C>) -> Vec<ClaimedDelivery> {
        let mut fresh = Vec::new();
        for batch in std::mem::take(&mut self.unresolved) {
            match batch.recall(&*ingest.log).await {
                Ok(recalled) => {
                    release_unowned(&recalled, ingest);
                    fresh.extend(recalled.handed_over());
                }
                Err((_, batch)) => self.unresolved.push(batch),
            }
        }
        fresh
    }
}

/// Gives back the room of deliveries that will not be handed over.
fn release<L: EventLog, C: Clock>(batch: &Batch<Matched>, ingest: &Ingest<L, C>) {
    for new in &batch.rows().events {
        for delivery in new.deliveries.iter().filter(|delivery| delivery.hand_over) {
            ingest.ledger.release(delivery.id, delivery.endpoint, new.event.body.len(), false);
        }
    }
}

/// Gives back the room of deliveries that this process does not own.
fn release_unowned<L: EventLog, C: Clock>(persisted: &Batch<Persisted>, ingest: &Ingest<L, C>) {
    for (new, stored) in persisted.stored() {
        if !matches!(stored, Stored::New { owner: Some(_) }) {
            for delivery in new.deliveries.iter().filter(|delivery| delivery.hand_over) {
                ingest.ledger.release(delivery.id, delivery.endpoint, new.event.body.len(), false);
            }
        }
    }
}

/// Counts, gives back unused room, acks; returns what this process owns now.
fn finish<L: EventLog, C: Clock>(
    persisted: Batch<Persisted>,
    ingest: &Ingest<L, C>,
    origin: &Origin,
) -> Vec<ClaimedDelivery> {
    let kind = origin.kind;
    let (mut new, mut duplicates, mut known) = (0, 0, 0);
    for (_, stored) in persisted.stored() {
        match stored {
            Stored::New { .. } => new += 1,
            Stored::Duplicate => duplicates += 1,
            Stored::Known => known += 1,
        }
    }
    release_unowned(&persisted, ingest);
    origin.status.became(new, duplicates, known, persisted.quarantined().len());
    metrics::counter!("ingest_events_stored_total", "source" => kind).increment(new as u64);
    metrics::counter!("ingest_events_duplicate_total", "source" => kind).increment(duplicates as u64);
    metrics::counter!("ingest_messages_redelivered_total", "source" => kind).increment(known as u64);
    for message in persisted.quarantined() {
        metrics::counter!("ingest_messages_quarantined_total", "source" => kind, "reason" => message.reason.as_str())
            .increment(1);
    }
    let fresh = persisted.handed_over();
    let laned = persisted.laned();
    if !laned.is_empty() {
        ingest.ledger.stored_due(laned.into_iter());
    }
    persisted.ack();
    fresh
}

/// Waits between tries while the database is away.
struct Patience {
    pace: ExponentialBackoff,
    deadline: Option<Instant>,
    hard: CancellationToken,
    is_first: bool,
}

impl Patience {
    fn new<L, C>(driver: &Driver, ingest: &Ingest<L, C>) -> Self {
        Self {
            pace: ExponentialBackoffBuilder::new()
                .with_initial_interval(Duration::from_millis(50))
                .with_max_interval(Duration::from_secs(2))
                .with_max_elapsed_time(None)
                .build(),
            deadline: driver.replies.then(|| Instant::now() + ingest.limits.hold_replies),
            hard: driver.hard.clone(),
            is_first: true,
        }
    }

    async fn wait(&mut self, error: &StoreError) -> Result<(), GivenUp> {
        metrics::counter!("ingest_commit_failures_total").increment(1);
        if std::mem::take(&mut self.is_first) {
            tracing::warn!(%error, "batch not stored; holding it until it is");
        }
        let pause = self.pace.next_backoff().unwrap_or(Duration::from_secs(2));
        if self.deadline.is_some_and(|deadline| Instant::now() + pause > deadline) {
            return Err(GivenUp);
        }
        tokio::select! {
            () = self.hard.cancelled() => Err(GivenUp),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

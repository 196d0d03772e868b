//! What the reading thread, the settling task and `recv` share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_source::{Context, SourceError};
use metrics::{Counter, counter};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::KafkaConfig;
use crate::ledger::Ledger;
use crate::token::Tokens;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: KafkaConfig,
    pub(crate) context: Context,
    pub(crate) tokens: Tokens,
    /// For what is asynchronous and wanted by the reading thread.
    pub(crate) runtime: Handle,
    ledger: Mutex<Ledger>,
    /// Something was settled or taken, or the reading thread has something to do.
    stirred: Condvar,
    /// Records wait, or the source has ended.
    pub(crate) arrived: Notify,
    /// Nothing more is handed out.
    closing: AtomicBool,
    /// The reading thread is to end.
    finish: AtomicBool,
    ended: AtomicBool,
    problem: Mutex<Option<SourceError>>,
    /// Every topic of which a partition was ours.
    topics: Mutex<HashSet<String>>,
    pub(crate) rebalances: Counter,
    pub(crate) out_of_range: Counter,
    pub(crate) stalls: Counter,
}

impl Shared {
    pub(crate) fn new(config: KafkaConfig, context: Context) -> Self {
        let labels = context.status.labels();
        let tokens = Tokens::new(config.auth.as_ref().and_then(|auth| auth.oauthbearer.clone()));
        Self {
            tokens,
            runtime: Handle::current(),
            ledger: Mutex::default(),
            stirred: Condvar::new(),
            arrived: Notify::new(),
            closing: AtomicBool::new(false),
            finish: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            problem: Mutex::default(),
            topics: Mutex::default(),
            rebalances: counter!("source_rebalances_total", labels.clone()),
            out_of_range: counter!("source_offset_out_of_range_total", labels.clone()),
            stalls: counter!("source_stalls_total", labels),
            config,
            context,
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing in here is left half-changed by a panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits in [`Self::wait`].
    pub(crate) fn stir(&self) {
        self.stirred.notify_all();
    }

    /// Waits until something stirs, at most `most`, or not at all once `done` holds.
    pub(crate) fn wait(&self, most: Duration, done: impl Fn(&Ledger) -> bool) {
        let ledger = self.ledger();
        if !done(&ledger) {
            drop(self.stirred.wait_timeout(ledger, most));
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.stir();
    }

    pub(crate) fn is_to_finish(&self) -> bool {
        self.finish.load(Ordering::Acquire)
    }

    pub(crate) fn finish(&self) {
        self.finish.store(true, Ordering::Release);
        self.close();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The source is over; the first problem counts.
    pub(crate) fn end(&self, problem: Option<SourceError>) {
        if let Some(problem) = problem {
            self.context.status.failing(&problem.to_string());
            self.problem().get_or_insert(problem);
        }
        self.ended.store(true, Ordering::Release);
        self.arrived.notify_one();
        self.stir();
    }

    /// Why the source is over.
    pub(crate) fn last_problem(&self) -> Option<SourceError> {
        self.problem().take()
    }

    pub(crate) fn has_read(&self, topic: &str) -> bool {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    pub(crate) fn reads<'a>(&self, topics: impl Iterator<Item = &'a str>) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).extend(topics.map(str::to_owned));
    }

    fn problem(&self) -> MutexGuard<'_, Option<SourceError>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

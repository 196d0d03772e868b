//! What a source gets from whoever runs it, besides its settings.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use crate::status::Status;

/// What a source gets from whoever runs it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The source's name, for logs and for the broker's own lists of clients.
    pub name: String,
    /// Which of the source's consumers this is, from 0; part of names that must differ between consumers.
    pub worker: u16,
    /// Where it reports.
    pub status: Status,
    /// Where earlier runs got to.
    pub watermarks: Arc<dyn Watermarks>,
}

impl Context {
    /// A context without stored watermarks.
    #[must_use]
    pub fn new(kind: &'static str, name: &str) -> Self {
        let status = Status::new(kind, name);
        Self { name: name.to_owned(), worker: 0, status, watermarks: Arc::new(NoWatermarks) }
    }
}

/// The next offset of each log (a Kafka partition, a RabbitMQ stream): everything below it is stored.
pub type NextOffsets = HashMap<String, u64>;

/// Reads where the source's stored events end, per log: the pipeline stores [`crate::LogOffset`]s in the transaction
/// of their events, so this is exact where a commit at the broker may lag behind.
pub trait Watermarks: fmt::Debug + Send + Sync + 'static {
    /// The next offset of every log of this source that is known.
    ///
    /// # Errors
    /// A sentence: the store cannot be reached. Wait and load again: nothing could be stored meanwhile. (Starting
    /// from the broker's own position loses nothing either, but leaves a mark that may be of an older log.)
    fn load(&self) -> Pin<Box<dyn Future<Output = Result<NextOffsets, String>> + Send + '_>>;

    /// Forgets where a log ends, because the mark is not of this log: it was deleted and made anew under the same name,
    /// and begins below. Call it whenever a mark is not trusted, and wait for it before the log's first message is
    /// handed out: only then a lower mark takes the place of the old one. Batches of the older log that are still on
    /// their way into the store no longer count.
    ///
    /// # Errors
    /// A sentence: the store cannot be reached. Wait and try again, and do not read yet.
    fn forget<'a>(&'a self, log: &'a str) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        let _ = log;
        Box::pin(ready(Ok(())))
    }
}

/// Knows nothing: every log starts where the broker says.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatermarks;

impl Watermarks for NoWatermarks {
    fn load(&self) -> Pin<Box<dyn Future<Output = Result<NextOffsets, String>> + Send + '_>> {
        Box::pin(ready(Ok(NextOffsets::new())))
    }
}

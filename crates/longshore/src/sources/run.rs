//! One run of one consumer: connect, feed, end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use longshore_pipeline::ingest::{self, Origin};
use longshore_source::{Context, Source, SourceError};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::declared::{Consumer, Declared};
use crate::data::PgIngest;
use crate::watermarks::StoredWatermarks;

/// What every run of a process shares.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) ingest: PgIngest,
    pub(super) board: Board,
    /// Give up and end now.
    pub(super) hard: CancellationToken,
    /// How long a run that is told to stop may hold what it has in hand while the database is away.
    pub(super) drain: Duration,
}

impl Runner {
    /// Runs until `soft` is cancelled. The status outlives the run: what went wrong is shown until it works again.
    ///
    /// # Errors
    /// Why it ended unasked.
    pub(super) async fn run(
        self,
        consumer: Consumer,
        declared: Declared,
        soft: CancellationToken,
    ) -> anyhow::Result<()> {
        let (status, mapping) = self.board.entry(consumer, &declared);
        status.connecting();
        let origin = Origin {
            source: Some((consumer.source, declared.project)),
            kind: declared.kind,
            status: status.clone(),
            mapping,
        };
        let ended = Box::pin(self.feed(consumer, declared, origin, soft.clone())).await;
        match &ended {
            Err(error) => status.failing(&format!("{error:#}")),
            Ok(()) if soft.is_cancelled() => status.stopped(),
            Ok(()) => status.failing("ended unasked"),
        }
        ended
    }

    async fn feed(
        self,
        consumer: Consumer,
        declared: Declared,
        origin: Origin,
        soft: CancellationToken,
    ) -> anyhow::Result<()> {
        let broker = declared.broker.map_err(anyhow::Error::msg)?;
        let source = consumer.source;
        let context = Context {
            name: declared.name,
            worker: consumer.worker,
            status: origin.status.clone(),
            watermarks: Arc::new(StoredWatermarks { store: Arc::clone(&self.ingest.log), source }),
        };
        // A batch that cannot be stored is held, but not for ever by a consumer that should end: others wait for its
        // end, and the broker keeps what is given back.
        let hard = self.hard.child_token();
        let feed = Feed { ingest: self.ingest, origin, soft: soft.clone(), hard: hard.clone() };
        let running = broker.run(context, feed);
        tokio::pin!(running);
        let overdue = async {
            soft.cancelled().await;
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            ended = &mut running => return ended,
            () = overdue => hard.cancel(),
        }
        running.await
    }
}

/// Where the messages of one run go.
pub(super) struct Feed {
    ingest: PgIngest,
    origin: Origin,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Feed {
    /// Connects and feeds the pipeline until told to stop.
    ///
    /// # Errors
    /// The connection failed, or the source ended unasked.
    pub(super) async fn run<S: Source>(
        self,
        connecting: impl Future<Output = Result<S, SourceError>>,
    ) -> anyhow::Result<()> {
        let Some(source) = self.soft.run_until_cancelled(connecting).await else { return Ok(()) };
        Ok(ingest::run(source?, self.origin, self.ingest, self.soft, self.hard).await?)
    }
}

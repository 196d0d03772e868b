//! Sources: from what is declared to what runs, and what is known about it.
//!
//! | module | holds |
//! |---|---|
//! | [`kind`] | the kinds of brokers, and which are built in |
//! | [`broker`] | settings become a source: the one `match` over the kinds |
//! | [`secrets`] | `…_file` in settings |
//! | [`check`] | connects without consuming |
//! | [`declared`] | the consumers that should run: the configuration file's and the database's |
//! | [`watch`] | the configuration file and its secrets, followed |
//! | [`run`] | one run of one consumer |
//! | [`board`] | what is kept of each consumer from run to run |
//! | [`report`] | the same, told to the database and the metrics |
//!
//! Invariants: a source that is at fault harms no other; whatever changes in a declaration takes effect without a
//! restart of the process; a declaration that cannot be read changes nothing.

mod board;
pub(crate) mod broker;
pub(crate) mod check;
pub(crate) mod declared;
mod kind;
mod report;
mod run;
mod secrets;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_store::Config as Resources;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

pub(crate) use broker::Broker;

use self::board::Board;
use self::declared::{Consumer, Declared, FileSource, declarations};
use self::run::Runner;
use self::watch::Watch;
use crate::config::Inputs;
use crate::data::PgIngest;
use crate::lifecycle::{Stage, Tasks};
use crate::supervisor::{Wanted, supervise};

/// What the sources are made of and fed to.
pub(crate) struct Sources {
    /// What the configuration was read from, to be read again.
    pub(crate) inputs: Inputs,
    /// What it declared at the start.
    pub(crate) declared: Vec<FileSource>,
    /// What the database declares, followed.
    pub(crate) resources: channel::Receiver<Arc<Resources>>,
    /// Where messages go.
    pub(crate) ingest: PgIngest,
    /// How long a consumer that is told to stop may take for what it has in hand.
    pub(crate) drain: Duration,
}

/// Starts what follows the declarations, what runs them, and what tells how they are.
pub(crate) fn start(tasks: &mut Tasks, sources: Sources) {
    let Sources { inputs, declared, resources, ingest, drain } = sources;
    let stop = tasks.stop().clone();
    let board = Board::default();
    let (file_sender, file) = channel::channel(Arc::new(declared));
    let soft = stop.soft.clone();
    tasks.spawn("configuration file", Stage::Ingest, async move {
        Watch::new(inputs).run(file_sender, soft).await;
        Ok(())
    });
    let (sender, wanted) = channel::channel(Wanted::default());
    let (soft, shown) = (stop.soft.clone(), board.clone());
    tasks.spawn("source declarations", Stage::Ingest, async move {
        declare(file, resources, shown, sender, soft).await;
        Ok(())
    });
    let (store, told, hard) = (Arc::clone(&ingest.log), board.clone(), stop.hard.clone());
    tasks.spawn("source status", Stage::Support, async move {
        report::run(&store, &told, hard).await;
        Ok(())
    });
    let runner = Runner { ingest, board, hard: stop.hard, drain };
    let start = move |consumer: &Consumer, declared: &Declared, token: CancellationToken| {
        runner.clone().run(*consumer, declared.clone(), token)
    };
    tasks.spawn("sources", Stage::Ingest, async move {
        supervise(wanted, start, StdRng::from_os_rng(), stop.soft).await;
        Ok(())
    });
}

/// Joins both places of declarations, whenever one of them changes, until `stop`.
async fn declare(
    mut file: channel::Receiver<Arc<Vec<FileSource>>>,
    mut resources: channel::Receiver<Arc<Resources>>,
    board: Board,
    wanted: channel::Sender<Wanted<Consumer, Declared>>,
    stop: CancellationToken,
) {
    let mut told = Vec::new();
    loop {
        let (in_file, stored) =
            (Arc::clone(&file.borrow_and_update()), Arc::clone(&resources.borrow_and_update()));
        let now = declarations(&in_file, &stored);
        for problem in now.problems.iter().filter(|problem| !told.contains(*problem)) {
            tracing::warn!("{problem}");
        }
        told = now.problems;
        board.keep(&now.consumers);
        let running = now.consumers.into_iter().filter(|(_, declared)| !declared.is_disabled);
        wanted.send_replace(Arc::new(running.collect::<HashMap<_, _>>()));
        tokio::select! {
            () = stop.cancelled() => return,
            // An end of either feed is an end of the process, which `stop` tells.
            Ok(()) = file.changed() => {}
            Ok(()) = resources.changed() => {}
            else => return stop.cancelled().await,
        }
    }
}

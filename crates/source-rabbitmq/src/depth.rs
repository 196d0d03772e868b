//! Tells how many messages wait in the queue, beside the consumer and without disturbing it.
//!
//! AMQP 0-9-1 gives the count of ready messages in the answer to a passive declare. A refusal closes the channel that
//! asked, hence a channel of its own; whatever goes wrong here is only a figure that is missing.

use std::sync::{Arc, Weak};
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};
use longshore_source::Context;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::RabbitMqConfig;
use crate::stream::StreamPosition;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of a look is waited for.
const END: Duration = Duration::from_secs(1);

/// The task that looks; it ends with the link it belongs to.
pub(crate) struct Depth(Option<(JoinHandle<()>, CancellationToken)>);

impl Depth {
    /// Looks now and then. A queue has one depth however many consumers it has, so only the first of them looks.
    pub(crate) fn watch(
        connection: &Arc<Connection>,
        config: &RabbitMqConfig,
        stream: &Arc<StreamPosition>,
        context: &Context,
    ) -> Self {
        if context.worker > 0 || config.is_stream() {
            return Self(None);
        }
        let looker = Looker {
            // Not an owner: the connection closes when its link is dropped.
            connection: Arc::downgrade(connection),
            channel: None,
            queue: ShortString::from(config.queue.as_str()),
        };
        let stop = CancellationToken::new();
        let looking = look(looker, Arc::clone(stream), context.clone(), stop.clone());
        Self(Some((tokio::spawn(looking), stop)))
    }

    /// Ends it between two looks: an answer that comes while the connection closes would be an error of the close.
    pub(crate) async fn end(mut self) {
        if let Some((task, stop)) = &mut self.0 {
            stop.cancel();
            let _ = timeout(END, task).await;
        }
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        if let Some((task, _)) = &self.0 {
            task.abort();
        }
    }
}

async fn look(mut looker: Looker, stream: Arc<StreamPosition>, context: Context, stop: CancellationToken) {
    loop {
        let depth = timeout(PATIENCE, looker.ask()).await.ok().flatten();
        if depth.is_none() {
            tracing::debug!(source.name = context.name, "the queue's depth is not known at the moment");
            looker.channel = None;
        }
        // A stream keeps what was read: its count is no lag.
        let is_stream = stream.resume_at().is_some();
        context.status.lag(depth.filter(|_| !is_stream));
        if is_stream {
            return;
        }
        if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
            if let Some(channel) = looker.channel {
                let _ = channel.close(200, ShortString::from("closed")).await;
            }
            return;
        }
    }
}

struct Looker {
    connection: Weak<Connection>,
    channel: Option<Channel>,
    queue: ShortString,
}

impl Looker {
    async fn ask(&mut self) -> Option<u64> {
        let channel = match self.channel.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.connection.upgrade()?.create_channel().await.ok()?,
        };
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(self.queue.clone(), options, FieldTable::default()).await.ok()?;
        self.channel = Some(channel);
        Some(found.message_count().into())
    }
}

//! What the streams together say to the status. One that ends is no fault; none that can be opened is.

use std::sync::{Arc, Mutex, PoisonError};

use longshore_source::Context;

/// The state of every stream. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    context: Context,
    streams: Arc<Mutex<Streams>>,
}

#[derive(Debug)]
struct Streams {
    up: Vec<bool>,
    /// Whether each was open before.
    known: Vec<bool>,
    /// The last fault that was logged: an outage of hours is not a line each second.
    told: Option<String>,
}

impl Health {
    pub(crate) fn new(context: Context, streams: usize) -> Self {
        let streams = Streams { up: vec![false; streams], known: vec![false; streams], told: None };
        Self { context, streams: Arc::new(Mutex::new(streams)) }
    }

    /// A stream serves.
    pub(crate) fn serves(&self, stream: usize) {
        self.change(|streams| {
            let again = std::mem::replace(&mut streams.known[stream], true);
            streams.up[stream] = true;
            if again {
                self.context.status.reconnected()
            } else {
                self.context.status.consuming()
            }
            if streams.told.take().is_some() {
                tracing::info!(source.name = self.context.name, "consuming again");
            }
        });
    }

    /// A stream has ended, as each does from time to time.
    pub(crate) fn ended(&self, stream: usize, why: &str) {
        tracing::debug!(source.name = self.context.name, stream, why, "stream ended; opening it again");
        self.change(|streams| {
            streams.up[stream] = false;
            if !streams.up.contains(&true) {
                self.context.status.connecting();
            }
        });
    }

    /// A stream cannot be opened.
    pub(crate) fn failed(&self, stream: usize, problem: &str) {
        self.change(|streams| {
            streams.up[stream] = false;
            if streams.up.contains(&true) {
                return;
            }
            self.context.status.failing(problem);
            let said = streams.told.as_deref() == Some(problem);
            if !said {
                tracing::warn!(source.name = self.context.name, problem, "cannot consume; trying on");
                streams.told = Some(problem.to_owned());
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Streams)) {
        change(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

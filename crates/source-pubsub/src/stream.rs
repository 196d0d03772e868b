//! One StreamingPull stream: opened, read, and opened again when it ends, for as long as the source lives.
//!
//! The service ends streams as it likes, after half an hour or when it moves; that is no fault. What was received stays
//! leased, whatever becomes of the stream that brought it.

use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use futures_util::stream::unfold;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tonic::{Status, Streaming};

use crate::api::Api;
use crate::error::{explain, is_transient};
use crate::health::Health;
use crate::lease::{AckId, Leases};
use crate::wire::{PubsubMessage, StreamingPullRequest, StreamingPullResponse};

/// How often a sign of life is sent; the service ends a stream that is silent for some 75 s.
const PING: Duration = Duration::from_secs(25);
/// A server that does not answer signs of life says nothing at all until there is a message.
const SILENT_OPEN: Duration = Duration::from_secs(10);
/// How long the service may take to end a stream that we end.
const GOODBYE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A message that has come and is not handed out yet. Its lease is kept alive.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) id: AckId,
    pub(crate) message: PubsubMessage,
    pub(crate) attempt: Option<u32>,
    /// Its size on the wire, as the flow control counts it.
    pub(crate) bytes: usize,
}

/// One stream of a source.
pub(crate) struct Stream {
    pub(crate) api: Api,
    pub(crate) number: usize,
    pub(crate) opening: StreamingPullRequest,
    pub(crate) fetched: mpsc::Sender<Fetched>,
    pub(crate) leases: Leases,
    pub(crate) health: Health,
    /// Set when the source closes.
    pub(crate) stop: watch::Receiver<bool>,
}

/// How a stream was over.
enum End {
    /// We ended it.
    Stopped,
    /// It served, and the service or the network ended it.
    Over(Status),
    /// It never served, or ended for a reason that somebody must mend.
    Fault(Status),
}

impl Stream {
    /// Reads until the source closes.
    pub(crate) async fn run(mut self) {
        let mut pauses = pauses();
        let doing = format!("consuming `{}`", self.api.subscription());
        loop {
            let begun = Instant::now();
            match self.once().await {
                End::Stopped => return,
                End::Over(status) => {
                    self.health.ended(self.number, status.message());
                    // One that ends as soon as it serves must not be opened in a tight loop.
                    if begun.elapsed() > LONGEST_PAUSE {
                        pauses.reset();
                    }
                }
                End::Fault(status) => self.health.failed(self.number, &explain(&status, &doing).to_string()),
            }
            let pause = pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
            tokio::select! {
                () = stopped(&mut self.stop) => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn once(&self) -> End {
        let mut stop = self.stop.clone();
        // Answers to the second request come at once, and with them the first sign of life.
        let (requests, queue) = mpsc::channel(2);
        let _ = requests.try_send(self.opening.clone());
        let _ = requests.try_send(StreamingPullRequest::default());
        let queue = unfold(queue, async |mut queue| queue.recv().await.map(|request| (request, queue)));
        let mut served = false;
        let mut stream = {
            let api = self.api.clone();
            let opening = api.streaming_pull(queue);
            tokio::pin!(opening);
            loop {
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => {
                        // It may have been opened already, and bring messages.
                        drop(requests);
                        if let Ok(Ok(mut stream)) = timeout(GOODBYE, opening).await {
                            self.drain(&mut stream).await;
                        }
                        return End::Stopped;
                    }
                    opened = &mut opening => match opened {
                        Ok(stream) => break stream,
                        Err(status) if served && is_transient(&status) => return End::Over(status),
                        Err(status) => return End::Fault(status),
                    },
                    () = sleep(SILENT_OPEN), if !served => {
                        served = true;
                        self.health.serves(self.number);
                    }
                }
            }
        };
        let mut ping = interval_at(Instant::now() + PING, PING);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => {
                    drop(requests);
                    self.drain(&mut stream).await;
                    return End::Stopped;
                }
                response = stream.message() => match response {
                    Ok(Some(response)) => {
                        if !std::mem::replace(&mut served, true) {
                            self.health.serves(self.number);
                        }
                        self.take(response).await;
                    }
                    Ok(None) => return End::Over(Status::ok("ended")),
                    Err(status) if served && is_transient(&status) => return End::Over(status),
                    Err(status) => return End::Fault(status),
                },
                _ = ping.tick() => {
                    let _ = requests.try_send(StreamingPullRequest::default());
                }
            }
        }
    }

    /// Reads what is on its way, so that it can be given back instead of waiting for its lease to end.
    async fn drain(&self, stream: &mut Streaming<StreamingPullResponse>) {
        let rest = async {
            while let Ok(Some(response)) = stream.message().await {
                self.take(response).await;
            }
        };
        let _ = timeout(GOODBYE, rest).await;
    }

    async fn take(&self, response: StreamingPullResponse) {
        let fetched: Vec<_> = response.received_messages.into_iter().filter_map(fetched).collect();
        self.leases.add(fetched.iter().map(|fetched| Arc::clone(&fetched.id)));
        for fetched in fetched {
            // Fails only when the source is gone; what is left comes back when its lease ends.
            let _ = self.fetched.send(fetched).await;
        }
    }
}

/// Waits until the source closes, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn fetched(received: crate::wire::ReceivedMessage) -> Option<Fetched> {
    let message = received.message?;
    let attempt = u32::try_from(received.delivery_attempt).ok().filter(|attempt| *attempt > 0);
    Some(Fetched { bytes: message.encoded_len(), id: received.ack_id.into(), message, attempt })
}

/// Growing pauses with jitter, without an end.
pub(crate) fn pauses() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_PAUSE)
        .with_multiplier(2.0)
        .with_randomization_factor(0.25)
        .with_max_interval(LONGEST_PAUSE)
        .with_max_elapsed_time(None)
        .build()
}

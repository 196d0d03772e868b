//! Takes slices of the fleet's timelines: requests that come while one is under way go together in the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::ports::{RateLanes, SlotAsk, SlotGrant};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::HORIZON;

/// Endpoints per request at most.
const MOST: usize = 1_000;
/// How long the next request waits after one that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// What requests brought.
#[derive(Debug)]
pub(in crate::dispatch) struct Granted {
    /// After the call.
    pub(in crate::dispatch) at: Instant,
    /// Each request with its answer; `None` where the call failed.
    pub(in crate::dispatch) answers: Vec<(SlotAsk, Option<SlotGrant>)>,
}

/// The task that asks.
pub(in crate::dispatch) struct Slices<Q> {
    pub(in crate::dispatch) queue: Arc<Q>,
    /// Unbounded, but one per endpoint at most.
    pub(in crate::dispatch) asks: mpsc::UnboundedReceiver<SlotAsk>,
    /// Unbounded, but one per request.
    pub(in crate::dispatch) granted: mpsc::UnboundedSender<Granted>,
    pub(in crate::dispatch) stop: CancellationToken,
}

impl<Q: RateLanes> Slices<Q> {
    /// Runs until `stop` is cancelled or nobody asks any more.
    pub(in crate::dispatch) async fn run(mut self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut asks = Vec::new();
            let mut failing = false;
            while self.asks.recv_many(&mut asks, MOST).await > 0 {
                let result = self.queue.take_slots(&asks, HORIZON).await;
                let at = Instant::now();
                let grants = match result {
                    Ok(grants) => {
                        failing = false;
                        grants
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(%error, "endpoints with a rate limit wait: no slots");
                        }
                        tokio::time::sleep(PAUSE).await;
                        Vec::new()
                    }
                };
                let grants: HashMap<_, _> = grants.into_iter().map(|grant| (grant.endpoint, grant)).collect();
                let answer = |ask: SlotAsk| (ask, grants.get(&ask.endpoint).copied());
                let answers: Vec<_> = asks.drain(..).map(answer).collect();
                let taken: u64 =
                    answers.iter().filter_map(|(_, grant)| *grant).map(|grant| u64::from(grant.count)).sum();
                metrics::counter!("dispatch_rate_slots_taken_total").increment(taken);
                // Fails only when the dispatcher has ended.
                let _ = self.granted.send(Granted { at, answers });
            }
        })
        .await;
    }
}

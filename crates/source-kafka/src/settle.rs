//! Notes how messages ended. Nothing here waits for the broker: positions are committed by the reading thread.

use std::sync::Arc;
use std::time::Duration;

use longshore_source::{Settled, Settlements};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::ledger::{Effect, Handle};
use crate::shared::Shared;

/// How many settlements are taken at once.
const ROUND: usize = 4096;
/// A message is kept away at most this long.
const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// Runs until the source is dropped, or is closed and everything is settled or the deadline that `close` sends has
/// passed.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut settlements: Settlements<Handle>,
    mut close: oneshot::Receiver<Instant>,
) {
    let mut round = Vec::with_capacity(ROUND);
    let mut deadline = None;
    loop {
        if deadline.is_some() && settlements.taken() == 0 {
            return;
        }
        tokio::select! {
            biased;
            at = &mut close, if deadline.is_none() => match at {
                Ok(at) => deadline = Some(at),
                Err(_) => return,
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
            count = settlements.next_many(&mut round, ROUND) => {
                if count == 0 {
                    return;
                }
                let (mut acked, mut returned, mut stale) = (0, 0, 0);
                let mut ledger = shared.ledger();
                for settlement in &round {
                    let effect = match &settlement.how {
                        Settled::Ack(_) => ledger.acked(settlement.handle),
                        Settled::Retry(after) => {
                            let after = after.unwrap_or_default().min(LONGEST_HOLD);
                            ledger.returned(settlement.handle, Instant::now() + after)
                        }
                        // Nothing was stored of what is refused, so it must not vanish.
                        Settled::Refuse(_) => ledger.returned(settlement.handle, Instant::now()),
                    };
                    match effect {
                        Effect::Acked => acked += 1,
                        Effect::Returned => returned += 1,
                        Effect::Stale => stale += 1,
                    }
                }
                drop(ledger);
                shared.context.status.acked(acked);
                shared.context.status.returned(returned);
                shared.context.status.stale(stale);
                // Gives the slots back.
                round.clear();
                shared.stir();
            }
        }
    }
}

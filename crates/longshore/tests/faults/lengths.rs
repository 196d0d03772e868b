//! How long and how much: short by default, the real lengths in `make soak`.
//!
//! What is shortened is said in each note, so that the table never claims more than was run.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;

/// Whether the real lengths are asked for (`LONGSHORE_SOAK`).
pub(crate) fn is_soak() -> bool {
    std::env::var_os("LONGSHORE_SOAK").is_some_and(|value| !value.is_empty())
}

/// How long Postgres is away.
pub(crate) fn postgres_away(kind: BrokerKind) -> Duration {
    match kind {
        _ if is_soak() => Duration::from_secs(600),
        BrokerKind::Quorum => Duration::from_secs(30),
        _ => Duration::from_secs(15),
    }
}

/// How long what piled up meanwhile may take.
pub(crate) fn catching_up() -> Duration {
    Duration::from_secs(if is_soak() { 900 } else { 60 })
}

/// How often the broker is restarted.
pub(crate) fn broker_restarts() -> usize {
    if is_soak() { 20 } else { 3 }
}

/// How long Postgres is slow.
pub(crate) fn postgres_slow() -> Duration {
    Duration::from_secs(if is_soak() { 300 } else { 8 })
}

/// How many processes are replaced in a rolling update.
pub(crate) fn processes() -> usize {
    if is_soak() { 10 } else { 3 }
}

/// How many messages that are stored already come again.
pub(crate) fn duplicates(kind: BrokerKind) -> u64 {
    match kind {
        // Their test servers take some hundred a second, or keep everything in memory.
        BrokerKind::Sqs | BrokerKind::PubSub => {
            if is_soak() {
                100_000
            } else {
                4_000
            }
        }
        _ => {
            if is_soak() {
                1_000_000
            } else {
                20_000
            }
        }
    }
}

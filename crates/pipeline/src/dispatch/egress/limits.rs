//! How many files this process may have open, and what follows for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are no connection of ours to a receiver: sources, probes, logs, the runtime's own.
const RESERVE: u64 = 256;
/// More idle connections are worth nothing.
const MOST_KEPT: u64 = 16_384;

/// Raises the soft limit of open files to the hard one and returns what is in force; `u64::MAX` for none.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Where there is no hard limit, some systems refuse to have no soft one.
    let wanted = maximum.unwrap_or(1 << 20);
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections to receivers are kept open, and whether the limit is too small for what is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionBudget {
    /// With more open than this, connections are closed after their use.
    pub kept: usize,
    /// What the limit of open files should at least be, when it is less.
    pub wanted: Option<u64>,
}

impl ConnectionBudget {
    /// Of `files` that may be open: `in_flight` attempts at once, `others` for clients and databases.
    #[must_use]
    pub fn of(files: u64, in_flight: usize, others: usize) -> Self {
        let in_flight = u64::try_from(in_flight).unwrap_or(u64::MAX);
        let others = u64::try_from(others).unwrap_or(u64::MAX);
        let needed = in_flight.saturating_add(others).saturating_add(RESERVE);
        // An attempt that begins while many are open adds one more, so what is kept comes on top of those in flight.
        // Too small a limit is told, and never means that nothing is kept.
        let kept = (files.saturating_sub(needed) / 2).max(files / 8).min(MOST_KEPT);
        let wanted = needed.saturating_add(in_flight);
        Self { kept: usize::try_from(kept).unwrap_or(usize::MAX), wanted: (files < wanted).then_some(wanted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_leaves_room_for_the_rest() {
        let budget = |files| ConnectionBudget::of(files, 1_000, 500);

        assert_eq!(budget(1_024), ConnectionBudget { kept: 128, wanted: Some(2_756) });
        assert_eq!(budget(2_755).wanted, Some(2_756));
        assert_eq!(budget(2_756), ConnectionBudget { kept: 500, wanted: None });
        assert_eq!(budget(u64::MAX).kept, 16_384);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_open_files();

        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(limit, current.unwrap_or(u64::MAX));
        assert!(maximum.is_none_or(|maximum| limit == maximum));
    }
}

//! The states of a delivery, as drawn in `docs/delivery-states.md`.

use std::fmt;
use std::str::FromStr;

/// Where a delivery stands. The spelling is the public contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waiting for its first attempt in Postgres, owned by nobody.
    Scheduled,
    /// Claimed by a process.
    Processing,
    /// At least one attempt failed; waiting for the next in Postgres.
    Retry,
    /// Delivered.
    Success,
    /// Given up.
    Failure,
    /// Never sent: the endpoint was not active when its turn came.
    Discarded,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Scheduled, Self::Processing, Self::Retry, Self::Success, Self::Failure, Self::Discarded];

    /// The word used on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "Scheduled",
            Self::Processing => "Processing",
            Self::Retry => "Retry",
            Self::Success => "Success",
            Self::Failure => "Failure",
            Self::Discarded => "Discarded",
        }
    }

    /// Whether nothing more will happen by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Discarded)
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a delivery state")]
pub struct UnknownState(String);

impl FromStr for DeliveryState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_round_trip_and_unknown_ones_are_named() {
        for state in DeliveryState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("success".parse::<DeliveryState>().unwrap_err().to_string().contains("`success`"));
    }

    #[test]
    fn three_states_are_final() {
        let last: Vec<_> = DeliveryState::ALL.into_iter().filter(|state| state.is_final()).collect();

        assert_eq!(last, [DeliveryState::Success, DeliveryState::Failure, DeliveryState::Discarded]);
    }
}

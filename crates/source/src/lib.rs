//! The plug-in contract: how messages come into Longshore and how their life at the broker ends.
//!
//! What it is for: anyone can write a source against this crate alone. What it does not do: decode, store or
//! match; it knows nothing of events. Invariant: a message that was handed out is settled exactly once, and
//! the default is redelivery.
pub mod ack;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod error;
pub mod in_flight;
pub mod lease;
pub mod memory;
pub mod message;
pub mod offsets;
pub mod source;

pub use ack::{AckToken, Settled};
pub use error::SourceError;
pub use in_flight::{Settlement, Settlements, Slots, Tracker, in_flight};
pub use message::{Headers, Message, Position, Receipt, Refusal, Route};
pub use source::{Features, Source};

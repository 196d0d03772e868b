//! The heart of Longshore: message → durable event → matched → dispatched → recorded.
//!
//! ```text
//! source ─recv─▶ decode ─▶ dedupe ─▶ match ─▶ reserve ─▶ persist ─▶ hand over ─▶ ack            (ingest)
//!                                        │                            │
//!                                        ▼ surplus: schedule          ▼ in memory, already claimed
//!                                    Postgres ──claim (due)──▶ lanes by endpoint ─▶ sign ─▶ send ─▶ judge ─▶ record
//!                                                                                               (dispatch)
//! ```
//!
//! What it does not do: speak SQL, a broker's protocol or a config file's. It names only the ports of
//! [`longshore_core::ports`] and the contract of [`longshore_source`].
//!
//! Invariants: a message is acked if and only if its bytes are durable (`ingest::batch` has the one call of
//! `ack`); an attempt is made only under a live claim; what is in memory is bounded by the [`Ledger`].

pub mod dispatch;
pub mod ingest;
mod intake;
mod ledger;

pub use intake::{Exhausted, Intake, Standing};
pub use ledger::{Ledger, LedgerLimits};

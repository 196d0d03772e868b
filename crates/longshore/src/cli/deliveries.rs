//! `deliveries …` and `events …`

use std::time::Duration;

use clap::{Args, Subcommand};
use longshore_core::delivery::DeliveryState;
use longshore_core::{EventId, Timestamp, duration};

/// `deliveries …`
#[derive(Debug, Subcommand)]
pub(crate) enum DeliveriesCommand {
    /// Tries deliveries again that ended: those of a project that fit every filter.
    ///
    /// Their attempts are counted from 0; those made stay on record. Deliveries whose event is gone, or whose endpoint is
    /// gone or switched off, are left alone.
    Retry(RetryArgs),
}

/// `deliveries retry`
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The project: its name or id.
    #[arg(long)]
    pub(crate) project: String,
    /// `failure`, `discarded`, or `success` to send again what was delivered. Repeatable.
    #[arg(long = "status", value_name = "STATUS", value_parser = ended_state, default_value = "failure")]
    pub(crate) states: Vec<DeliveryState>,
    /// Only to this endpoint: its name or id. Repeatable.
    #[arg(long = "endpoint", value_name = "ENDPOINT")]
    pub(crate) endpoints: Vec<String>,
    /// Only of this event.
    #[arg(long, value_name = "ID")]
    pub(crate) event: Option<EventId>,
    /// Only of events of this type.
    #[arg(long, value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Only those made at this time or later, e.g. `2026-01-31T12:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Timestamp>,
    /// Only those made before this time; now when it is left out.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Timestamp>,
    /// Counts them and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `events …`
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Prints events as they are stored, until it is stopped.
    ///
    /// Looks once a second. Events that come faster than it can show are counted.
    Tail(TailArgs),
}

/// `events tail`
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The project: its name or id.
    pub(crate) project: String,
    /// Only events of this type.
    #[arg(long, value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Begins with those stored so long ago.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub(crate) since: Duration,
    /// Ends after so many events.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
    /// Prints a JSON object for each.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A state in which a delivery is over, in whatever case.
fn ended_state(text: &str) -> Result<DeliveryState, String> {
    let ended = [DeliveryState::Failure, DeliveryState::Discarded, DeliveryState::Success];
    let found = ended.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "write `failure`, `discarded` or `success`".to_owned())
}

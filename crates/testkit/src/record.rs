//! What a fault test saw, as a line of JSON: `docs/reliability.md` is made of these by `scripts/reliability`.

use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::json;

use crate::broker::BrokerKind;

/// The variable that names the file. Without it nothing is written.
pub const FILE: &str = "LONGSHORE_RECORDS";

/// The figures of one scenario on one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number and title, the same on every broker.
    pub scenario: &'static str,
    /// On which broker.
    pub broker: BrokerKind,
    /// Messages the broker confirmed.
    pub published: usize,
    /// Of them and of those sent without an answer: how many became an event, or are in quarantine.
    pub stored: usize,
    /// How many arrived at their endpoint.
    pub delivered: usize,
    /// Published and not stored.
    pub lost: usize,
    /// Events beyond the first of a message.
    pub doubled: usize,
    /// What else is worth knowing, for people.
    pub note: String,
}

impl Record {
    /// Appends it to the file that [`FILE`] names, if one is named.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn append(&self) {
        let Some(path) = std::env::var_os(FILE) else { return };
        let line = json!({
            "scenario": self.scenario,
            "broker": self.broker.to_string(),
            "published": self.published,
            "stored": self.stored,
            "delivered": self.delivered,
            "lost": self.lost,
            "doubled": self.doubled,
            "note": self.note,
        });
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.unwrap_or_else(|error| panic!("{FILE} cannot be written: {error}"));
    }
}

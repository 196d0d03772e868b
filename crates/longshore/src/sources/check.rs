//! Connects to sources without consuming: says what would be wrong before anything is started or written.

use tokio::task::JoinSet;

use super::broker::Broker;

/// A source to check: what it is called, and its broker or why there is none.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) broker: Result<Broker, String>,
}

/// What became of a check: warnings, or what is wrong.
pub(crate) struct Checked {
    pub(crate) name: String,
    pub(crate) outcome: Result<Vec<String>, String>,
}

/// Checks all at once, each within its ten seconds; in the order in which they were given.
pub(crate) async fn check(candidates: Vec<Candidate>) -> Vec<Checked> {
    let mut checks = JoinSet::new();
    for (index, Candidate { name, broker }) in candidates.into_iter().enumerate() {
        checks.spawn(async move {
            let outcome = match broker {
                Ok(broker) => broker.check().await,
                Err(problem) => Err(problem),
            };
            (index, Checked { name, outcome })
        });
    }
    let mut checked = checks.join_all().await;
    checked.sort_by_key(|(index, _)| *index);
    checked.into_iter().map(|(_, checked)| checked).collect()
}

impl Checked {
    /// For people, one line and one more for each warning.
    pub(crate) fn lines(&self) -> String {
        let name = &self.name;
        match &self.outcome {
            Ok(warnings) => {
                let warnings = warnings.iter().map(|warning| format!("\n  warning: {warning}"));
                format!("{name}: ok{}", warnings.collect::<String>())
            }
            Err(problem) => format!("{name}: {problem}"),
        }
    }
}

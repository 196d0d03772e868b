//! The titles of the scenarios in `docs/reliability.md`, and how a verdict gets there.

use longshore_testkit::record::Record;

use crate::stage::Stage;
use crate::tally::Tally;

pub(crate) const KILL: &str = "1 `kill -9` between commit and acknowledgement";
pub(crate) const KILLS: &str = "1b `kill -9` at random moments";
pub(crate) const POSTGRES_AWAY: &str = "2 Postgres away under load";
pub(crate) const POSTGRES_SLOW: &str = "3 Postgres slow";
pub(crate) const RESTARTS: &str = "4 broker restarted under load";
pub(crate) const ROLLING: &str = "5 rolling update of the fleet";
pub(crate) const POISON: &str = "6 1 % poison";
pub(crate) const TENANT: &str = "7 one tenant sends 90 %";
pub(crate) const CREDENTIALS: &str = "8 credentials rotated";
pub(crate) const DUPLICATES: &str = "9 flood of duplicates";
pub(crate) const FORMATS: &str = "10 envelope and CloudEvents mixed";
#[cfg(feature = "soak-tests")]
pub(crate) const SOAK: &str = "11 steady load beside an open transaction";
pub(crate) const MEMBERS: &str = "13 members join and leave";
pub(crate) const RECREATED: &str = "14 topic deleted and made anew";
pub(crate) const SIZES: &str = "12 bodies of 256 KB, 1 MB and 10 MB";

impl Tally {
    /// Asserts that everything published is stored exactly once and delivered at least once; gives the record, to be
    /// appended when everything else holds too.
    #[must_use]
    pub(crate) fn pass(&self, stage: &Stage, scenario: &'static str, note: impl Into<String>) -> Record {
        let (broker, note) = (stage.queue.kind(), note.into());
        self.assert_exactly_once_stored(&format!("{scenario}, {broker}: {note}"));
        let Self { published, stored, delivered, lost, doubled, .. } = *self;
        Record { scenario, broker, published, stored, delivered, lost, doubled, note }
    }
}

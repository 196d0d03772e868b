//! Faults on purpose, against a real Postgres, real brokers and the real program.
//!
//! What it is for: the promises of delivery, asserted from outside only: rows in Postgres, requests at a receiver,
//! the depth of a queue, exit codes, memory. What it does not do: look inside the program. Invariant: a message
//! counts as published when the broker has confirmed it; what it has not confirmed may arrive or not, but not twice.
//!
//! Each scenario runs on every broker it applies to (`brokers::on!`); its verdict goes to the table of
//! `docs/reliability.md` when `LONGSHORE_RECORDS` names a file.
//!
//! Outages stop servers of their own, everything else uses the servers that the environment names. Run it alone and
//! with `--test-threads=1`, as `scripts/test` does; `--nocapture` shows the figures.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "the figures of each run are for people")]

mod bare;
mod brokers;
mod changes;
mod credentials;
mod flood;
mod following;
mod formats;
mod http;
mod isolation;
mod kafka;
mod kills;
mod lengths;
mod limits;
mod load;
mod neighbours;
mod ordering;
mod outages;
mod poison;
mod reconcile;
mod record;
mod retries;
mod rolling;
mod sizes;
mod slow;
#[cfg(feature = "soak-tests")]
mod soak;
mod stage;
mod stop;
mod tally;
mod tenants;

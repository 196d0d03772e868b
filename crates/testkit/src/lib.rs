//! Parts for Longshore's own tests: servers, receivers, faults, and a store in memory.
//!
//! What it is for: tests assert behaviour from outside, against real servers, and make every fault happen on
//! purpose. What it does not do: it stands in for no server that a test could have for real, and nothing of it
//! is part of the product. Invariant: a value that starts something stops it on drop.
//!
//! Everything here panics with a sentence when a test's surroundings are not as they must be: a test has no
//! better answer. The servers come from `scripts/servers`; `make test` starts them, and
//! `eval "$(scripts/servers env DIR)"` names running ones to a `cargo test` by hand.
//!
//! | module | holds |
//! |---|---|
//! | [`broker`] | a queue of its own on any broker, under one name |
//! | [`chaos`] | a TCP proxy that cuts, resets and stalls |
//! | [`clock`] | a [`longshore_core::Clock`] on tokio's time, which tests can pause |
//! | [`database`] | a database of its own for each test |
//! | [`dns`] | a DNS server that answers by script |
//! | [`gateway`] | the `longshore` binary as a child process, killed and restarted |
//! | `kafka` | topics of its own for each test, transactions, what a group has left (feature `kafka`) |
//! | [`memory`] | the store's two ports in memory, with fault knobs |
//! | `pubsub` | (feature `pubsub`) topics and subscriptions of its own for each test, publishing, what is left |
//! | [`rabbitmq`] | queues of its own for each test, publishing, depth |
//! | [`proxy`] | HTTP CONNECT and SOCKS 5 proxies that keep what they were asked |
//! | [`publication`] | a message about to be published, as every broker has it |
//! | [`record`] | what a fault test saw, for the table of `docs/reliability.md` |
//! | [`receiver`] | a webhook receiver that answers by script and checks signatures |
//! | [`servers`] | servers of its own for a test that stops them |
//! | [`smtp`] | a mail server that keeps what it is handed |
//! | `tls` | (feature `tls`) authorities and certificates made on the spot |
//! | `sqs` | with the feature `sqs`: queues of its own for each test on an SQS server, publishing, depth |

#![expect(clippy::panic, reason = "a test whose surroundings are broken has no better answer")]
#![expect(clippy::print_stderr, reason = "what a failed test needs to be understood goes to its output")]

pub mod broker;
pub mod chaos;
pub mod clock;
pub mod database;
pub mod dns;
pub mod gateway;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod proxy;
pub mod publication;
#[cfg(feature = "pubsub")]
pub mod pubsub;
pub mod rabbitmq;
pub mod receiver;
pub mod record;
pub mod servers;
pub mod smtp;
#[cfg(feature = "sqs")]
pub mod sqs;
#[cfg(feature = "tls")]
pub mod tls;
mod unique;

pub use unique::free_addr;

/// The value of an environment variable that names a server, or a panic that says where servers come from.
fn server_url(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(url) if !url.is_empty() => url,
        _ => panic!(
            "{variable} is not set: run `make test`, or start servers with `scripts/servers up DIR` and name \
             them with `eval \"$(scripts/servers env DIR)\"`"
        ),
    }
}

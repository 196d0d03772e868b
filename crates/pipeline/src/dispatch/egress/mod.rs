//! How requests leave: what they may reach, by which way, as whom.
//!
//! | module | holds |
//! |---|---|
//! | `address` | the table of special addresses |
//! | `guard` | which addresses webhooks may go to |
//! | `url` | which URLs, as written and as parsed |
//! | `resolver`, `cache` | names to addresses, remembered |
//! | `connector`, `stream` | connections, checked and counted |
//! | `proxy`, `tunnel` | the way through a project's proxy |
//! | `tls`, `trust` | certificates, ours and theirs |
//! | `clients` | keep-alive clients by way |
//! | `oauth2`, `assertion` | tokens |
//! | `fault` | what went wrong, by class |
//! | `limits` | open files |
//!
//! What it does not do: build requests or judge answers. Invariant: no byte goes to an address that the guard has not
//! permitted for that project at the moment of connecting.

mod address;
mod assertion;
mod cache;
pub(super) mod clients;
mod connector;
pub(super) mod fault;
mod guard;
mod limits;
mod oauth2;
mod proxy;
mod resolver;
mod stream;
mod tls;
mod trust;
mod tunnel;
mod url;

pub(super) mod sender;

use longshore_core::Secret;

pub use self::url::{EgressRules, UrlError};
pub use assertion::AssertionKey;
pub use clients::Route;
pub use guard::{Denial, Guard};
pub use limits::{ConnectionBudget, raise_open_files};
pub use oauth2::check as check_oauth2;
pub use resolver::DnsSettings;
pub use tls::{authorities, client_certificate};

/// Checks a proxy's URL.
///
/// # Errors
/// What is wrong with it, without its credentials.
pub fn check_proxy(url: &Secret<String>) -> Result<(), String> {
    proxy::Proxy::parse(url).map(|_| ())
}

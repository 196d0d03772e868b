//! The SSRF guard: which addresses webhooks may go to.
//!
//! Two tiers may let special addresses through: the operator by networks, a project by hosts, but only within the
//! networks that the operator lets projects open. What it does not do: resolve names. Invariants: an address inside of
//! another (NAT64, 6to4 and the like) is judged as itself; a metadata service's address passes only if the operator
//! lists that very address.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{embedded, is_metadata, special};

/// Which addresses webhooks may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    allowed: Vec<IpNet>,
    openable: Vec<IpNet>,
}

/// Why webhooks do not go to an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    /// The address.
    pub address: IpAddr,
    /// What it is, e.g. `private (10.0.0.0/8)`.
    pub rule: &'static str,
    /// Whether it is a metadata service's, which no network opens by the way.
    pub is_metadata: bool,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the address {} is {}; ", self.address, self.rule)?;
        if self.is_metadata {
            f.write_str("webhooks go there only if `security.allowed_networks` lists that very address")
        } else {
            f.write_str(
                "webhooks go there only if `security.allowed_networks` lets them, or the project's \
                 `egress.allowed_hosts` within `security.project_networks`",
            )
        }
    }
}

impl Guard {
    /// A guard that lets through global unicast addresses and those networks, and lets projects open hosts in the
    /// `openable` ones.
    #[must_use]
    pub const fn new(allowed: Vec<IpNet>, openable: Vec<IpNet>) -> Self {
        Self { allowed, openable }
    }

    /// What of a project's hosts can have an effect: nothing where projects may open nothing.
    #[must_use]
    pub fn effective<'a>(&self, opened: &'a [String]) -> &'a [String] {
        if self.openable.is_empty() { &[] } else { opened }
    }

    /// Whether a webhook may go to that address, for a project that opened those hosts, by that name if it has one.
    ///
    /// # Errors
    /// [`Denial`] with the rule.
    pub fn check(&self, address: IpAddr, name: Option<&str>, opened: &[String]) -> Result<(), Denial> {
        let canonical = address.to_canonical();
        self.judge(canonical, name, opened)?;
        if let IpAddr::V6(v6) = canonical
            && let Some(inner) = embedded(v6)
        {
            // What is reached in the end is what counts.
            self.judge(inner.into(), name, opened).map_err(|denial| Denial { address, ..denial })?;
        }
        Ok(())
    }

    fn judge(&self, address: IpAddr, name: Option<&str>, opened: &[String]) -> Result<(), Denial> {
        if is_metadata(address) {
            let is_listed = self.allowed.contains(&IpNet::from(address));
            let denial = Denial { address, rule: "a cloud's metadata service", is_metadata: true };
            return if is_listed { Ok(()) } else { Err(denial) };
        }
        let Some(rule) = special(address) else { return Ok(()) };
        let holds = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if holds(&self.allowed) || (opens(opened, address, name) && holds(&self.openable)) {
            return Ok(());
        }
        Err(Denial { address, rule, is_metadata: false })
    }
}

fn opens(opened: &[String], address: IpAddr, name: Option<&str>) -> bool {
    opened.iter().any(|host| match host.parse::<IpAddr>() {
        Ok(listed) => listed.to_canonical() == address,
        Err(_) => name.is_some_and(|name| name.eq_ignore_ascii_case(host)),
    })
}

#[cfg(test)]
mod tests;

//! The SSRF guard: which addresses webhooks may go to.
//!
//! Applied to the addresses a name resolves to, at connect time, so that a name that changes its mind between check and
//! connection gains nothing; and to literal addresses before the request. Only global unicast passes, plus what the
//! operator lists. Ranges: IANA special-purpose address registries (RFC 6890 and its updates).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Which addresses webhooks may go to.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

impl Guard {
    /// A guard that lets through global unicast addresses and those networks.
    #[must_use]
    pub const fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether a webhook may go to that address.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&canonical) || network.contains(&address))
            || match canonical {
                IpAddr::V4(v4) => is_global_v4(v4),
                IpAddr::V6(v6) => is_global_v6(v6),
            }
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    !matches!(
        (a, b, c, d),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, ..)
            | (169, 254, ..)
            | (172, 16..=31, ..)
            | (192, 0, 0 | 2, _)
            | (192, 88, 99, _)
            | (192, 168, ..)
            | (198, 18 | 19, ..)
            | (198, 51, 100, _)
            | (203, 0, 113, _)
            // A cloud's metadata server on an address that looks public.
            | (168, 63, 129, 16)
    )
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let is_unicast = segments[0] & 0xe000 == 0x2000;
    let is_special = match segments {
        // Teredo, ORCHID and the other protocol assignments; documentation; 6to4, whose embedded address counts.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => true,
        // ISATAP: an IPv4 address behind a fixed interface id.
        [_, _, _, _, 0 | 0x0200, 0x5efe, ..] => true,
        _ => false,
    };
    is_unicast && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(guard: &Guard, text: &str) -> bool {
        guard.permits(text.parse().unwrap())
    }

    #[test]
    fn special_addresses_are_refused_in_every_spelling() {
        let guard = Guard::default();
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "2a00::200:5efe:7f00:1",
        ] {
            assert!(!permits(&guard, text), "{text}");
        }
    }

    #[test]
    fn global_addresses_pass() {
        let guard = Guard::default();
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(permits(&guard, text), "{text}");
        }
    }

    #[test]
    fn the_operators_networks_pass_and_nothing_beside_them() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap(), "fd12::/16".parse().unwrap()]);

        assert!(
            permits(&guard, "127.9.9.9") && permits(&guard, "::ffff:127.0.0.1") && permits(&guard, "fd12::1")
        );
        assert!(!permits(&guard, "10.0.0.1") && !permits(&guard, "fd13::1") && !permits(&guard, "::1"));
    }
}

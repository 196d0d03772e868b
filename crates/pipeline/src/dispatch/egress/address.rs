//! What is special about an address: the table of those that webhooks do not go to.
//!
//! Ranges: the IANA special-purpose address registries (RFC 6890 and its updates) and the metadata services of clouds.
//! What it does not do: decide; the [`Guard`](super::Guard) does. Invariant: an address that is no global unicast has
//! a rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

const SPECIAL_V4: [(Ipv4Net, &str); 17] = [
    (v4(127, 0, 0, 0, 8), "loopback (127.0.0.0/8)"),
    (v4(10, 0, 0, 0, 8), "private (10.0.0.0/8)"),
    (v4(172, 16, 0, 0, 12), "private (172.16.0.0/12)"),
    (v4(192, 168, 0, 0, 16), "private (192.168.0.0/16)"),
    (v4(100, 64, 0, 0, 10), "shared by a carrier (100.64.0.0/10)"),
    (v4(169, 254, 0, 0, 16), "link-local (169.254.0.0/16)"),
    (v4(0, 0, 0, 0, 8), "of this host (0.0.0.0/8)"),
    (v4(192, 0, 0, 0, 24), "reserved for protocols (192.0.0.0/24)"),
    (v4(192, 0, 2, 0, 24), "for documentation (192.0.2.0/24)"),
    (v4(198, 51, 100, 0, 24), "for documentation (198.51.100.0/24)"),
    (v4(203, 0, 113, 0, 24), "for documentation (203.0.113.0/24)"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay (192.88.99.0/24)"),
    (v4(192, 31, 196, 0, 24), "for AS112 (192.31.196.0/24)"),
    (v4(192, 52, 193, 0, 24), "for AMT (192.52.193.0/24)"),
    (v4(198, 18, 0, 0, 15), "for benchmarks (198.18.0.0/15)"),
    (v4(224, 0, 0, 0, 4), "multicast (224.0.0.0/4)"),
    (v4(240, 0, 0, 0, 4), "reserved or broadcast (240.0.0.0/4)"),
];

/// The first that holds names the rule: the narrow ones come before the wide ones.
const SPECIAL_V6: [(Ipv6Net, &str); 14] = [
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback (::1)"),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "of this host (::)"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), "translated (::ffff:0:0:0/96)"),
    (v6([0x64, 0xff9b, 1, 0], 48), "a local translator's (64:ff9b:1::/48)"),
    (v6([0; 4], 8), "compatible or reserved (::/8)"),
    (v6([0xfc00, 0, 0, 0], 7), "unique local (fc00::/7)"),
    (v6([0xfe80, 0, 0, 0], 10), "link-local (fe80::/10)"),
    (v6([0xfec0, 0, 0, 0], 10), "site-local (fec0::/10)"),
    (v6([0xff00, 0, 0, 0], 8), "multicast (ff00::/8)"),
    (v6([0x2001, 0, 0, 0], 32), "Teredo (2001::/32)"),
    (v6([0x2001, 0, 0, 0], 23), "reserved for protocols, ORCHID (2001::/23)"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "for documentation (2001:db8::/32)"),
    (v6([0x2002, 0, 0, 0], 16), "6to4 (2002::/16)"),
    (v6([0x3fff, 0, 0, 0], 20), "for documentation (3fff::/20)"),
];

const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
/// The well-known prefix of NAT64 (RFC 6052): what counts is the address inside.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);
const LOCAL_NAT64: Ipv6Net = v6([0x64, 0xff9b, 1, 0], 48);

/// Where clouds tell a machine its credentials, whatever network the address is in.
const METADATA: [IpAddr; 13] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // nearly every cloud
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS: credentials of a container
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // AWS: identity of a pod
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)), // AWS: the resolver of the network
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),   // Scaleway
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),    // Tencent
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure's wire server, which looks public
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle's former one
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS: identity of a pod
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), // Scaleway
];

/// Names by which metadata services answer: refused whatever they resolve to.
const METADATA_NAMES: [&str; 7] = [
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
    "metadata.packet.net",
];

/// Whether a cloud's metadata service answers at that address.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    METADATA.contains(&address)
}

/// Whether a name, in lower case, is that of a metadata service.
pub(super) fn is_metadata_name(name: &str) -> bool {
    METADATA_NAMES.contains(&name)
}

/// Why an address is none of the public internet's; `None` when it is. IPv4 inside of IPv6 is left to [`embedded`].
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => SPECIAL_V4.iter().find(|(network, _)| network.contains(&v4)).map(|(_, rule)| *rule),
        IpAddr::V6(v6) if NAT64.contains(&v6) => None,
        IpAddr::V6(v6) => {
            let listed = SPECIAL_V6.iter().find(|(network, _)| network.contains(&v6)).map(|(_, rule)| *rule);
            listed.or_else(|| match v6.segments() {
                [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some("ISATAP (::0:5efe:0:0/96)"),
                _ if GLOBAL_V6.contains(&v6) => None,
                _ => Some("not global unicast (outside of 2000::/3)"),
            })
        }
    }
}

/// The IPv4 address that a packet to this IPv6 address may end up at.
pub(super) fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let [.., a, b, c, d] = octets;
    let last = Ipv4Addr::new(a, b, c, d);
    match address.segments() {
        _ if NAT64.contains(&address) => Some(last),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // RFC 6052 section 2.2: with a prefix of 48 bits the address surrounds the ninth octet.
        [.., 0, 0] | [.., _, 0, 0] if LOCAL_NAT64.contains(&address) => {
            Some(Ipv4Addr::new(octets[6], octets[7], octets[9], octets[10]))
        }
        _ if LOCAL_NAT64.contains(&address) => Some(last),
        [0x2002, ..] => Some(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5])),
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!u32::from(last))),
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] | [0, 0, 0, 0, 0 | 0xffff, 0, ..] => Some(last),
        _ => None,
    }
}

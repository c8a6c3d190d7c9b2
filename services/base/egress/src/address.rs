//! Which addresses a fetcher must not reach.
//!
//! In: an address that a name resolved to. Out: why it is refused, or nothing. The table is the
//! union of the IANA special-purpose registries and of tunnels that carry an IPv4 address inside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A network in CIDR notation, such as `10.0.0.0/8` or `fc00::/7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Net {
    address: IpAddr,
    prefix: u8,
}

impl Net {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            prefix,
        }
    }

    /// From the first two groups; all networks of the table are decided by these.
    const fn v6(first: u16, second: u16, prefix: u8) -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)),
            prefix,
        }
    }

    /// Whether the address is in the network. Families do not mix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or_default();
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or_default();
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let (address, prefix) = text.split_once('/').ok_or(NetError)?;
        let address: IpAddr = address.parse().map_err(|_| NetError)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| digits).ok_or(NetError)?;
        let (longest, low_bits) = match address {
            IpAddr::V4(v4) => (32, v4.to_bits().trailing_zeros()),
            IpAddr::V6(v6) => (128, v6.to_bits().trailing_zeros()),
        };
        // Bits below the prefix are a slip of the pen, and one that widens a rule.
        if prefix > longest || low_bits < u32::from(longest - prefix) {
            return Err(NetError);
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Net {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network such as 10.0.0.0/8, with zeros after the prefix")]
pub struct NetError;

/// Never reachable, whatever the operator permits: cloud metadata lives there.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    LINK_LOCAL.iter().any(|net| net.contains(address))
}

/// Why the built-in table refuses a canonical address, if it does.
pub(crate) fn refusal(address: IpAddr) -> Option<&'static str> {
    let row = REFUSED.iter().find(|(net, _)| net.contains(address));
    match row {
        Some((_, reason)) => Some(*reason),
        // RFC 4291 2.4 and IANA: only 2000::/3 is handed out as global unicast so far.
        None if address.is_ipv6() && !GLOBAL_UNICAST.contains(address) => Some("not handed out"),
        None => None,
    }
}

const GLOBAL_UNICAST: Net = Net::v6(0x2000, 0, 3);

const LINK_LOCAL: [Net; 2] = [Net::v4(169, 254, 0, 0, 16), Net::v6(0xfe80, 0, 10)];

const REFUSED: &[(Net, &str)] = &[
    (Net::v4(0, 0, 0, 0, 8), "this network, RFC 791"),
    (Net::v4(10, 0, 0, 0, 8), "private, RFC 1918"),
    (Net::v4(100, 64, 0, 0, 10), "carrier NAT, RFC 6598"),
    (Net::v4(127, 0, 0, 0, 8), "loopback, RFC 1122"),
    (Net::v4(168, 63, 129, 16, 32), "metadata of a cloud"),
    (Net::v4(169, 254, 0, 0, 16), "link-local, RFC 3927"),
    (Net::v4(172, 16, 0, 0, 12), "private, RFC 1918"),
    (Net::v4(192, 0, 0, 0, 24), "protocol assignments, RFC 6890"),
    (Net::v4(192, 0, 2, 0, 24), "documentation, RFC 5737"),
    (Net::v4(192, 88, 99, 0, 24), "6to4 relays, RFC 7526"),
    (Net::v4(192, 168, 0, 0, 16), "private, RFC 1918"),
    (Net::v4(198, 18, 0, 0, 15), "benchmarks, RFC 2544"),
    (Net::v4(198, 51, 100, 0, 24), "documentation, RFC 5737"),
    (Net::v4(203, 0, 113, 0, 24), "documentation, RFC 5737"),
    (Net::v4(224, 0, 0, 0, 4), "multicast, RFC 5771"),
    (Net::v4(240, 0, 0, 0, 4), "reserved and broadcast, RFC 1112"),
    // Unspecified, loopback and the IPv4-compatible addresses in one.
    (Net::v6(0, 0, 96), "inside or obsolete, RFC 4291"),
    (MAPPED, "an IPv4 address in disguise, RFC 4291"),
    (Net::v6(0x64, 0xff9b, 96), "NAT64, RFC 6052"),
    (LOCAL_NAT64, "NAT64, RFC 8215"),
    (Net::v6(0x100, 0, 64), "discard, RFC 6666"),
    (Net::v6(0x2001, 0, 32), "Teredo, RFC 4380"),
    (Net::v6(0x2001, 0xdb8, 32), "documentation, RFC 3849"),
    (Net::v6(0x2002, 0, 16), "6to4, RFC 3056"),
    (Net::v6(0x3fff, 0, 20), "documentation, RFC 9637"),
    (Net::v6(0x5f00, 0, 16), "segment routing, RFC 9602"),
    (Net::v6(0xfc00, 0, 7), "unique local, RFC 4193"),
    (Net::v6(0xfe80, 0, 10), "link-local, RFC 4291"),
    (Net::v6(0xfec0, 0, 10), "site-local, RFC 3879"),
    (Net::v6(0xff00, 0, 8), "multicast, RFC 4291"),
];

/// Callers canonicalise, so that the inner address is judged; what comes here anyway is refused.
const MAPPED: Net = Net {
    address: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)),
    prefix: 96,
};

const LOCAL_NAT64: Net = Net {
    address: IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0)),
    prefix: 48,
};

#[cfg(test)]
mod tests;

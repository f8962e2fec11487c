//! The network that counts as one client.

use std::net::IpAddr;

/// An IPv4 address, or the first half of an IPv6 address: the client can choose only the second half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network(u64);

/// The upper half of the number of an IPv4 address. An IPv6 address that begins with these bits is a
/// multicast address, which is never a client's.
const IPV4: u64 = 0xffff_ffff;

impl Network {
    /// Returns the network of `address`: the address itself for IPv4, even if it is written as IPv6; otherwise its /64.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IPV4 << 32 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }

    /// Returns the larger network that contains this one: a /16 of IPv4, a /32 of IPv6.
    #[must_use]
    pub(super) const fn around(self) -> Self {
        if self.0 >> 32 == IPV4 { Self(self.0 & !0xffff) } else { Self(self.0 & !0xffff_ffff) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn ipv6_counts_by_its_upper_half_and_ipv4_in_full() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
    }

    #[test]
    fn larger_networks_hold_their_neighbours() {
        assert_eq!(network("192.0.2.1").around(), network("192.0.200.7").around());
        assert_ne!(network("192.0.2.1").around(), network("192.1.2.1").around());
        assert_eq!(network("2001:db8:1:2::1").around(), network("2001:db8:7::").around());
    }
}

//! Resolves the host of a store of another provider, and checks its address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv6Net};

use super::{Endpoint, ExternalEndpoints, ExternalStoreError};
use crate::system::outgoing;

/// Networks whose addresses are not public: multicast, and those that are not globally reachable according to the
/// special-purpose registries of IANA (RFC 6890 and later).
static NOT_PUBLIC: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let networks = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/8",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/9",
        "ff00::/8",
    ];
    networks.iter().map(|network| network.parse().expect("these are networks")).collect()
});

/// IPv6 networks whose addresses contain the IPv4 address of the real destination, each with the position of its lowest
/// bit.
const WRAPPED: [(Ipv6Net, u32); 3] = [
    // IPv4-mapped addresses.
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), 0),
    // NAT64.
    (Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96), 0),
    // 6to4.
    (Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), 80),
];

/// Resolves the store's host once, and returns its first permitted address.
pub(super) async fn resolve(
    endpoint: &Endpoint,
    listed: &ExternalEndpoints,
) -> Result<SocketAddr, ExternalStoreError> {
    let found: Vec<IpAddr> = match endpoint.address() {
        Some(address) => vec![address],
        None => match outgoing::addresses(endpoint.host()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(
                    host = endpoint.host(),
                    "cannot resolve the name of an external object store: {error}"
                );
                let why = format!("the name `{}` of the object store cannot be resolved", endpoint.host());
                return Err(ExternalStoreError::Unavailable(why));
            }
        },
    };
    let admitted = found.into_iter().find(|address| may_connect(*address, listed));
    admitted.map(|address| SocketAddr::new(address, endpoint.port())).ok_or_else(|| {
        ExternalStoreError::Refused(format!(
            "the object store `{endpoint}` is at an address that is not public; the operator may list its network in \
             --external-endpoints"
        ))
    })
}

fn may_connect(address: IpAddr, listed: &ExternalEndpoints) -> bool {
    let inner = unwrapped(address);
    is_public(inner) || listed.admits_private(inner)
}

fn is_public(address: IpAddr) -> bool {
    !NOT_PUBLIC.iter().any(|network| network.contains(&address))
}

/// Returns the IPv4 address that an IPv6 address contains; otherwise the address itself.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(outer) = address else { return address };
    let wrapped = WRAPPED.iter().find(|(network, _)| network.contains(&outer));
    wrapped.map_or(address, |(_, shift)| Ipv4Addr::from_bits((outer.to_bits() >> shift) as u32).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> ExternalEndpoints {
        ExternalEndpoints::parse(text).unwrap()
    }

    #[test]
    fn addresses_near_us_are_not_connected_to_unless_they_are_listed() {
        let may = |address: &str, list: &str| may_connect(address.parse().unwrap(), &listed(list));
        for public in ["8.8.8.8", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(may(public, ""), "{public}");
        }
        for near in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!may(near, "a.example"), "{near}");
        }
        assert!(may("10.1.2.3", "10.1.0.0/16") && !may("10.2.2.3", "10.1.0.0/16"));
        assert!(may("::ffff:10.1.2.3", "10.1.0.0/16"));
        assert!(may("127.0.0.1", "127.0.0.1:9000") && !may("127.0.0.2", "127.0.0.1:9000"));
    }

    #[tokio::test]
    async fn a_name_is_as_good_as_its_address() {
        let both = listed("localhost:9000,127.0.0.0/8,::1/128");
        let endpoint = both.admit("localhost:9000", None).unwrap();
        assert!(resolve(&endpoint, &both).await.unwrap().ip().is_loopback());
        let name = listed("localhost:9000");
        assert!(matches!(resolve(&endpoint, &name).await, Err(ExternalStoreError::Refused(_))));
    }
}

//! Determines a request's client address: the peer, or the address that a trusted proxy reports.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use ipnet::IpNet;
use serde::Serialize;
use tokio::io::AsyncRead;

use super::forwarded::{self, X_FORWARDED_FOR, forwarded_as, nearest, x_forwarded_for};
use super::proxy_protocol;
use super::public_address::PublicAddress;

/// The client address of a request. It is in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl ClientIp {
    /// Returns true if the client is on this machine.
    pub fn is_near(self) -> bool {
        self.0.to_canonical().is_loopback()
    }
}

/// The host, with its port, that the client has requested. It is in the extensions of a request if a trusted proxy has
/// reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedHost(pub String);

/// The header with which trusted proxies report the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// The header `X-Forwarded-For`.
    XForwardedFor,
    /// The header `Forwarded`.
    Forwarded,
    /// The PROXY protocol, in the first bytes of a connection.
    ProxyProtocol,
}

/// The trusted proxies, and the header with which they report the client.
#[derive(Debug)]
pub struct TrustedProxies {
    proxies: Vec<IpNet>,
    header: ProxyHeader,
    hinted: AtomicBool,
}

impl TrustedProxies {
    /// Returns the policy that trusts `proxies`, which report the client with `header`.
    pub const fn new(proxies: Vec<IpNet>, header: ProxyHeader) -> Self {
        Self { proxies, header, hinted: AtomicBool::new(false) }
    }

    /// Returns true if `peer` is a trusted proxy.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxies.iter().any(|network| network.contains(&peer))
    }

    /// Reads the client address from a connection, if it is from a trusted proxy that uses the PROXY protocol.
    ///
    /// # Errors
    /// The connection does not begin with a PROXY header.
    pub async fn announced(
        &self,
        peer: IpAddr,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Option<IpAddr>> {
        if self.header == ProxyHeader::ProxyProtocol && self.trusts(peer) {
            proxy_protocol::read(stream).await
        } else {
            Ok(None)
        }
    }

    /// Returns the client address of a request: the last address in the chain of proxies that is not a trusted proxy.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            self.hint(peer, headers);
            return peer;
        }
        match self.header {
            ProxyHeader::XForwardedFor => self.beyond(peer, x_forwarded_for(headers)),
            ProxyHeader::Forwarded => self.beyond(peer, forwarded::forwarded(headers)),
            ProxyHeader::ProxyProtocol => peer,
        }
    }

    /// Returns the host that the client has requested, if `peer` is a trusted proxy and reports it.
    pub(super) fn host(&self, peer: IpAddr, headers: &HeaderMap) -> Option<ForwardedHost> {
        forwarded::host(headers).filter(|_| self.trusts(peer)).map(ForwardedHost)
    }

    /// Returns the public address of this server that `peer` reports, if `peer` is a trusted proxy.
    pub(super) fn outside(&self, peer: IpAddr, headers: &HeaderMap) -> Option<PublicAddress> {
        if !self.trusts(peer) {
            return None;
        }
        let base = nearest(headers, "x-forwarded-prefix");
        Some(if self.header == ProxyHeader::Forwarded {
            let (scheme, host) = (forwarded_as(headers, "proto"), forwarded_as(headers, "host"));
            PublicAddress::said(scheme.as_deref(), host.as_deref(), base)
        } else {
            let (scheme, host) = (nearest(headers, "x-forwarded-proto"), forwarded::host(headers));
            PublicAddress::said(scheme, host.as_deref(), base)
        })
    }

    fn beyond(&self, peer: IpAddr, named: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut nearest = peer;
        // A malformed address ends the chain: those before it may come from the client itself.
        for address in named.map_while(|address| address) {
            nearest = address;
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }

    /// Warns once about a peer that seems to be a proxy and is not trusted.
    fn hint(&self, peer: IpAddr, headers: &HeaderMap) {
        let forwarded = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
        if forwarded && is_private(peer) && !self.hinted.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "ignoring forwarded addresses from an untrusted peer: all its clients share one rate limit; \
                 if it is your proxy, add it to --trusted-proxies",
            );
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(trusted: &str, header: ProxyHeader, peer: &str, value: &str) -> String {
        let proxies = trusted.split(',').filter_map(|network| network.parse().ok()).collect();
        let name = if header == ProxyHeader::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
        let headers = HeaderMap::from_iter([(name, value.parse().unwrap())]);
        TrustedProxies::new(proxies, header).client(address(peer), &headers).to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        let header = ProxyHeader::XForwardedFor;
        assert_eq!(client("", header, "10.0.0.1", "192.0.2.1"), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", header, "10.0.0.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", header, "::ffff:10.0.0.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", header, "11.0.0.1", "192.0.2.1"), "11.0.0.1");
    }

    #[test]
    fn addresses_that_a_client_forges_are_ignored() {
        let header = ProxyHeader::XForwardedFor;
        let seen = |value| client("10.0.0.0/8", header, "10.0.0.1", value);
        assert_eq!(seen("198.51.100.9, 192.0.2.1"), "192.0.2.1");
        assert_eq!(seen("192.0.2.1, 10.0.0.7"), "192.0.2.1");
        assert_eq!(seen("192.0.2.1, nonsense, 10.0.0.7"), "10.0.0.7");
        assert_eq!(seen("nonsense"), "10.0.0.1");
        // Only the configured header counts: a client may have sent the other one.
        assert_eq!(client("10.0.0.0/8", ProxyHeader::ProxyProtocol, "10.0.0.1", "192.0.2.1"), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", ProxyHeader::Forwarded, "10.0.0.1", "for=192.0.2.1"), "192.0.2.1");
    }
}

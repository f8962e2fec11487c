//! The permitted stores of other providers, from which files may be read.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// The operator's list: the hosts of stores, and the networks in which these hosts may have non-public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalEndpoints {
    hosts: Vec<Host>,
    networks: Vec<IpNet>,
}

/// A host, and its port unless that is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    /// The host in lower case; an IPv6 address in brackets.
    name: String,
    port: Option<u16>,
}

/// A permitted store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: Host,
    secure: bool,
}

impl ExternalEndpoints {
    /// Parses hosts (`s3.example.org`, `192.0.2.7:9000`) and networks (`10.0.0.0/8`), separated by commas. A host
    /// without a port stands for the default port of each protocol.
    pub fn parse(text: &str) -> Option<Self> {
        let mut listed = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if item.contains('/') {
                listed.networks.push(item.parse().ok()?);
            } else {
                listed.hosts.push(Host::parse(item)?);
            }
        }
        Some(listed)
    }

    /// Returns true if no store is listed.
    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Returns the store that `endpoint` names, if it is listed: `host`, `host:port`, or a URL of these without a path.
    /// `secure` is set if the client declares the protocol: true for TLS. It is not checked.
    pub fn admit(&self, endpoint: &str, secure: Option<bool>) -> Option<Endpoint> {
        let endpoint = Endpoint::parse(endpoint, secure)?;
        let listed =
            |host: &Host| host.name == endpoint.host.name && host.port_of(endpoint.secure) == endpoint.port();
        self.hosts.iter().any(listed).then_some(endpoint)
    }

    /// Returns true if connections to a non-public address are permitted: the address or its network is listed.
    pub(super) fn admits_private(&self, address: IpAddr) -> bool {
        let listed = |host: &Host| host.address() == Some(address);
        self.networks.iter().any(|network| network.contains(&address)) || self.hosts.iter().any(listed)
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let end =
            if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (name, rest) = text.split_at(end);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = match name.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
            None => !name.is_empty() && name.bytes().all(plain),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
            None => rest.is_empty().then_some(None)?,
        };
        is_name.then(|| Self { name: name.to_ascii_lowercase(), port })
    }

    fn port_of(&self, secure: bool) -> u16 {
        self.port.unwrap_or(if secure { 443 } else { 80 })
    }

    fn address(&self) -> Option<IpAddr> {
        self.name.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

impl Endpoint {
    fn parse(text: &str, secure: Option<bool>) -> Option<Self> {
        let (scheme, rest) =
            text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        let said = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("https") => Some(true),
            Some("http") => Some(false),
            Some(_) => return None,
        };
        if said.zip(secure).is_some_and(|(said, secure)| said != secure) {
            return None;
        }
        let host = Host::parse(rest.strip_suffix('/').unwrap_or(rest))?;
        Some(Self { host, secure: said.or(secure).unwrap_or(true) })
    }

    /// Returns true if the store uses TLS.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the name of the host; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host.name
    }

    pub(super) fn port(&self) -> u16 {
        self.host.port_of(self.secure)
    }

    /// Returns the host's address, if its name is an address.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.address()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Formats the endpoint without the protocol, for messages.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

impl Serialize for ExternalEndpoints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hosts = self.hosts.iter().map(ToString::to_string);
        let listed: Vec<String> = hosts.chain(self.networks.iter().map(ToString::to_string)).collect();
        serializer.serialize_str(&listed.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_hosts_and_networks() {
        for good in ["", "s3.example.org", "a:9000, [fd00::1]:9000 ,10.0.0.0/8", "127.0.0.1:1,::1/128"] {
            assert!(ExternalEndpoints::parse(good).is_some(), "{good}");
        }
        for bad in ["https://a", "a/b", "10.0.0.0/40", "user@a", "a:0", "a:99999", "a b", ":80", "fd00::1"] {
            assert_eq!(ExternalEndpoints::parse(bad), None, "{bad}");
        }
        assert_eq!(
            serde_json::to_value(ExternalEndpoints::parse("10.0.0.0/8, A.example:1").unwrap()).unwrap(),
            "a.example:1,10.0.0.0/8"
        );
    }

    #[test]
    fn only_what_is_listed_may_be_asked() {
        let listed = ExternalEndpoints::parse("a.example,b.example:9000,[fd00::1]:9,10.0.0.0/8").unwrap();
        let admits = |endpoint: &str, secure| listed.admit(endpoint, secure).is_some();
        for (endpoint, secure) in [
            ("a.example", None),
            ("A.Example:443", None),
            ("a.example", Some(false)),
            ("http://a.example:80", Some(false)),
            ("b.example:9000", Some(false)),
            ("https://b.example:9000/", Some(true)),
            ("[fd00::1]:9", None),
        ] {
            assert!(admits(endpoint, secure), "{endpoint} {secure:?}");
        }
        for (endpoint, secure) in [
            ("a.example:80", None),
            ("a.example:22", Some(false)),
            ("b.example", None),
            ("b.example:9001", None),
            ("http://b.example:9000", Some(true)),
            ("ftp://b.example:9000", None),
            ("b.example:9000/x", None),
            ("b.example:9000@evil.example", None),
            ("evil@b.example:9000", None),
            ("b.example:9000#", None),
            ("xb.example:9000", None),
            ("10.0.0.1", None),
            ("", None),
        ] {
            assert!(!admits(endpoint, secure), "{endpoint} {secure:?}");
        }
    }
}

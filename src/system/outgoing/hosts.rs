//! Looks up names in /etc/hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The file.
pub(super) const PATH: &str = "/etc/hosts";

/// Returns the addresses of `host` in the text of a hosts file, in its order. If the file does not list `localhost` or
/// a name below it, they have the loopback addresses (RFC 6761).
pub(super) fn find(table: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let lines = table.lines().map(|line| line.split('#').next().unwrap_or_default());
    let listed: Vec<IpAddr> = lines.filter_map(|line| address(line, host)).collect();
    if listed.is_empty() && is_local(host) {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    listed
}

/// Returns the address in a line, if the line lists `host`.
fn address(line: &str, host: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    let address = words.next()?.parse().ok()?;
    let is_listed = words.any(|name| name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(host));
    is_listed.then_some(address)
}

fn is_local(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

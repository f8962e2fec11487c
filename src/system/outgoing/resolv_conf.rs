//! Parses the settings of name resolution in /etc/resolv.conf, see resolv.conf(5).

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::proto::rr::Name;

/// The file.
pub(super) const PATH: &str = "/etc/resolv.conf";
/// The maximum time for which an address is cached.
const KEPT_MAX: Duration = Duration::from_mins(1);
/// The largest value of `ndots`, as in glibc.
const NDOTS_MAX: usize = 15;
/// The largest value of `timeout`, as in glibc.
const TIMEOUT_MAX: u64 = 30;
/// The largest value of `attempts`, as in glibc.
const ATTEMPTS_MAX: usize = 5;

/// Parses the text of the file. If it lists no name server, the name server of this machine is used. Ignores unknown
/// words.
pub(super) fn parse(text: &str) -> (ResolverConfig, ResolverOpts) {
    let mut servers: Vec<IpAddr> = Vec::new();
    let mut search: Vec<Name> = Vec::new();
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.num_concurrent_reqs = 1;
    options.positive_max_ttl = Some(KEPT_MAX);
    // Negative answers are not cached: a name that does not exist yet may exist in the next second.
    options.negative_max_ttl = Some(Duration::ZERO);
    let mut is_tcp = false;
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            // Addresses with a zone, such as fe80::1%eth0, are not supported; such a server is left out.
            Some("nameserver") => servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            Some("domain" | "search") => {
                search =
                    words.filter(|word| *word != ".").filter_map(|word| Name::from_str(word).ok()).collect();
            }
            Some("options") => words.for_each(|word| is_tcp |= apply(word, &mut options)),
            _ => {}
        }
    }
    if servers.is_empty() {
        servers.push(Ipv4Addr::LOCALHOST.into());
    }
    let servers = servers.into_iter().map(|address| server(address, is_tcp)).collect();
    (ResolverConfig::from_parts(None, search, servers), options)
}

/// Applies one option; returns true if it requests TCP only.
fn apply(word: &str, options: &mut ResolverOpts) -> bool {
    let (name, value) = word.split_once(':').unwrap_or((word, ""));
    match (name, value.parse::<usize>()) {
        ("ndots", Ok(count)) => options.ndots = count.min(NDOTS_MAX),
        ("timeout", Ok(seconds)) => {
            options.timeout = Duration::from_secs((seconds as u64).clamp(1, TIMEOUT_MAX));
        }
        ("attempts", Ok(count)) => options.attempts = count.clamp(1, ATTEMPTS_MAX),
        ("rotate", _) => options.server_ordering_strategy = ServerOrderingStrategy::RoundRobin,
        ("use-vc", _) => return true,
        _ => {}
    }
    false
}

fn server(address: IpAddr, is_tcp: bool) -> NameServerConfig {
    let udp = (!is_tcp).then(ConnectionConfig::udp);
    let connections = udp.into_iter().chain([ConnectionConfig::tcp()]).collect();
    NameServerConfig::new(address, true, connections)
}

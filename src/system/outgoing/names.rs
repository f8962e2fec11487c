//! Resolves names: first with /etc/hosts, then with the name servers.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};

use super::{hosts, resolv_conf};

/// The latest resolver. It is bound to one async runtime, in which its connections are, and to one text of resolv.conf.
static LATEST: Mutex<Option<Latest>> = Mutex::new(None);

struct Latest {
    runtime: Id,
    settings: String,
    resolver: Arc<TokioResolver>,
}

/// Returns the addresses of a host, at least one: those in /etc/hosts, otherwise the answers of the name servers in
/// /etc/resolv.conf, IPv4 first. Both files are read for each name. If they are missing, `localhost` has the loopback
/// addresses, and the name server of this machine is asked for other names. An address resolves to itself.
///
/// # Errors
/// The name servers do not know the host, or none of them answers.
///
/// # Panics
/// If it is called outside of a tokio runtime.
pub async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let listed = hosts::find(&read(hosts::PATH), host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let unresolved = |why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::HostUnreachable, format!("`{host}` cannot be resolved: {why}"))
    };
    let answer = resolver().map_err(|error| unresolved(&error))?.lookup_ip(host).await;
    let (mut found, others): (Vec<IpAddr>, Vec<IpAddr>) =
        answer.map_err(|error| unresolved(&error))?.iter().partition(IpAddr::is_ipv4);
    found.extend(others);
    if found.is_empty() { Err(unresolved(&"it has no address")) } else { Ok(found) }
}

/// Returns the resolver for the present settings.
fn resolver() -> Result<Arc<TokioResolver>, hickory_resolver::net::NetError> {
    let runtime = Handle::current().id();
    let settings = read(resolv_conf::PATH);
    let mut latest = LATEST.lock();
    if let Some(latest) = latest.as_ref().filter(|one| one.runtime == runtime && one.settings == settings) {
        return Ok(latest.resolver.clone());
    }
    let (config, options) = resolv_conf::parse(&settings);
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let resolver = Arc::new(builder.with_options(options).build()?);
    *latest = Some(Latest { runtime, settings, resolver: resolver.clone() });
    Ok(resolver)
}

/// Reads a small file; a missing one counts as empty.
fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The adapter of name resolution for clients of HTTP and of object stores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names;

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let found = addresses(name.as_str()).await?;
            // The client replaces port 0 with the port of its URL.
            let found: reqwest::dns::Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(found)
        })
    }
}

impl object_store::client::DnsResolver for Names {
    fn resolve(&self, host: &str) -> object_store::client::DnsFuture {
        let host = host.to_owned();
        Box::pin(async move { Ok(addresses(&host).await?) })
    }
}

//! Opens connections: tries the hosts in order, and all addresses of each.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use deadpool_postgres::Connect;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::owner;
use crate::metadata::location::Address;
use crate::system::outgoing;
use crate::telemetry::chain;

/// Opens connections with TLS. [`outgoing`] resolves names, because the client's own resolver needs the C library.
pub(super) struct Connector {
    pub(super) tls: MakeRustlsConnect,
    /// The host of the latest connection, with its port.
    pub(super) in_use: Arc<Mutex<Option<String>>>,
    /// The latest number of a change that was confirmed to this process: a server without the change is not used.
    pub(super) confirmed: Arc<AtomicU64>,
}

impl Connect for Connector {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let (config, tls, in_use) = (config.clone(), self.tls.clone(), Arc::clone(&self.in_use));
        let confirmed = self.confirmed.load(Ordering::Acquire);
        Box::pin(async move {
            let mut failures = Vec::new();
            for (host, port) in Address::hosts(&config) {
                let to_host = to_one(&config, host.clone(), port);
                let candidates = match host {
                    Host::Unix(_) => vec![to_host.clone()],
                    Host::Tcp(name) => match outgoing::addresses(&name).await {
                        Ok(addresses) => addresses.into_iter().map(|ip| to_address(&to_host, ip)).collect(),
                        Err(error) => {
                            failures.push((Address::place(&to_host), unresolved(error).await));
                            continue;
                        }
                    },
                };
                let mut failure = None;
                for candidate in candidates {
                    match candidate.connect(tls.clone()).await {
                        Ok((client, connection)) => {
                            // Each request that waits for an answer gets the error.
                            let task = tokio::spawn(async move {
                                if let Err(error) = connection.await {
                                    tracing::debug!("a connection to PostgreSQL has ended: {error}");
                                }
                            });
                            match complete(&client, confirmed).await {
                                Ok(()) => {
                                    *in_use.lock() = Some(Address::place(&to_host));
                                    return Ok((client, task));
                                }
                                Err(error) => failure = Some(error),
                            }
                        }
                        Err(error) => failure = Some(error),
                    }
                }
                failures.extend(failure.map(|failure| (Address::place(&to_host), failure)));
            }
            Err(combined(failures).await)
        })
    }
}

/// Checks that the server has the change with this number.
async fn complete(client: &Client, confirmed: u64) -> Result<(), Error> {
    if confirmed == 0 {
        return Ok(());
    }
    let number = client.query_typed_one("SELECT max(number) FROM entityd.commits", &[]).await?;
    match owner::lost(number.get(0), confirmed) {
        None => Ok(()),
        Some(lost) => Err(unresolved(io::Error::other(lost)).await),
    }
}

/// Combines the errors of all hosts: returns a server's answer if there is one, or else an error that names each host.
async fn combined(mut failures: Vec<(String, Error)>) -> Error {
    if let Some(answer) = failures.iter().position(|(_, error)| error.as_db_error().is_some()) {
        return failures.swap_remove(answer).1;
    }
    match failures.len() {
        0 => unresolved(io::Error::other("no host is named")).await,
        1 => failures.remove(0).1,
        _ => {
            let all: Vec<_> =
                failures.iter().map(|(host, error)| format!("{host}: {}", chain(error))).collect();
            unresolved(io::Error::other(all.join("; "))).await
        }
    }
}

/// Returns the configuration for one host.
fn to_one(config: &Config, host: Host, port: u16) -> Config {
    let mut one = Config::new();
    match host {
        Host::Tcp(name) => one.host(name),
        Host::Unix(path) => one.host_path(path),
    };
    one.port(port)
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle());
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(limit) = config.get_connect_timeout() {
        one.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*limit);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one
}

fn to_address(config: &Config, address: IpAddr) -> Config {
    let mut config = config.clone();
    config.hostaddr(address);
    config
}

/// Makes the client's error for a failed name resolution. The client has no constructor for it, so this lets a
/// connection fail.
async fn unresolved(reason: io::Error) -> Error {
    let mut config = Config::new();
    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    let connected = config.connect_raw(Unconnected(Some(reason)), NoTls).await;
    connected.err().expect("nothing answers")
}

/// A stream whose first use fails with the given error.
struct Unconnected(Option<io::Error>);

impl Unconnected {
    fn fail<T>(&mut self) -> Poll<io::Result<T>> {
        Poll::Ready(Err(self.0.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())))
    }
}

impl AsyncRead for Unconnected {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }
}

impl AsyncWrite for Unconnected {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.fail()
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_failures_of_all_hosts_are_named() {
        let failure = |reason: &'static str| unresolved(io::Error::other(reason));
        let both = vec![
            ("a:5432".to_owned(), failure("it does not allow writes").await),
            ("b:1".to_owned(), failure("connection refused").await),
        ];
        let said = chain(&combined(both).await);
        assert!(said.contains("a:5432: ") && said.contains("it does not allow writes; b:1: "), "{said}");
        assert!(said.ends_with("connection refused"), "{said}");
        let alone = vec![("a:5432".to_owned(), failure("connection refused").await)];
        assert!(!chain(&combined(alone).await).contains("a:5432"));
        assert!(chain(&combined(Vec::new()).await).contains("no host"));
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_resolved_is_named() {
        let error = unresolved(io::Error::other("`db` cannot be resolved")).await;
        assert!(chain(&error).contains("`db` cannot be resolved"), "{error:?}");
    }
}

//! Listeners: they accept connections until told to stop, and then let them finish.
//!
//! A connection is counted ([`Census`]), says who it speaks for if it comes from a trusted proxy ([`trust`]), is
//! encrypted if the listener is, and then sends requests in HTTP/1.1 or HTTP/2. Every request passes the [`gate`],
//! which limits how many a client may send. Whoever is too slow is not waited for ([`activity`], [`patience`]).

mod activity;
mod answer;
mod connection;
mod forwarded;
mod gate;
mod linger;
mod patience;
mod proxy;
mod redirect;
mod seldom;
mod stream;
mod trust;
mod unclear;

pub use gate::Gate;
pub use patience::Patience;
pub(super) use patience::Stalled;
pub use redirect::redirect;
pub(super) use trust::Client;
pub use trust::{ForwardedHost, ProxyHeader, Trust};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::limits::{Census, Full, Present};
use crate::runtime::entropy::Entropy;
use crate::tls;
use connection::Arrived;
use seldom::Seldom;

/// How long accepting pauses when the system refuses, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// What a connection is told for which there is no room, where it can be told.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// What stands between a listener and those who answer. Cheap to clone.
#[derive(Clone)]
pub struct Entrance {
    /// Encrypts; without it, everybody on the way can read and change what is said.
    pub tls: Option<tls::Acceptor>,
    /// Counts connections.
    pub census: Arc<Census>,
    /// Knows which proxies to believe.
    pub trust: Arc<Trust>,
    /// Limits requests.
    pub gate: Option<Gate>,
    /// How slow a client may be.
    pub patience: Patience,
    /// Makes the names of requests.
    pub entropy: Entropy,
}

/// Serves `router` on `listener` until `stop`; then closes the listener, lets requests under way finish for
/// `drain` at most, and breaks off the rest. Idle connections are closed at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    entrance: Entrance,
    stop: CancellationToken,
    drain: Duration,
) {
    let mut connections = JoinSet::new();
    let crowded = Crowded::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match entrance.count(peer.ip()) {
                    Ok(present) => {
                        let arrived = Arrived { stream, peer: peer.ip(), present };
                        connections.spawn(arrived.serve(entrance.clone(), router.clone(), stop.clone()));
                    }
                    Err(full) => entrance.turn_away(&stream, peer.ip(), full, &crowded),
                },
                Err(error) => {
                    if let Some(count) = crowded.refused.count() {
                        tracing::warn!(count, "cannot accept a connection; trying again: {error}");
                    }
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(drain, finish).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests were still under way and are broken off");
        connections.shutdown().await;
    }
}

/// Connections that were refused, by the limit that refused them.
#[derive(Default)]
struct Crowded {
    everywhere: Seldom,
    /// By the system.
    refused: Seldom,
    one_address: Seldom,
}

impl Entrance {
    /// Counts a connection; one of a trusted proxy is nobody's, since it carries many clients.
    fn count(&self, peer: IpAddr) -> Result<Present, Full> {
        self.census.enter((!self.trust.trusts(peer)).then_some(peer))
    }

    fn turn_away(&self, stream: &TcpStream, peer: IpAddr, full: Full, crowded: &Crowded) {
        if self.tls.is_none() {
            // Nobody waits until it is read.
            let _ = stream.try_write(NO_ROOM);
        }
        let crowded = match full {
            Full::Everywhere => &crowded.everywhere,
            Full::ForThisAddress => &crowded.one_address,
        };
        let Some(count) = crowded.count() else { return };
        match full {
            Full::Everywhere => {
                tracing::warn!(
                    count,
                    "connections were refused: as many are open as --connections-max allows"
                );
            }
            Full::ForThisAddress => tracing::warn!(
                count,
                address = %peer,
                "connections were refused: --connections-per-address-max allows no more from one address",
            ),
        }
    }
}

//! Accepts connections until it is stopped, and then lets them finish.

use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Accepted;
use super::connection_limit::LimitReached;
use super::listener_config::ListenerConfig;
use crate::telemetry::LogThrottle;

/// The pause after an error in accepting a connection, most likely a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// The response to a connection beyond the limit, if the listener does not use TLS.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// Serves `router` on `listener` until `stop` is cancelled. Then closes the listener and idle connections, gives
/// requests in progress at most `drain` to finish, and aborts the rest.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: ListenerConfig,
    stop: CancellationToken,
    drain: Duration,
) {
    let mut connections = JoinSet::new();
    let throttles = Throttles::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match config.count(peer.ip()) {
                    Ok(permit) => {
                        let arrived = Accepted { stream, peer: peer.ip(), permit };
                        connections.spawn(arrived.serve(config.clone(), router.clone(), stop.clone()));
                    }
                    Err(full) => turn_away(&config, &stream, peer.ip(), full, &throttles),
                },
                Err(error) => {
                    if let Some(count) = throttles.refused.count() {
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
        tracing::warn!(connections = connections.len(), "aborting requests that did not finish in time");
        connections.shutdown().await;
    }
}

/// The log throttles for rejected connections, one for each reason.
#[derive(Default)]
struct Throttles {
    everywhere: LogThrottle,
    /// Throttles the warning about connections that the system failed to accept.
    refused: LogThrottle,
    one_address: LogThrottle,
}

fn turn_away(
    config: &ListenerConfig,
    stream: &TcpStream,
    peer: IpAddr,
    full: LimitReached,
    throttles: &Throttles,
) {
    if config.tls.is_none() {
        // Best effort; the write is not awaited.
        let _ = stream.try_write(NO_ROOM);
    }
    let throttles = match full {
        LimitReached::Everywhere => &throttles.everywhere,
        LimitReached::ForThisAddress => &throttles.one_address,
    };
    let Some(count) = throttles.count() else { return };
    match full {
        LimitReached::Everywhere => {
            tracing::warn!(count, "connections rejected: --connections-max is reached");
        }
        LimitReached::ForThisAddress => tracing::warn!(
            count,
            address = %peer,
            "connections rejected: one address has reached --connections-per-address-max",
        ),
    }
}

//! Accepts connections until told to stop, and then lets them finish.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a client may take to say what it wants; also how long an idle connection is kept.
const HEADERS_MAX: Duration = Duration::from_mins(1);
/// How long accepting pauses when the system refuses, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop`; then closes the listener, lets requests under way finish for
/// `drain` at most, and breaks off the rest. Idle connections are closed at once.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, drain: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, router.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
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

/// Answers the requests of one connection.
async fn converse(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Answers are small and written at once; waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set nodelay: {error}");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended badly: {error}");
    }
}

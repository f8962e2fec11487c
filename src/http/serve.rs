//! Accepts connections until told to stop, and then lets them finish.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a client may take to say what it wants; also how long an idle connection is kept.
const HEADERS_MAX: Duration = Duration::from_mins(1);
/// How long a slow client has for the last bytes of an answer once the server stops.
const LAST_BYTES: Duration = Duration::from_secs(2);
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
    // Held by every request under way, until the last byte of its answer.
    let busy = Arc::new(());
    let held = Arc::downgrade(&busy);
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, busy) = (router.clone(), held.upgrade());
        async move {
            let response = router.oneshot(request).await;
            response.map(|response| response.map(|body| Answer { body, _busy: busy }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                // Half a request is none: there is nothing to finish.
                () = idle(&busy) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended badly: {error}");
    }
}

/// Waits until no request has been under way for a while.
async fn idle(busy: &Arc<()>) {
    let mut quiet = Duration::ZERO;
    while quiet < LAST_BYTES {
        sleep(PAUSE).await;
        quiet = if Arc::strong_count(busy) == 1 { quiet + PAUSE } else { Duration::ZERO };
    }
}

/// The body of an answer, which keeps its connection busy until it is sent.
struct Answer {
    body: Body,
    _busy: Option<Arc<()>>,
}

impl hyper::body::Body for Answer {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

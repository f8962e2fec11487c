//! Serves one connection, from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;

use super::activity::Activity;
use super::ambiguous;
use super::client_ip::ClientIp;
use super::connection_limit::ConnectionPermit;
use super::lingering_close::{Lingering, see_off};
use super::listener_config::ListenerConfig;
use super::request_id::RequestId;
use super::timeouts::TimedBody;
use super::tracked_body::TrackedBody;
use super::tracked_stream::{Stream, TrackedStream};
use crate::telemetry::LogThrottle;

/// The time limit for sending the last bytes when the server closes a connection.
const LAST_BYTES: Duration = Duration::from_secs(2);
/// The interval at which a stopping server checks whether a connection has a request.
const LOOK: Duration = Duration::from_millis(50);
/// The HSTS header of a listener with TLS: for a year, browsers use only TLS.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// The maximum number of concurrent requests on an HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// The maximum number of requests that are reset, by the client or because of its errors. Then the connection is
/// closed.
const RESETS_MAX: usize = 64;
/// The maximum size of the headers of an HTTP/2 request, in bytes.
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// The flow-control window of an HTTP/2 request, in bytes.
const STREAM_WINDOW: u32 = 512 << 10;
/// The flow-control window of an HTTP/2 connection, in bytes.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A connection that was accepted and counted.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: IpAddr,
    pub(super) permit: ConnectionPermit,
}

/// Throttles the warning about connections whose TLS handshake or PROXY header failed.
static REFUSED: LazyLock<LogThrottle> = LazyLock::new(LogThrottle::default);

/// Logs why a connection failed to start. Nothing else reveals a proxy that sends no PROXY header, or a client without
/// a certificate. A client that only disconnects causes no warning.
fn refused(peer: IpAddr, error: &io::Error) {
    let gone = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    if gone.contains(&error.kind()) {
        tracing::debug!(%peer, "TLS handshake or PROXY header failed: {error}");
    } else if let Some(count) = REFUSED.count() {
        tracing::warn!(count, %peer, "TLS handshake or PROXY header failed: {error}");
    }
}

/// The state that the requests of a connection share.
struct Host {
    config: ListenerConfig,
    router: Router,
    peer: IpAddr,
    activity: Arc<Activity>,
}

impl Accepted {
    /// Answers the requests of the connection until it ends, is idle for too long, or `stop` is cancelled.
    pub(super) async fn serve(self, config: ListenerConfig, router: Router, stop: CancellationToken) {
        // Responses are small and written at once; Nagle's algorithm would only delay them.
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!("cannot set nodelay: {error}");
        }
        let peer = self.peer;
        let greeted = tokio::select! {
            greeted = timeout(config.timeouts.header, self.greet(&config)) => greeted,
            () = stop.cancelled() => return,
        };
        let (stream, peer, _present) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => return refused(peer, &error),
            Err(_) => return tracing::debug!("a connection timed out before its first request"),
        };
        let activity = Activity::new();
        let host = Arc::new(Host { config, router, peer, activity });
        host.converse(stream, stop).await;
    }

    /// Reads the PROXY header and completes the TLS handshake.
    async fn greet(mut self, config: &ListenerConfig) -> io::Result<(Stream, IpAddr, ConnectionPermit)> {
        let mut peer = self.peer;
        if let Some(client) = config.trusted_proxies.announced(peer, &mut self.stream).await? {
            peer = client;
            self.permit
                .identify(client)
                .map_err(|_| io::Error::other("too many connections of one client"))?;
        }
        let stream = match &config.tls {
            Some(tls) => match tls.accept(self.stream).await {
                Ok(stream) => Stream::Tls(Box::new(stream)),
                Err((error, stream)) => {
                    let permit = self.permit;
                    // The connection counts until its end.
                    tokio::spawn(async move {
                        see_off(stream).await;
                        drop(permit);
                    });
                    return Err(error);
                }
            },
            None => Stream::Plain(self.stream),
        };
        Ok((stream, peer, self.permit))
    }
}

impl Host {
    async fn converse(self: Arc<Self>, stream: Stream, stop: CancellationToken) {
        let io = TokioIo::new(TrackedStream { stream, activity: Arc::clone(&self.activity) });
        let (activity, timeouts) = (Arc::clone(&self.activity), self.config.timeouts);
        let builder = builder();
        let connection =
            builder.serve_connection(io, service_fn(move |request| Arc::clone(&self).answer(request)));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = activity.overdue(&timeouts) => {
                connection.as_mut().graceful_shutdown();
                let goodbye = timeout(LAST_BYTES, connection);
                if goodbye.await.is_err() {
                    tracing::debug!("closing a connection that is too slow");
                }
                return;
            }
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    // Drops a request whose headers are incomplete.
                    () = quiet(&activity) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection failed: {error}");
        }
    }

    /// Answers one request.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<TrackedBody>, Infallible> {
        let busy = self.activity.begin(request.version() == Version::HTTP_2);
        let ListenerConfig { trusted_proxies, rate_limit, timeouts, tls, entropy, refuse, .. } = &self.config;
        let client = trusted_proxies.client(self.peer, request.headers());
        let name = RequestId::new(request.headers(), entropy);
        // Clients of HTTP/2 do not wait for `100 Continue`.
        let awaits_continue =
            request.version() < Version::HTTP_2 && request.headers().contains_key(header::EXPECT);
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            let awaited = TimedBody::new(body, *timeouts);
            Body::new(Lingering::new(awaited, awaits_continue, Arc::clone(&self.activity)))
        });
        request.extensions_mut().insert(ClientIp(client));
        if let Some(host) = trusted_proxies.host(self.peer, request.headers()) {
            request.extensions_mut().insert(host);
        }
        if let Some(outside) = trusted_proxies.outside(self.peer, request.headers()) {
            request.extensions_mut().insert(outside);
        }
        request.extensions_mut().insert(name);
        let router = self.router.clone();
        let answering = async {
            if let Some((status, detail)) = ambiguous::refusal(request.version(), request.headers()) {
                return Ok(refuse(status, detail));
            }
            match rate_limit {
                Some(rate_limit) => Ok(rate_limit.pass(client, request, router).await),
                None => router.oneshot(request).await,
            }
        };
        let mut response = answering.instrument(name.span()).await?;
        name.tell(&mut response);
        if tls.is_some() {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        Ok(response.map(|body| TrackedBody { body, busy }))
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // A client may close its sending side after a request and still read the response, as `nc -N` does.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// Waits until no request has been in progress for [`LAST_BYTES`].
async fn quiet(activity: &Activity) {
    let mut quiet = Duration::ZERO;
    while quiet < LAST_BYTES {
        sleep(LOOK).await;
        quiet = if activity.is_idle() { quiet + LOOK } else { Duration::ZERO };
    }
}

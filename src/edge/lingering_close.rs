//! Continues to read a request after an early response. A client that sends the whole request before it reads would
//! otherwise see a connection reset instead of the response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::activity::Activity;
use crate::runtime::clock::Stopwatch;

/// The maximum time to continue reading.
const TIME_MAX: Duration = Duration::from_secs(30);
/// The maximum number of bytes read per second, to save network bandwidth and processor time.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// The time without any bytes after which a rejected connection is closed.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The size of one read.
const PIECE_BYTES: usize = 16 << 10;

/// A request body. If it is dropped before its end, the rest is read and discarded.
pub(super) struct Lingering<B: Body<Data = Bytes> + Send + Unpin + 'static> {
    /// The body; `None` once it has ended.
    body: Option<B>,
    /// True while the client waits for `100 Continue`.
    awaits_continue: bool,
    activity: Arc<Activity>,
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Lingering<B> {
    /// Wraps a body. `awaits_continue` is true if the client waits for `100 Continue`: if the body is dropped before
    /// its first read, nothing is read, since a read would send that response. `activity` is that of the connection.
    pub(super) const fn new(body: B, awaits_continue: bool, activity: Arc<Activity>) -> Self {
        Self { body: Some(body), awaits_continue, activity }
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Body for Lingering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.awaits_continue = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Drop for Lingering<B> {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !self.awaits_continue && !body.is_end_stream())
        else {
            return;
        };
        let lingers = self.activity.linger();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = timeout(TIME_MAX, read_away(body)).await;
                drop(lingers);
            });
        }
    }
}

async fn read_away(mut body: impl Body<Data = Bytes> + Unpin) {
    let mut pace = Pace::start();
    loop {
        let Some(Ok(frame)) = body.frame().await else { return };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        drop(frame);
        pace.keep(bytes).await;
    }
}

/// Reads and discards the bytes that arrive on a rejected connection, so that the client reads the reason before it
/// sees a reset.
pub(super) async fn see_off(mut stream: TcpStream) {
    let read = async {
        let (mut pace, mut piece) = (Pace::start(), vec![0; PIECE_BYTES]);
        stream.shutdown().await?;
        while let Ok(count @ 1..) = timeout(SILENCE_MAX, stream.read(&mut piece)).await.unwrap_or(Ok(0)) {
            pace.keep(count).await;
        }
        Ok::<_, std::io::Error>(())
    };
    // Errors do not matter: the client has disconnected.
    let _ = timeout(TIME_MAX, read).await;
}

/// Limits the rate of reading to [`BYTES_PER_SECOND`].
struct Pace {
    watch: Stopwatch,
    bytes: u64,
}

impl Pace {
    fn start() -> Self {
        Self { watch: Stopwatch::start(), bytes: 0 }
    }

    async fn keep(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let due = Duration::from_secs_f64(self.bytes as f64 / BYTES_PER_SECOND as f64);
        if let Some(early) = due.checked_sub(self.watch.elapsed()) {
            sleep(early).await;
        }
    }
}

//! What is still read of a body that nobody wants, so that its sender comes to read the answer: one that sends all
//! before it listens would otherwise see a reset instead.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How much of it is read.
const BYTES_MAX: u64 = 64 << 20;
/// For how long.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A body of which some is read away when it is dropped before its end.
pub(super) struct Lingering<B: Body<Data = Bytes> + Send + Unpin + 'static> {
    /// Absent once it has come to its end.
    body: Option<B>,
    /// The sender waits to be asked for the body, and was not asked so far.
    awaits_continue: bool,
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Lingering<B> {
    /// `awaits_continue` says that the sender waits to be asked for the body. If it never is, nothing is read: that
    /// would be asking.
    pub(super) const fn new(body: B, awaits_continue: bool) -> Self {
        Self { body: Some(body), awaits_continue }
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
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(TIME_MAX, read_away(body)));
        }
    }
}

async fn read_away(mut body: impl Body<Data = Bytes> + Unpin) {
    let mut seen = 0;
    while seen < BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        seen += frame.data_ref().map_or(0, |piece| piece.len() as u64);
    }
}

//! The timeouts for a client, and a request body that enforces them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::runtime::clock::Stopwatch;

/// The waiting time over which the rate of a body is measured, before the measurement restarts.
const WINDOW: Duration = Duration::from_secs(10);

/// The timeouts for a client.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The time limit for the headers of a request, and for the TLS handshake.
    pub header: Duration,
    /// The time limit between requests.
    pub idle: Duration,
    /// The time limit between two chunks of a body, in either direction.
    pub transfer: Duration,
    /// The minimum rate of a body in bytes per second, while the server waits for it; 0 for no limit.
    pub rate_min: u64,
}

impl Timeouts {
    /// Returns the time limit for sending a chunk of `bytes` bytes.
    pub(super) fn for_bytes(&self, bytes: usize) -> Duration {
        match self.rate_min {
            0 => Duration::MAX,
            rate => self.transfer.saturating_add(Duration::from_secs_f64(bytes as f64 / rate as f64)),
        }
    }
}

/// A client that sent its body too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stalled {
    /// No byte arrived for too long.
    #[error("the body stopped arriving")]
    Silent,
    /// The body arrived below the minimum rate.
    #[error("the body arrives too slowly")]
    Slow,
}

/// A body that fails when it arrives too slowly. Only the time counts during which the server waits for it.
pub(super) struct TimedBody<B = Incoming> {
    body: B,
    timeouts: Timeouts,
    /// Fires when no byte has arrived for too long. Created at the first wait.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Measures the current wait for the body; `None` while the server is not waiting.
    waiting: Option<Stopwatch>,
    /// The waiting time since the rate was last checked; `bytes` arrived in it.
    waited: Duration,
    bytes: u64,
}

impl<B> TimedBody<B> {
    pub(super) fn new(body: B, timeouts: Timeouts) -> Self {
        Self { body, timeouts, alarm: None, waiting: None, waited: Duration::ZERO, bytes: 0 }
    }

    /// Records that bytes have arrived; fails if the rate is too low.
    fn note(&mut self, bytes: usize) -> Result<(), Stalled> {
        self.bytes += bytes as u64;
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        self.waited += waiting.elapsed();
        if self.waited < WINDOW {
            return Ok(());
        }
        let wanted = self.timeouts.rate_min as f64 * self.waited.as_secs_f64();
        let enough = self.bytes as f64 >= wanted;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(Stalled::Slow) }
    }

    /// Waits for more bytes; ready when the time limit is exceeded.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Stalled> {
        let allowed = self.timeouts.transfer;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(allowed)));
        if self.waiting.is_none() {
            self.waiting = Some(Stopwatch::start());
            alarm.as_mut().reset(Instant::now() + allowed);
        }
        alarm.as_mut().poll(context).map(|()| Stalled::Silent)
    }
}

impl<B> hyper::body::Body for TimedBody<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return self.wait(context).map(|stalled| Some(Err(stalled.into())));
        };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame.map(|frame| frame.map_err(Into::into))) };
        let noted = self.note(frame.data_ref().map_or(0, Bytes::len));
        Poll::Ready(Some(noted.map(|()| frame).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        header: Duration::ZERO,
        idle: Duration::ZERO,
        transfer: Duration::from_millis(50),
        rate_min: 100,
    };

    #[tokio::test]
    async fn a_silent_body_fails_and_a_quick_one_does_not() {
        let silent = Body::from_stream(stream::pending::<Result<Bytes, BoxError>>());
        let failure = TimedBody::new(silent, TIMEOUTS).frame().await.unwrap().unwrap_err();
        assert_eq!(failure.downcast_ref(), Some(&Stalled::Silent));
        let whole = TimedBody::new(Body::from("quick"), TIMEOUTS).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "quick");
    }

    #[test]
    fn a_trickle_fails_after_a_while() {
        let mut body = TimedBody::new((), TIMEOUTS);
        let mut arrive = |waited, bytes| {
            body.waited += waited;
            body.waiting = Some(Stopwatch::start());
            body.note(bytes)
        };
        assert_eq!(arrive(WINDOW / 2, 1), Ok(()));
        assert_eq!(arrive(WINDOW / 2, 1_100), Ok(()));
        assert_eq!(arrive(WINDOW / 2, 10), Ok(()));
        assert_eq!(arrive(WINDOW / 2, 10), Err(Stalled::Slow));
    }
}

//! Tracks the activity of a connection, to detect clients that exceed a timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::timeouts::Timeouts;
use crate::runtime::clock::Stopwatch;

/// The shortest interval between two checks of a connection.
const LOOK_MIN: Duration = Duration::from_millis(20);

/// The activity of a connection. Its socket, its requests and its responses report it.
#[derive(Debug)]
pub(super) struct Activity {
    watch: Stopwatch,
    /// The number of requests whose response is not completely sent.
    under_way: AtomicUsize,
    /// The time of the latest progress: bytes were sent, or a request began or ended.
    moved_ms: AtomicU64,
    /// The number of rejected bodies that are still read and discarded.
    lingering: AtomicUsize,
    /// The arrival time of the first byte of a request whose headers are incomplete; 0 if there is none.
    head_ms: AtomicU64,
    /// The chunks of responses that wait to be sent; with HTTP/2 there may be several.
    waiting: Mutex<Vec<Piece>>,
    /// The number of requests so far.
    requests: AtomicU64,
    /// True once the connection speaks HTTP/2, whose frames may arrive outside a request.
    http2: AtomicBool,
}

/// A chunk of a response that waits to be sent.
#[derive(Debug)]
struct Piece {
    /// The number of the request that is being answered.
    request: u64,
    since_ms: u64,
    bytes: usize,
}

/// A request in progress, until this is dropped.
#[derive(Debug)]
pub(super) struct RequestGuard {
    activity: Arc<Activity>,
    request: u64,
}

impl RequestGuard {
    /// Reports that a chunk of `bytes` bytes of the response waits to be sent; `None` if no chunk does.
    pub(super) fn sending(&self, bytes: Option<usize>) {
        self.activity.sending(self.request, bytes);
    }
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            watch: Stopwatch::start(),
            under_way: AtomicUsize::new(0),
            lingering: AtomicUsize::new(0),
            moved_ms: AtomicU64::new(0),
            head_ms: AtomicU64::new(0),
            waiting: Mutex::default(),
            requests: AtomicU64::new(0),
            http2: AtomicBool::new(false),
        })
    }

    /// Records that bytes have arrived.
    pub(super) fn received(&self) {
        let other = self.under_way.load(Ordering::Relaxed) + self.lingering.load(Ordering::Relaxed);
        if other == 0 && self.head_ms.load(Ordering::Relaxed) == 0 {
            self.head_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// Records that bytes were sent.
    pub(super) fn sent(&self) {
        self.moved_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn sending(&self, request: u64, bytes: Option<usize>) {
        let since_ms = self.now_ms();
        let mut waiting = self.waiting.lock();
        let place = waiting.iter().position(|piece| piece.request == request);
        match (place, bytes) {
            (Some(place), Some(bytes)) => return waiting[place] = Piece { request, since_ms, bytes },
            (Some(place), None) => _ = waiting.swap_remove(place),
            (None, Some(bytes)) => waiting.push(Piece { request, since_ms, bytes }),
            (None, None) => return,
        }
        self.moved_ms.store(since_ms, Ordering::Relaxed);
    }

    /// Records that a request begins.
    pub(super) fn begin(self: &Arc<Self>, http2: bool) -> RequestGuard {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.head_ms.store(0, Ordering::Relaxed);
        self.http2.store(http2, Ordering::Relaxed);
        self.sent();
        RequestGuard { activity: Arc::clone(self), request: self.requests.fetch_add(1, Ordering::Relaxed) }
    }

    /// Records that the rest of a body is discarded until the guard is dropped, so its bytes do not begin a request.
    pub(super) fn linger(self: &Arc<Self>) -> LingerGuard {
        self.lingering.fetch_add(1, Ordering::Relaxed);
        LingerGuard(Arc::clone(self))
    }

    /// Returns true if no request is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// Waits until the client exceeds one of the `timeouts`.
    pub(super) async fn overdue(&self, timeouts: &Timeouts) {
        loop {
            match self.left(timeouts) {
                Some(Duration::ZERO) => return,
                left => {
                    let look = timeouts.header.min(timeouts.idle).min(timeouts.transfer) / 4;
                    sleep(left.map_or(look, |left| left.min(look)).max(LOOK_MIN)).await;
                }
            }
        }
    }

    /// Returns the time until the next timeout of the client; `None` if none applies now.
    fn left(&self, timeouts: &Timeouts) -> Option<Duration> {
        let moved = self.moved_ms.load(Ordering::Relaxed);
        let head = self.head_ms.load(Ordering::Relaxed);
        let now = self.now_ms();
        let left = |since: u64, allowed: Duration| {
            allowed.saturating_sub(Duration::from_millis(now.saturating_sub(since)))
        };
        let (since, allowed) = if !self.is_idle() {
            let waiting = self.waiting.lock();
            // Each chunk has a timeout, so a stalled response is detected although others make progress.
            let piece = |piece: &Piece| left(piece.since_ms, timeouts.for_bytes(piece.bytes));
            return waiting.iter().map(piece).min().map(|pieces| pieces.min(left(moved, timeouts.transfer)));
        } else if self.lingering.load(Ordering::Relaxed) > 0 {
            return None;
        } else if head > 0 && !self.http2.load(Ordering::Relaxed) {
            (head, timeouts.header)
        } else {
            (moved, timeouts.idle)
        };
        Some(left(since, allowed))
    }

    /// Returns the time since the connection began; never 0.
    fn now_ms(&self) -> u64 {
        1 + self.watch.elapsed().as_millis() as u64
    }
}

/// A guard that exists while the rest of a request body is discarded.
#[derive(Debug)]
pub(super) struct LingerGuard(Arc<Activity>);

impl Drop for LingerGuard {
    fn drop(&mut self) {
        self.0.lingering.fetch_sub(1, Ordering::Relaxed);
        self.0.sent();
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.activity.waiting.lock().retain(|piece| piece.request != self.request);
        self.activity.under_way.fetch_sub(1, Ordering::Relaxed);
        self.activity.sent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(100),
        transfer: Duration::from_secs(1_000),
        rate_min: 0,
    };

    /// Returns the whole seconds left, rounded up.
    fn left(activity: &Activity) -> Option<u64> {
        activity.left(&TIMEOUTS).map(|left| left.as_secs_f64().ceil() as u64)
    }

    #[test]
    fn every_phase_has_its_own_time_limit() {
        let activity = Activity::new();
        assert_eq!(left(&activity), Some(100));
        activity.received();
        assert_eq!(left(&activity), Some(10));
        let busy = activity.begin(false);
        activity.received();
        assert_eq!(left(&activity), None);
        busy.sending(Some(5));
        assert_eq!(left(&activity), Some(1_000));
        busy.sending(None);
        assert_eq!(left(&activity), None);
        drop(busy);
        assert_eq!((left(&activity), activity.is_idle()), (Some(100), true));
        let lingers = activity.linger();
        activity.received();
        assert_eq!(left(&activity), None, "what is read away begins no request");
        drop(lingers);
        assert_eq!(left(&activity), Some(100));
        drop(activity.begin(true));
        activity.received();
        assert_eq!(left(&activity), Some(100), "frames of HTTP/2 need not begin a request");
    }

    #[tokio::test]
    async fn one_response_that_stops_among_several_is_overdue() {
        let timeouts = Timeouts { transfer: Duration::from_millis(50), rate_min: 1_000, ..TIMEOUTS };
        let activity = Activity::new();
        let [stalled, _busy] = [true, true].map(|http2| activity.begin(http2));
        // The timeout is 50 ms plus 50 ms for the bytes.
        stalled.sending(Some(50));
        let moving = async {
            loop {
                let other = activity.begin(true);
                other.sending(Some(1));
                sleep(Duration::from_millis(5)).await;
                drop(other);
            }
        };
        tokio::select! {
            () = activity.overdue(&timeouts) => {}
            () = moving => {}
        }
        assert!(activity.watch.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_client_that_sends_half_a_head_is_overdue() {
        let timeouts = Timeouts { header: Duration::from_millis(50), ..TIMEOUTS };
        let activity = Activity::new();
        activity.received();
        activity.overdue(&timeouts).await;
    }
}

//! Throttles a repeated warning and counts what was suppressed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::clock::Stopwatch;

/// The minimum time between two log lines, in milliseconds.
const PAUSE_MS: u64 = 10_000;

/// Throttles a warning to one line in ten seconds.
#[derive(Debug)]
pub struct LogThrottle {
    watch: Stopwatch,
    count: AtomicU64,
    said_ms: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self { watch: Stopwatch::start(), count: AtomicU64::new(0), said_ms: AtomicU64::new(0) }
    }
}

impl LogThrottle {
    /// Counts an occurrence. Returns the number since the last warning, if a warning is due.
    pub fn count(&self) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let now_ms = 1 + self.watch.elapsed().as_millis() as u64;
        let said_ms = self.said_ms.load(Ordering::Relaxed);
        let due = said_ms == 0 || now_ms.saturating_sub(said_ms) >= PAUSE_MS;
        let mine = due
            && self.said_ms.compare_exchange(said_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| self.count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_warning_is_logged_once_and_then_suppressed() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.count(), Some(1));
        assert_eq!(throttle.count(), None);
        assert_eq!(throttle.count(), None);
    }
}

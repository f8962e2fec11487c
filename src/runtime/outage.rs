//! Tracks how long a shared dependency has been failing.

use std::time::Duration;

use parking_lot::Mutex;

use crate::runtime::clock::Stopwatch;

/// The maximum time that counts between two failures. In a longer gap there was no attempt, or the process was paused.
const SILENCE_MAX: Duration = Duration::from_mins(5);

/// Measures an outage: the time since the last failure, and the length of the outage at that failure.
#[derive(Debug, Default)]
pub struct OutageTimer(Mutex<Option<(Stopwatch, Duration)>>);

impl OutageTimer {
    /// Records a failure; returns the length of the outage so far.
    pub fn record_failure(&self) -> Duration {
        let mut latest = self.0.lock();
        let lasted =
            latest.map_or(Duration::ZERO, |(watch, lasted)| lasted + watch.elapsed().min(SILENCE_MAX));
        *latest = Some((Stopwatch::start(), lasted));
        lasted
    }

    /// Records a success; returns true if it ends an outage.
    pub fn record_success(&self) -> bool {
        self.0.lock().take().is_some()
    }

    /// Returns true if the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.0.lock().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_first_silence_to_the_next_answer() {
        let outage = OutageTimer::default();
        assert!(!outage.is_failing() && !outage.record_success());
        let first = outage.record_failure();
        assert!(outage.record_failure() >= first && outage.is_failing());
        assert!(outage.record_success() && !outage.is_failing());
    }
}

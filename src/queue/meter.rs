//! Measures the rate of events.

use crate::runtime::clock::Timestamp;

/// The length of the window in seconds.
const WINDOW_SECONDS: i64 = 60;

/// Counts the events of the last minute, second by second.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    counts: [u32; WINDOW_SECONDS as usize],
    /// The latest second that was counted.
    latest: i64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { counts: [0; WINDOW_SECONDS as usize], latest: 0 }
    }
}

impl Meter {
    /// Counts `events` that happened now.
    pub(super) fn add(&mut self, now: Timestamp, events: usize) {
        self.turn_to(now);
        let count = &mut self.counts[self.latest.rem_euclid(WINDOW_SECONDS) as usize];
        *count = count.saturating_add(u32::try_from(events).unwrap_or(u32::MAX));
    }

    /// Returns the number of events per second over the last minute.
    pub(super) fn per_second(&self, now: Timestamp) -> f64 {
        let mut turned = self.clone();
        turned.turn_to(now);
        turned.counts.iter().map(|count| f64::from(*count)).sum::<f64>() / WINDOW_SECONDS as f64
    }

    /// Drops the seconds that have left the window. If the clock was set back, the same second continues.
    fn turn_to(&mut self, now: Timestamp) {
        let second = now.as_micros().div_euclid(1_000_000);
        let passed = second.saturating_sub(self.latest).clamp(0, WINDOW_SECONDS);
        for step in 0..passed {
            self.counts[(second - step).rem_euclid(WINDOW_SECONDS) as usize] = 0;
        }
        self.latest = self.latest.max(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_minute_is_remembered_and_no_more() {
        let mut meter = Meter::default();
        meter.add(second(100), 30);
        meter.add(second(130), 30);
        assert!((meter.per_second(second(130)) - 1.0).abs() < 1e-9);
        assert!((meter.per_second(second(165)) - 0.5).abs() < 1e-9);
        assert!(meter.per_second(second(10_000)).abs() < 1e-9);
        meter.add(second(90), 60);
        assert!(meter.per_second(second(130)) > 1.9, "a clock set back loses nothing");
    }
}

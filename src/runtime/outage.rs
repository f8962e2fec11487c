//! Whether something that many use works, as they have found.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::runtime::clock::Stopwatch;

/// Of the time between two failures, so much counts at most: in a longer one nobody asked, or the process was paused.
const SILENCE_MAX: Duration = Duration::from_mins(5);

/// The last failure, and how long it had failed whoever asked by then.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<(Stopwatch, Duration)>>);

impl Outage {
    /// Somebody had no answer; how long nobody had any.
    pub fn goes_on(&self) -> Duration {
        let mut latest = self.lock();
        let lasted =
            latest.map_or(Duration::ZERO, |(watch, lasted)| lasted + watch.elapsed().min(SILENCE_MAX));
        *latest = Some((Stopwatch::start(), lasted));
        lasted
    }

    /// Somebody had an answer; whether that is news.
    pub fn is_over(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Whether the last one who asked had no answer.
    pub fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Stopwatch, Duration)>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_first_silence_to_the_next_answer() {
        let outage = Outage::default();
        assert!(!outage.is_on() && !outage.is_over());
        let first = outage.goes_on();
        assert!(outage.goes_on() >= first && outage.is_on());
        assert!(outage.is_over() && !outage.is_on());
    }
}

//! Whether something that many use works, as they have found.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::runtime::clock::Stopwatch;

/// Since when it has failed whoever asked.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<Stopwatch>>);

impl Outage {
    /// Somebody had no answer; how long nobody had any.
    pub fn goes_on(&self) -> Duration {
        self.lock().get_or_insert_with(Stopwatch::start).elapsed()
    }

    /// Somebody had an answer; whether that is news.
    pub fn is_over(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Whether the last one who asked had no answer.
    pub fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stopwatch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

//! How fast this process compares: what the size of a part is made from.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::runtime::clock::Stopwatch;

/// Comparisons a second on one thread, before anything was measured.
const FIRST_GUESS: f64 = 2e8;
/// Time that is looked at before it changes the average.
const SPAN: Duration = Duration::from_millis(300);
/// What a new span weighs against everything before it.
const WEIGHT: f64 = 0.3;

/// Measures comparisons a second over all parts in hand together, while there are any.
#[derive(Debug)]
pub(super) struct Rate(Mutex<State>);

#[derive(Debug)]
struct State {
    per_second: f64,
    measured: bool,
    parts: usize,
    since: Stopwatch,
    comparisons: u64,
}

impl Rate {
    pub(super) fn new(threads: usize) -> Self {
        let per_second = FIRST_GUESS * threads as f64;
        let state =
            State { per_second, measured: false, parts: 0, since: Stopwatch::start(), comparisons: 0 };
        Self(Mutex::new(state))
    }

    /// Comparisons a second, lately.
    pub(super) fn per_second(&self) -> f64 {
        self.with(|state| state.per_second)
    }

    /// A part is taken up.
    pub(super) fn begin(&self) {
        self.with(|state| {
            if state.parts == 0 {
                state.restart();
            }
            state.parts += 1;
        });
    }

    /// A part that was taken up has ended, after so many comparisons.
    pub(super) fn end(&self, comparisons: u64) {
        self.with(|state| {
            state.parts -= 1;
            state.comparisons += comparisons;
            let elapsed = state.since.elapsed();
            if elapsed >= SPAN {
                state.learn(elapsed);
                state.restart();
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn restart(&mut self) {
        self.since = Stopwatch::start();
        self.comparisons = 0;
    }

    fn learn(&mut self, elapsed: Duration) {
        let seen = (self.comparisons as f64 / elapsed.as_secs_f64()).max(1.0);
        // Orders of magnitude matter here, so the average is geometric.
        self.per_second =
            if self.measured { self.per_second.powf(1.0 - WEIGHT) * seen.powf(WEIGHT) } else { seen };
        self.measured = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(measured: bool) -> State {
        State { per_second: 100.0, measured, parts: 0, since: Stopwatch::start(), comparisons: 10_000 }
    }

    #[test]
    fn the_first_measurement_replaces_the_guess_and_later_ones_bend_it() {
        let mut first = state(false);
        first.learn(Duration::from_secs(1));
        assert!((first.per_second - 1e4).abs() < 1.0);
        let mut later = state(true);
        later.learn(Duration::from_secs(1));
        assert!((100.0..1e4).contains(&later.per_second));
    }

    #[test]
    fn short_parts_are_measured_together() {
        let rate = Rate::new(2);
        rate.begin();
        rate.end(5);
        assert!((rate.per_second() - 2.0 * FIRST_GUESS).abs() < 1.0);
    }
}

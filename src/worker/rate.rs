//! Measures the speed of comparisons in this process, which determines the size of parts.

use std::collections::HashMap;
use std::time::Duration;

use linkage::similarity::{Kernel, expected_per_second};
use parking_lot::Mutex;

use crate::model::Threshold;
use crate::runtime::clock::Stopwatch;

/// The length of a measurement. After it, the measurement enters the average.
const SPAN: Duration = Duration::from_millis(300);
/// The weight of a new measurement in the average.
const WEIGHT: f64 = 0.3;

/// Measures the comparisons per second of all active compare jobs together. Higher thresholds and smaller encodings are
/// compared faster, so each kind of run has a separate rate.
#[derive(Debug)]
pub(super) struct Rate {
    kernel: Kernel,
    threads: usize,
    state: Mutex<State>,
}

/// Runs that are compared at about the same speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    encoding_bytes: u32,
    threshold_percent: u32,
}

impl Kind {
    pub(super) fn of(encoding_bytes: u32, threshold: Threshold) -> Self {
        Self { encoding_bytes, threshold_percent: (100.0 * threshold.get()).round() as u32 }
    }
}

#[derive(Debug)]
struct State {
    per_second: HashMap<Kind, f64>,
    /// The number of active compare jobs.
    parts: usize,
    /// The kind of all jobs in this measurement; `None` if they differ.
    kind: Option<Kind>,
    since: Stopwatch,
    comparisons: u64,
}

impl Rate {
    /// Returns a rate without any measurement.
    pub(super) fn new(kernel: Kernel, threads: usize) -> Self {
        let (per_second, since) = (HashMap::new(), Stopwatch::start());
        let state = State { per_second, parts: 0, kind: None, since, comparisons: 0 };
        Self { kernel, threads, state: Mutex::new(state) }
    }

    /// Returns the measured comparisons per second of runs of this kind.
    pub(super) fn measured(&self, kind: Kind) -> Option<f64> {
        self.with(|state| state.per_second.get(&kind).copied())
    }

    /// Returns the measured comparisons per second, or an estimate without a measurement.
    pub(super) fn per_second(&self, kind: Kind) -> f64 {
        self.measured(kind).unwrap_or_else(|| {
            let threshold = f64::from(kind.threshold_percent) / 100.0;
            expected_per_second(self.kernel, kind.encoding_bytes as usize, threshold) * self.threads as f64
        })
    }

    /// Records that a part begins.
    pub(super) fn begin(&self, kind: Kind) {
        self.with(|state| {
            if state.parts == 0 {
                state.restart();
                state.kind = Some(kind);
            }
            state.parts += 1;
            state.kind = state.kind.filter(|same| *same == kind);
        });
    }

    /// Records that a part has ended, after this many comparisons.
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
        act(&mut self.state.lock())
    }
}

impl State {
    fn restart(&mut self) {
        self.since = Stopwatch::start();
        self.comparisons = 0;
    }

    fn learn(&mut self, elapsed: Duration) {
        let Some(kind) = self.kind else { return };
        let seen = (self.comparisons as f64 / elapsed.as_secs_f64()).max(1.0);
        // Rates may differ by orders of magnitude, so the average is geometric.
        let average = |before: f64| before.powf(1.0 - WEIGHT) * seen.powf(WEIGHT);
        self.per_second.entry(kind).and_modify(|rate| *rate = average(*rate)).or_insert(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(threshold: f64) -> Kind {
        Kind::of(128, Threshold::new(threshold).unwrap())
    }

    fn rate() -> Rate {
        Rate::new(Kernel::best(), 2)
    }

    #[test]
    fn the_first_measurement_replaces_the_expectation_and_later_ones_bend_it() {
        let rate = rate();
        let measure = |comparisons| {
            rate.with(|state| {
                state.kind = Some(kind(0.9));
                state.comparisons = comparisons;
                state.learn(Duration::from_secs(1));
            });
            rate.per_second(kind(0.9))
        };
        assert!((measure(10_000) - 1e4).abs() < 1.0);
        assert!((1e4..1e6).contains(&measure(1_000_000)));
        assert!(rate.per_second(kind(0.8)) > 1e6, "another threshold, another rate");
    }

    #[test]
    fn short_parts_and_parts_of_several_kinds_together_teach_nothing() {
        let rate = rate();
        let expected = rate.per_second(kind(0.9));
        let kinds = [0.9, 0.8].map(kind);
        kinds.iter().for_each(|kind| rate.begin(*kind));
        rate.end(5);
        rate.with(|state| state.learn(SPAN));
        rate.end(5);
        rate.begin(kinds[0]);
        rate.end(5);
        assert!((rate.per_second(kind(0.9)) - expected).abs() < 1.0);
    }
}

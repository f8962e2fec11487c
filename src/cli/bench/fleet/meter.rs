//! Counts what workers and API node do, and the processor time of both.

use std::fs;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::runtime::clock::Stopwatch;
use crate::telemetry::process::{Process, TICKS_PER_SECOND};

/// The name of the threads of the workers, whose processor time is not the API node's.
pub(super) const WORKERS: &str = "fleet-workers";
/// The part of the jobs at either end that is not measured: at the start workers join, and at the end jobs run out.
const MARGIN: u64 = 20;

/// Counts of what was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) jobs: u64,
    pub(super) busy_us: u64,
    pub(super) claims: u64,
    pub(super) turns: u64,
    pub(super) bytes: u64,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    pub(super) api_cpu_seconds: f64,
    pub(super) workers_cpu_seconds: f64,
    /// The time in which cores of the machine had nothing to do, in seconds.
    pub(super) cores_idle_seconds: f64,
}

/// The median and the 99th percentile of measured times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Quantiles {
    pub(super) median: f64,
    pub(super) p99: f64,
}

/// Times in milliseconds.
#[derive(Debug, Default)]
struct Times(Mutex<Vec<f32>>);

impl Times {
    fn add(&self, time: Duration) {
        self.0.lock().push(1_000.0 * time.as_secs_f32());
    }

    fn quantiles(&self) -> Quantiles {
        let mut times = self.0.lock();
        times.sort_unstable_by(f32::total_cmp);
        let quantile = |share: f64| {
            let at = (times.len() as f64 * share) as usize;
            times.get(at).copied().map_or(0.0, f64::from)
        };
        Quantiles { median: quantile(0.5), p99: quantile(0.99) }
    }
}

/// All measurements.
#[derive(Debug)]
pub(super) struct Meter {
    jobs_total: u64,
    watch: Stopwatch,
    counts: Mutex<Counts>,
    ready_to_claimed: Times,
    claim: Times,
    report: Times,
    /// The state after the first and before the last jobs.
    ends: Mutex<Vec<Share>>,
}

impl Meter {
    pub(super) fn new(jobs_total: u64) -> Self {
        Self {
            jobs_total,
            watch: Stopwatch::start(),
            counts: Mutex::default(),
            ready_to_claimed: Times::default(),
            claim: Times::default(),
            report: Times::default(),
            ends: Mutex::default(),
        }
    }

    /// Records a request that the API node has answered.
    pub(super) fn answered(&self, path: &str, bytes: u64) {
        let mut counts = self.counts.lock();
        counts.bytes += bytes;
        counts.claims += u64::from(path.ends_with("/claim"));
        counts.turns += u64::from(path.ends_with("/turn"));
    }

    /// Records a claim that took `took` and brought jobs.
    pub(super) fn claimed(&self, took: Duration) {
        self.claim.add(took);
    }

    /// Records how long a job was ready before it was claimed.
    pub(super) fn waited(&self, ready: Duration) {
        self.ready_to_claimed.add(ready);
    }

    /// Records a job that has computed for `busy` and whose report took `took`.
    pub(super) fn reported(&self, busy: Duration, took: Duration) {
        self.report.add(took);
        let jobs = {
            let mut counts = self.counts.lock();
            counts.busy_us += busy.as_micros() as u64;
            counts.jobs += 1;
            counts.jobs
        };
        let margin = self.jobs_total / MARGIN;
        if jobs == margin.max(1) || jobs == self.jobs_total - margin {
            self.ends.lock().push(self.state());
        }
    }

    fn state(&self) -> Share {
        let workers_cpu_seconds = workers_cpu_seconds();
        let all = Process::look().cpu_seconds.unwrap_or(0.0);
        Share {
            seconds: self.watch.seconds(),
            counts: *self.counts.lock(),
            api_cpu_seconds: (all - workers_cpu_seconds).max(0.0),
            workers_cpu_seconds,
            cores_idle_seconds: cores_idle_seconds(),
        }
    }

    /// Returns what happened while the middle nine tenths of the jobs were reported.
    pub(super) fn middle(&self) -> Share {
        let ends = self.ends.lock();
        let (first, last) = match ends.as_slice() {
            [first, last, ..] => (*first, *last),
            [only] => (Share::default(), *only),
            [] => return Share::default(),
        };
        let less = |count: fn(&Counts) -> u64| count(&last.counts).saturating_sub(count(&first.counts));
        Share {
            seconds: (last.seconds - first.seconds).max(1e-6),
            counts: Counts {
                jobs: less(|counts| counts.jobs),
                busy_us: less(|counts| counts.busy_us),
                claims: less(|counts| counts.claims),
                turns: less(|counts| counts.turns),
                bytes: less(|counts| counts.bytes),
            },
            api_cpu_seconds: (last.api_cpu_seconds - first.api_cpu_seconds).max(0.0),
            workers_cpu_seconds: (last.workers_cpu_seconds - first.workers_cpu_seconds).max(0.0),
            cores_idle_seconds: (last.cores_idle_seconds - first.cores_idle_seconds).max(0.0),
        }
    }

    pub(super) fn jobs(&self) -> u64 {
        self.counts.lock().jobs
    }

    pub(super) fn ready_to_claimed(&self) -> Quantiles {
        self.ready_to_claimed.quantiles()
    }

    pub(super) fn claim(&self) -> Quantiles {
        self.claim.quantiles()
    }

    pub(super) fn report(&self) -> Quantiles {
        self.report.quantiles()
    }
}

/// Returns the processor time of the threads of the simulated workers, in seconds; 0 where Linux does not report it.
fn workers_cpu_seconds() -> f64 {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0.0 };
    let of_task = |task: fs::DirEntry| -> Option<u64> {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        if name.trim() == WORKERS { times.split_whitespace().next()?.parse().ok() } else { None }
    };
    tasks.flatten().filter_map(of_task).sum::<u64>() as f64 / 1e9
}

/// Returns the time in which the cores of the machine had nothing to do since its start, in seconds; 0 where Linux does not
/// report it.
fn cores_idle_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut all = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // The idle time, and the time in which only the disk was awaited.
    let mut number = |skipped| all.nth(skipped).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    (number(3) + number(0)) as f64 / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_jobs_are_left_out() {
        let meter = Meter::new(100);
        for _ in 0..100 {
            meter.answered("/worker/v1/claim", 10);
            meter.answered("/worker/v1/turn", 5);
            meter.reported(Duration::from_millis(2), Duration::from_millis(1));
        }
        let counts = meter.middle().counts;
        assert_eq!((counts.jobs, counts.claims, counts.turns), (90, 90, 90));
        assert_eq!((counts.bytes, counts.busy_us), (1_350, 180_000));
        assert!((meter.report().median - 1.0).abs() < 1e-3);
    }

    #[test]
    fn quantiles_are_taken_from_sorted_times() {
        let times = Times::default();
        assert!(times.quantiles().p99.abs() < f64::EPSILON);
        (0..100).rev().for_each(|ms| times.add(Duration::from_millis(ms)));
        let found = times.quantiles();
        assert!((found.median - 50.0).abs() < 1e-3 && (found.p99 - 99.0).abs() < 1e-3, "{found:?}");
    }
}

//! The delays of jobs.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::super::engine::layout::Head;
use super::segment::Place;
use crate::runtime::clock::Timestamp;

/// A delay of a job.
#[derive(Clone, Copy, Debug)]
struct Delay {
    until: Timestamp,
    /// The length of the delay, or an upper bound of it.
    longest: Duration,
}

/// The delays of all jobs that have one.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct Delays {
    by_place: HashMap<Place, Delay>,
    timers: BTreeSet<(Timestamp, Place)>,
}

impl Delays {
    /// Delays a job that has no delay.
    pub(in crate::queue::sled) fn insert(&mut self, place: Place, until: Timestamp, longest: Duration) {
        self.by_place.insert(place, Delay { until, longest });
        self.timers.insert((until, place));
    }

    /// Ends the delay of a job, if it has one.
    pub(in crate::queue::sled) fn remove(&mut self, place: Place) {
        if let Some(Delay { until, .. }) = self.by_place.remove(&place) {
            self.timers.remove(&(until, place));
        }
    }

    /// Returns the time at which the delay of a job ends.
    pub(in crate::queue::sled) fn of(&self, place: Place) -> Option<Timestamp> {
        self.by_place.get(&place).map(|delay| delay.until)
    }

    /// Returns the next end of a delay: the time, and the job.
    pub(in crate::queue::sled) fn first(&self) -> Option<(Timestamp, Place)> {
        self.timers.first().copied()
    }

    /// Shortens delays that were stored while the clock was ahead, so that none lasts longer from now on than was
    /// requested. Returns the jobs whose delay was shortened.
    pub(in crate::queue::sled) fn bound(&mut self, now: Timestamp) -> Vec<Place> {
        let mut bounded = Vec::new();
        for (place, Delay { until, longest }) in &mut self.by_place {
            let latest = now.after(*longest);
            if latest < *until {
                self.timers.remove(&(*until, *place));
                self.timers.insert((latest, *place));
                *until = latest;
                bounded.push(*place);
            }
        }
        bounded
    }
}

/// Returns an upper bound of the delay of a stored job, which waits until `until` and has had `attempts` attempts. No
/// pause after a failed attempt is longer than `backoff_longest`. The head keeps the requested time, even if the mark
/// was rewritten with the time of another clock.
pub(in crate::queue::sled) fn longest(
    head: &Head,
    (slot, until): (u16, Timestamp),
    attempts: u8,
    backoff_longest: Duration,
) -> Duration {
    let first = head.delays.binary_search_by_key(&slot, |(slot, _)| *slot).map(|at| head.delays[at].1);
    match first {
        Ok(moment) if attempts == 0 || moment == until => moment.since(head.enqueued),
        _ => backoff_longest,
    }
}

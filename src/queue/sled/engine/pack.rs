//! Packs jobs into segments.

use std::cmp::Reverse;

use super::layout::{Body, Head, HeadRun, Marks};
use crate::queue::{JobId, NewJob};
use crate::runtime::clock::Timestamp;

/// The maximum size of a segment's names and payloads.
const SEGMENT_BYTES_MAX: usize = 62 << 10;
/// The size at which a segment takes no more jobs of other lanes, because lanes are emptied at different times.
const SEGMENT_BYTES_AIM: usize = 16 << 10;
const SEGMENT_JOBS_MAX: usize = 512;

/// A job that will be written.
#[derive(Debug)]
pub(in crate::queue::sled) struct Incoming {
    pub(in crate::queue::sled) job: NewJob,
    pub(in crate::queue::sled) print: u64,
    /// True if another living job has the same fingerprint.
    pub(in crate::queue::sled) collides: bool,
    pub(in crate::queue::sled) now: Timestamp,
}

/// A segment that will be written.
#[derive(Debug)]
pub(in crate::queue::sled) struct Packed {
    pub(in crate::queue::sled) head: Head,
    pub(in crate::queue::sled) body: Body,
    /// Present if jobs of the segment have been tried before.
    pub(in crate::queue::sled) marks: Option<Marks>,
    pub(in crate::queue::sled) collided: Vec<JobId>,
}

/// Cuts jobs into segments; jobs of one lane stay in order.
pub(in crate::queue::sled) fn pack(mut jobs: Vec<Incoming>) -> Vec<Packed> {
    jobs.sort_by(|left, right| lane(&left.job).cmp(&lane(&right.job)));
    let mut packed = Vec::new();
    let mut rest = jobs.as_slice();
    while !rest.is_empty() {
        let (these, others) = rest.split_at(cut(rest));
        packed.push(pack_one(these));
        rest = others;
    }
    packed
}

fn lane(job: &NewJob) -> impl Ord + '_ {
    (&job.queue, Reverse(job.priority), &job.group, job.attempts_max)
}

/// Returns the number of jobs for the next segment, at least one.
fn cut(jobs: &[Incoming]) -> usize {
    let mut bytes = jobs[0].job.size_bytes();
    for (count, pair) in (1..).zip(jobs.windows(2)) {
        let next = pair[1].job.size_bytes();
        let crosses = bytes >= SEGMENT_BYTES_AIM && lane(&pair[0].job) != lane(&pair[1].job);
        if count == SEGMENT_JOBS_MAX || bytes + next > SEGMENT_BYTES_MAX || crosses {
            return count;
        }
        bytes += next;
    }
    jobs.len()
}

fn pack_one(jobs: &[Incoming]) -> Packed {
    let delays = (0..).zip(jobs).filter_map(|(slot, incoming)| {
        incoming.job.not_before.filter(|moment| *moment > incoming.now).map(|moment| (slot, moment))
    });
    let head = Head {
        enqueued: jobs.iter().map(|incoming| incoming.now).min().unwrap_or_default(),
        runs: jobs.chunk_by(|left, right| lane(&left.job) == lane(&right.job)).map(run).collect(),
        prints: jobs.iter().map(|incoming| incoming.print).collect(),
        delays: delays.collect(),
    };
    let collided = jobs.iter().filter(|incoming| incoming.collides);
    Packed {
        marks: marks(jobs, &head),
        head,
        body: Body::of(jobs.iter().map(|incoming| &incoming.job)),
        collided: collided.map(|incoming| incoming.job.job.clone()).collect(),
    }
}

fn marks(jobs: &[Incoming], head: &Head) -> Option<Marks> {
    let attempts = (0..).zip(jobs).map(|(slot, incoming)| (slot, incoming.job.attempts));
    let attempts: Vec<(u16, u8)> = attempts.filter(|(_, attempts)| *attempts > 0).collect();
    let gone = vec![0; jobs.len().div_ceil(8)];
    (!attempts.is_empty()).then(|| Marks { gone, attempts, delays: head.delays.clone() })
}

fn run(jobs: &[Incoming]) -> HeadRun {
    let NewJob { queue, group, priority, attempts_max, .. } = &jobs[0].job;
    HeadRun {
        count: jobs.len() as u16,
        queue: queue.clone(),
        group: group.clone(),
        priority: *priority,
        attempts_max: *attempts_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(name: usize, queue: &str, payload_bytes: usize) -> Incoming {
        let job = NewJob::new(name.to_string(), queue, "g", vec![0; payload_bytes]);
        Incoming { job, print: name as u64, collides: false, now: Timestamp::default() }
    }

    #[test]
    fn small_jobs_share_a_segment_and_lanes_keep_their_order() {
        let jobs = (0..9).map(|name| incoming(name, ["b", "a"][name % 2], 100)).collect();
        let packed = pack(jobs);
        assert_eq!(packed.len(), 1);
        let counts: Vec<_> = packed[0].head.runs.iter().map(|run| (run.queue.as_str(), run.count)).collect();
        assert_eq!(counts, [("a", 4), ("b", 5)]);
        assert_eq!(packed[0].head.prints, [1, 3, 5, 7, 0, 2, 4, 6, 8]);
    }

    #[test]
    fn a_segment_stays_small_and_a_large_one_keeps_to_its_lane() {
        let many = pack((0..2_000).map(|name| incoming(name, "a", 10)).collect());
        assert_eq!(many.iter().map(|packed| packed.head.prints.len()).max(), Some(SEGMENT_JOBS_MAX));
        let large = pack((0..9).map(|name| incoming(name, "a", 30 << 10)).collect());
        assert!(large.iter().all(|packed| packed.body.as_bytes().len() <= 64 << 10));
        let lanes = pack((0..400).map(|name| incoming(name, ["b", "a"][name % 2], 100)).collect());
        assert!(lanes.iter().all(|packed| packed.head.runs.len() == 1), "{lanes:?}");
    }
}

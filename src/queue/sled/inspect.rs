//! Answers queries about queues and jobs from the state in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU8;
use std::sync::Arc;

use super::claim::read;
use super::engine::layout::{self, Tag};
use super::shared::Shared;
use super::state::leases::Address;
use super::state::queue_state::QueueState;
use super::state::segment::{Place, Run, Segment, State};
use crate::queue::{
    Error, Group, JobDetail, JobEntry, JobId, JobQuery, JobState, JobSummary, QueueName, QueueStats, Stats,
};
use crate::runtime::clock::Timestamp;

/// The number of segments that are searched before the lock on the state is released.
const SEGMENTS_AT_ONCE: usize = 1_024;
/// The number of bits of a sequence number that are the slot in the segment.
const SLOT_BITS: u32 = 16;

/// Returns the statistics of all queues.
pub(super) fn stats(queue_state: &QueueState, now: Timestamp) -> Stats {
    let longest = longest_leases(queue_state);
    let age_ms = |since: Timestamp| u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
    let mut stats = Stats::default();
    for (index, queue) in (0..).zip(queue_state.scheduler.queues()) {
        let [ready, delayed, leased] = queue.counts;
        let figures = QueueStats {
            depth: ready + delayed + leased,
            ready,
            delayed,
            leased,
            dead: queue_state.dead.count(&queue.name),
            paused: queue.paused,
            oldest_ms: queue_state.scheduler.oldest(index).filter(|_| ready > 0).map(age_ms),
            longest_lease_ms: longest.get(&index).copied().map(age_ms),
            enqueued_per_second: queue.enqueued.per_second(now),
            acked_per_second: queue.acked.per_second(now),
            failed_per_second: queue.failed.per_second(now),
        };
        stats.queues.insert(queue.name.clone(), figures);
    }
    stats
}

/// Returns the time at which the oldest lease of each queue began.
fn longest_leases(queue_state: &QueueState) -> HashMap<u32, Timestamp> {
    let mut longest = HashMap::new();
    for (address, lease) in queue_state.leases.iter().filter(|(_, lease)| !lease.cancelled) {
        if let Some(place) = queue_state.place_of(address) {
            let since = longest
                .entry(queue_state.scheduler.lane(queue_state.run_of(place).lane).queue)
                .or_insert(lease.since);
            *since = lease.since.min(*since);
        }
    }
    longest
}

/// A job in the queue, without its name.
struct Found {
    address: Address,
    queue: QueueName,
    group: Group,
    priority: i8,
    state: JobState,
    attempts: u8,
    attempts_max: NonZeroU8,
    enqueued: Timestamp,
}

impl Found {
    fn named(self, job: JobId) -> JobSummary {
        let Self { queue, group, priority, state, attempts, enqueued, .. } = self;
        let sequence = sequence(self.address);
        JobSummary { sequence, job, queue, group, priority, state, attempts, enqueued }
    }

    fn is_wanted(&self, query: &JobQuery) -> bool {
        sequence(self.address) > query.after && query.phase.is_none_or(|phase| phase == self.state.phase())
    }
}

/// Returns the address of a job as one number. 48 bits suffice for the segment: segments are numbered from 1, or from a
/// random number below 2^46, and each start skips at most about a million numbers.
const fn sequence((key, slot): Address) -> u64 {
    key << SLOT_BITS | slot as u64
}

/// Returns the dead letter of this name.
pub(super) async fn dead(shared: &Arc<Shared>, job: &JobId) -> Result<Option<JobDetail>, Error> {
    let found = shared.open_state()?.dead.find(std::slice::from_ref(job));
    let Some(letter) = found.first().copied() else { return Ok(None) };
    let theirs = Arc::clone(shared);
    let reading = tokio::task::spawn_blocking(move || theirs.store()?.get(&Tag::Dead.key(letter)));
    let Some(stored) = reading.await.map_err(|error| Error::Storage(error.into()))?? else { return Ok(None) };
    let layout::Dead { letter, attempts_max, payload, .. } = layout::decode(&stored)?;
    Ok(Some(JobDetail { entry: JobEntry::Dead(letter), attempts_max, payload: payload.into() }))
}

/// Returns the living job of this name.
pub(super) async fn living(
    shared: &Arc<Shared>,
    (key, slot): Address,
    now: Timestamp,
) -> Result<Option<JobDetail>, Error> {
    let bodies = read(shared, vec![key]).await?;
    let mut queue_state = shared.open_state()?;
    queue_state.advance(now);
    // The job may have been removed in the meantime.
    let Some(place) = queue_state.place_of((key, slot)) else { return Ok(None) };
    let run = queue_state.run_of(place);
    let found = describe(&queue_state, (place.segment, queue_state.segments.get(place.segment)), &run, slot);
    let (Some(found), Some((_, body))) = (found, bodies.first()) else { return Ok(None) };
    let (attempts_max, payload) = (found.attempts_max, body.payload(slot)?);
    let entry = JobEntry::Living(found.named(body.name(slot)?.into()));
    Ok(Some(JobDetail { entry, attempts_max, payload }))
}

/// Returns the living jobs that match a query.
pub(super) async fn jobs(
    shared: &Arc<Shared>,
    query: &JobQuery,
    now: Timestamp,
) -> Result<Vec<JobSummary>, Error> {
    shared.open_state()?.advance(now);
    let mut found = Vec::new();
    let mut next = Some(query.after >> SLOT_BITS);
    while let Some(key) = next.filter(|_| found.len() < query.count) {
        next = find(&*shared.open_state()?, query, key, &mut found);
    }
    found.truncate(query.count);
    let keys: BTreeSet<u64> = found.iter().map(|found| found.address.0).collect();
    let bodies: BTreeMap<_, _> = read(shared, keys.into_iter().collect()).await?.into_iter().collect();
    let mut jobs = Vec::with_capacity(found.len());
    for job in found {
        let (key, slot) = job.address;
        if let Some(body) = bodies.get(&key) {
            jobs.push(job.named(body.name(slot)?.into()));
        }
    }
    Ok(jobs)
}

/// Searches some segments from `key` on; returns the key to continue from.
fn find(queue_state: &QueueState, query: &JobQuery, key: u64, found: &mut Vec<Found>) -> Option<u64> {
    for (count, (index, segment)) in queue_state.segments.starting_at(key).enumerate() {
        if count == SEGMENTS_AT_ONCE || found.len() >= query.count {
            return Some(segment.key);
        }
        for run in segment.runs.iter().filter(|run| is_of(queue_state, run, query)) {
            let jobs = run.slots().filter_map(|slot| describe(queue_state, (index, segment), run, slot));
            found.extend(jobs.filter(|found| found.is_wanted(query)));
        }
    }
    None
}

/// Returns true if these jobs belong to the requested queue and group. A run without living jobs may have lost its
/// lane, and belongs to none.
fn is_of(queue_state: &QueueState, run: &Run, query: &JobQuery) -> bool {
    let Some(lane) = queue_state.scheduler.find_lane(run.lane) else { return false };
    let queue = &queue_state.scheduler.queues()[lane.queue as usize].name;
    query.queue.as_ref().is_none_or(|name| name == queue)
        && query.group.as_ref().is_none_or(|group| *group == lane.group)
}

fn describe(
    queue_state: &QueueState,
    (index, segment): (u32, &Segment),
    run: &Run,
    slot: u16,
) -> Option<Found> {
    let job = segment.slots[usize::from(slot)];
    let address = (segment.key, slot);
    let state = match job.state {
        State::Ready => JobState::Ready,
        State::Delayed => JobState::Delayed { until: queue_state.delay_of(Place { segment: index, slot }) },
        State::Held => {
            let lease = queue_state.leases.get(address)?;
            JobState::Leased { until: queue_state.leases.deadline(lease), progress: lease.progress }
        }
        State::Gone => return None,
    };
    let lane = queue_state.scheduler.lane(run.lane);
    Some(Found {
        address,
        queue: queue_state.scheduler.queues()[lane.queue as usize].name.clone(),
        group: lane.group.clone(),
        priority: lane.priority,
        state,
        attempts: job.attempts,
        attempts_max: run.attempts_max,
        enqueued: segment.enqueued,
    })
}

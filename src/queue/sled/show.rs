//! Looking at the book.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::book::Book;
use super::claim::read;
use super::leases::Address;
use super::segment::{Place, Run, Segment, State};
use super::shared::Shared;
use crate::queue::{Error, Group, JobQuery, JobState, JobSummary, QueueName, QueueStats, Stats};
use crate::runtime::clock::Timestamp;

/// All queues in figures.
pub(super) fn stats(book: &Book, now: Timestamp) -> Stats {
    let mut stats = Stats::default();
    for (index, queue) in (0..).zip(book.lanes.queues()) {
        let [ready, delayed, leased] = queue.counts;
        let age_ms = |since: Timestamp| u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        let figures = QueueStats {
            depth: ready + delayed + leased,
            ready,
            delayed,
            leased,
            dead: book.dead.count(&queue.name),
            paused: queue.paused,
            oldest_ms: book.lanes.oldest(index).filter(|_| ready > 0).map(age_ms),
            enqueued_per_second: queue.enqueued.per_second(now),
            acked_per_second: queue.acked.per_second(now),
            failed_per_second: queue.failed.per_second(now),
        };
        stats.queues.insert(queue.name.clone(), figures);
    }
    stats
}

/// What is known of a job without its name.
struct Found {
    address: Address,
    queue: QueueName,
    group: Group,
    priority: i8,
    state: JobState,
    attempts: u8,
    enqueued: Timestamp,
}

/// Shows living jobs.
pub(super) async fn jobs(
    shared: &Arc<Shared>,
    query: &JobQuery,
    now: Timestamp,
) -> Result<Vec<JobSummary>, Error> {
    let found = {
        let mut book = shared.open_book()?;
        book.advance(now);
        find(&book, query)
    };
    let keys: BTreeSet<u64> = found.iter().map(|found| found.address.0).collect();
    let bodies: HashMap<_, _> = read(shared, keys.into_iter().collect()).await?.into_iter().collect();
    let mut jobs = Vec::with_capacity(found.len());
    for Found { address: (key, slot), queue, group, priority, state, attempts, enqueued } in found {
        if let Some(body) = bodies.get(&key) {
            let job = body.name(slot)?.into();
            jobs.push(JobSummary { job, queue, group, priority, state, attempts, enqueued });
        }
    }
    Ok(jobs)
}

fn find(book: &Book, query: &JobQuery) -> Vec<Found> {
    let mut found = Vec::new();
    for (index, segment) in book.segments.iter() {
        for run in &segment.runs {
            for slot in run.slots() {
                if found.len() == query.count {
                    return found;
                }
                found.extend(describe(book, query, (index, segment), run, slot));
            }
        }
    }
    found
}

fn describe(
    book: &Book,
    query: &JobQuery,
    (index, segment): (u32, &Segment),
    run: &Run,
    slot: u16,
) -> Option<Found> {
    let job = segment.slots[usize::from(slot)];
    let address = (segment.key, slot);
    let state = match job.state {
        State::Ready => JobState::Ready,
        State::Delayed => JobState::Delayed { until: book.delay_of(Place { segment: index, slot }) },
        State::Held => {
            let hold = book.leases.get(address)?;
            JobState::Leased { until: hold.until, progress: hold.progress }
        }
        State::Gone => return None,
    };
    let lane = book.lanes.lane(run.lane);
    let queue = &book.lanes.queues()[lane.queue as usize].name;
    let wanted = query.queue.as_ref().is_none_or(|name| name == queue)
        && query.group.as_ref().is_none_or(|group| *group == lane.group);
    wanted.then(|| Found {
        address,
        queue: queue.clone(),
        group: lane.group.clone(),
        priority: lane.priority,
        state,
        attempts: job.attempts,
        enqueued: segment.enqueued,
    })
}

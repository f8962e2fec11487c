//! The state of the queue in memory. The committer writes its changes to the disk.

use std::collections::HashMap;
use std::num::NonZeroU8;
use std::sync::{Arc, Condvar};
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::engine::layout::{Head, Marks};
use super::dead_letters::DeadLetters;
use super::delays::{Delays, longest};
use super::leases::{Address, Leases};
use super::pending::{NewDeadLetter, PendingWrites};
use super::scheduler::{Scheduler, SlotRange};
use super::segment::{Place, Run, Segment, Segments, Slot, State, tag_of};
use crate::queue::{Error, LAPSES_PER_ATTEMPT};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

/// The lane of a run without living jobs.
const NO_LANE: u32 = u32::MAX;

/// The reason why the queue rejects calls.
#[derive(Clone, Debug)]
pub(in crate::queue::sled) enum Ended {
    Closed,
    /// The store has failed and is being reopened.
    Recovering(Arc<str>),
    /// The store is damaged; only a restart helps.
    Failed(Arc<str>),
}

impl Ended {
    pub(in crate::queue::sled) fn error(&self) -> Error {
        match self {
            Self::Closed => Error::Closed,
            Self::Recovering(reason) | Self::Failed(reason) => Error::Storage(reason.to_string().into()),
        }
    }
}

/// The state of the queue.
#[derive(Debug)]
pub(in crate::queue::sled) struct QueueState {
    pub(in crate::queue::sled) segments: Segments,
    pub(in crate::queue::sled) scheduler: Scheduler,
    pub(in crate::queue::sled) leases: Leases,
    pub(in crate::queue::sled) dead: DeadLetters,
    pub(in crate::queue::sled) pending: PendingWrites,
    pub(in crate::queue::sled) ended: Option<Ended>,
    delays: Delays,
    /// For each job with expired leases: their number since the last one that counted as an attempt.
    lapses: HashMap<Place, u8>,
    /// True after the first call with a time.
    timed: bool,
    /// The longest pause after a failed attempt.
    backoff_longest: Duration,
    /// The next number for a segment or a dead letter.
    next_number: u64,
}

impl QueueState {
    /// Creates an empty state, which notifies `work` when there is something to write. `backoff_longest` is the longest
    /// pause after a failed attempt.
    pub(in crate::queue::sled) fn new(
        entropy: &Entropy,
        next_number: u64,
        work: Arc<Condvar>,
        backoff_longest: Duration,
    ) -> Self {
        Self {
            segments: Segments::default(),
            scheduler: Scheduler::default(),
            leases: Leases::new(entropy),
            dead: DeadLetters::default(),
            pending: PendingWrites::new(work),
            ended: None,
            delays: Delays::default(),
            lapses: HashMap::new(),
            timed: false,
            backoff_longest,
            next_number,
        }
    }

    /// Returns a number that no segment and no dead letter has had.
    pub(in crate::queue::sled) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Ensures that no number below this one is assigned.
    pub(in crate::queue::sled) fn count_on_from(&mut self, number: u64) {
        self.next_number = self.next_number.max(number);
    }

    /// Returns the exclusive upper bound of the numbers that may be in use.
    pub(in crate::queue::sled) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Adds a segment that is on the disk.
    pub(in crate::queue::sled) fn admit(&mut self, key: u64, head: &Head, marks: Option<&Marks>) -> u32 {
        let delays = marks.map_or(&head.delays, |marks| &marks.delays);
        let slots = slots_of(head.prints.len(), delays, marks);
        let mut first = 0;
        let mut runs = Vec::with_capacity(head.runs.len());
        for run in &head.runs {
            let live = slots[first..first + usize::from(run.count)].iter();
            let live = live.filter(|slot| slot.state != State::Gone).count();
            let lane = if live == 0 {
                NO_LANE
            } else {
                let queue = self.scheduler.queue(&run.queue);
                self.scheduler.find_or_make(queue, run.priority, &run.group)
            };
            let entry = Run { first: first as u16, count: run.count, lane, attempts_max: run.attempts_max };
            if live > 0 {
                self.scheduler.add_live(lane, live as u64);
            }
            runs.push(entry);
            first += usize::from(run.count);
        }
        let live = slots.iter().filter(|slot| slot.state != State::Gone).count() as u16;
        let waiting: Vec<_> = delays
            .iter()
            .map(|&(slot, until)| {
                let attempts = slots[usize::from(slot)].attempts;
                (slot, until, longest(head, (slot, until), attempts, self.backoff_longest))
            })
            .collect();
        let (runs, slots) = (runs.into_boxed_slice(), slots.into_boxed_slice());
        let index = self.segments.insert(Segment {
            key,
            enqueued: head.enqueued,
            live,
            dirty: false,
            marked: marks.is_some(),
            runs,
            slots,
        });
        for (slot, until, longest) in waiting {
            self.delays.insert(Place { segment: index, slot }, until, longest);
        }
        self.line_up(index);
        index
    }

    /// Counts the jobs of a new segment, and puts the ready ones into their lanes.
    fn line_up(&mut self, index: u32) {
        let segment = self.segments.get(index);
        let (tag, since) = (tag_of(segment.key), segment.enqueued);
        for run in &segment.runs {
            let slots = &segment.slots[usize::from(run.first)..usize::from(run.first + run.count)];
            let mut first = run.first;
            for same in slots.chunk_by(|left, right| left.state == right.state) {
                let (state, count) = (same[0].state, same.len() as u16);
                if let Some(jobs) = (state != State::Gone)
                    .then(|| self.scheduler.queue_of(run.lane).count_mut(state))
                    .flatten()
                {
                    *jobs += u64::from(count);
                }
                if state == State::Ready {
                    self.scheduler.push_back(
                        run.lane,
                        SlotRange { segment: index, tag, first, count, since, ready: since },
                    );
                }
                first += count;
            }
        }
    }

    /// Returns the position of a job, if its segment is still in memory.
    pub(in crate::queue::sled) fn place_of(&self, (key, slot): Address) -> Option<Place> {
        let segment = self.segments.find(key)?;
        (usize::from(slot) < self.segments.get(segment).slots.len()).then_some(Place { segment, slot })
    }

    /// Returns the identity of a job on the disk.
    pub(in crate::queue::sled) fn address_of(&self, place: Place) -> Address {
        (self.segments.get(place.segment).key, place.slot)
    }

    /// Returns the run to which a living job belongs.
    pub(in crate::queue::sled) fn run_of(&self, place: Place) -> Run {
        self.segments.get(place.segment).run_of(place.slot)
    }

    /// Returns the end of the delay of a job.
    pub(in crate::queue::sled) fn delay_of(&self, place: Place) -> Timestamp {
        self.delays.of(place).unwrap_or_default()
    }

    /// Changes the state of a living job, and the counts.
    pub(in crate::queue::sled) fn set_state(&mut self, place: Place, state: State) {
        let lane = self.run_of(place).lane;
        let slot = self.segments.slot_mut(place);
        let before = std::mem::replace(&mut slot.state, state);
        let queue = self.scheduler.queue_of(lane);
        if let Some(jobs) = queue.count_mut(before) {
            *jobs -= 1;
        }
        if let Some(jobs) = queue.count_mut(state) {
            *jobs += 1;
        }
        if before == State::Delayed {
            self.delays.remove(place);
        }
        if state == State::Gone {
            if !self.lapses.is_empty() {
                self.lapses.remove(&place);
            }
            self.segments.get_mut(place.segment).live -= 1;
            self.scheduler.drop_live(lane);
        }
    }

    /// Marks the segment of a job as changed.
    pub(in crate::queue::sled) fn mark_dirty(&mut self, place: Place) {
        let segment = self.segments.get_mut(place.segment);
        if !std::mem::replace(&mut segment.dirty, true) {
            self.pending.add_dirty(place.segment);
        }
    }

    /// Removes a finished job.
    pub(in crate::queue::sled) fn finish(&mut self, place: Place) {
        self.set_state(place, State::Gone);
        self.mark_dirty(place);
    }

    /// Makes a job ready at `ready`, before all others of its lane.
    pub(in crate::queue::sled) fn put_first(&mut self, place: Place, ready: Timestamp) {
        self.set_state(place, State::Ready);
        let (lane, range) = self.range_of(place, ready);
        self.scheduler.push_front(lane, range);
    }

    fn range_of(&self, place: Place, ready: Timestamp) -> (u32, SlotRange) {
        let segment = self.segments.get(place.segment);
        let (tag, since) = (tag_of(segment.key), segment.enqueued);
        let range = SlotRange {
            segment: place.segment,
            tag,
            first: place.slot,
            count: 1,
            since,
            ready: ready.max(since),
        };
        (segment.run_of(place.slot).lane, range)
    }

    /// Delays a job that has failed.
    pub(in crate::queue::sled) fn delay(&mut self, place: Place, until: Timestamp) {
        self.set_state(place, State::Delayed);
        self.delays.insert(place, until, self.backoff_longest);
        self.mark_dirty(place);
    }

    /// Turns a job that has used its attempts into a dead letter.
    pub(in crate::queue::sled) fn dead_letter(&mut self, place: Place, reason: String, now: Timestamp) {
        let (address, run, slot) = (self.address_of(place), self.run_of(place), self.segments.slot(place));
        let sequence = self.number();
        let lane = self.scheduler.lane(run.lane);
        self.pending.add_dead_letter(NewDeadLetter {
            sequence,
            address,
            queue: self.scheduler.queues()[lane.queue as usize].name.clone(),
            group: lane.group.clone(),
            priority: lane.priority,
            attempts: slot.attempts,
            attempts_max: run.attempts_max,
            reason,
            died: now,
        });
        self.finish(place);
    }

    /// Returns true if a job has used its attempts.
    pub(in crate::queue::sled) fn is_exhausted(slot: Slot, attempts_max: NonZeroU8) -> bool {
        slot.attempts >= attempts_max.get()
    }

    /// Advances the time: leases expire and delays end.
    pub(in crate::queue::sled) fn advance(&mut self, now: Timestamp) {
        if !std::mem::replace(&mut self.timed, true) {
            // The shortened delays are stored, so that the next start continues from them.
            for place in self.delays.bound(now) {
                self.mark_dirty(place);
            }
        }
        while let Some((address, lease)) = self.leases.pop_expired(now) {
            if !lease.cancelled
                && let Some(place) = self.place_of(address)
            {
                self.abandon(place, self.leases.deadline(&lease), now);
            }
        }
        while let Some((until, place)) = self.delays.first().filter(|(until, _)| *until <= now) {
            self.end_delay(place, until);
        }
    }

    /// Ends the delay of a job, also on the disk: if the clock is set back before the next start, the job does not wait
    /// again.
    fn end_delay(&mut self, place: Place, until: Timestamp) {
        // A job that was tried before goes first; others keep their order.
        if self.segments.slot(place).attempts > 0 {
            self.put_first(place, until);
        } else {
            self.set_state(place, State::Ready);
            let (lane, range) = self.range_of(place, until);
            self.scheduler.push_back(lane, range);
        }
        self.mark_dirty(place);
    }

    /// Takes a job back after its lease expired at `until`. Only one lapse in [`LAPSES_PER_ATTEMPT`] counts as an
    /// attempt, since the cause may be the worker.
    fn abandon(&mut self, place: Place, until: Timestamp, now: Timestamp) {
        let (slot, run) = (self.segments.slot(place), self.run_of(place));
        self.scheduler.queue_of(run.lane).failed.add(now, 1);
        let lapses = self.lapses.entry(place).or_default();
        *lapses += 1;
        if *lapses < LAPSES_PER_ATTEMPT {
            self.segments.slot_mut(place).attempts = slot.attempts.saturating_sub(1);
            self.mark_dirty(place);
            self.put_first(place, until);
            return;
        }
        self.lapses.remove(&place);
        if Self::is_exhausted(slot, run.attempts_max) {
            let reason = format!(
                "the lease of attempt {} of {} ran out {LAPSES_PER_ATTEMPT} times",
                slot.attempts, run.attempts_max
            );
            self.dead_letter(place, reason, now);
        } else {
            self.put_first(place, until);
        }
    }

    /// Undoes the last lapse of a job, whose worker still works on it, and its effect on the attempts; returns true if
    /// there was a lapse.
    pub(in crate::queue::sled) fn forgive_lapse(&mut self, place: Place) -> bool {
        let Some(lapses) = self.lapses.get_mut(&place) else { return false };
        *lapses -= 1;
        if *lapses == 0 {
            self.lapses.remove(&place);
        }
        self.segments.slot_mut(place).attempts += 1;
        self.mark_dirty(place);
        true
    }

    /// Returns the next moment at which a lease expires or a delay ends.
    pub(in crate::queue::sled) fn next_event(&self) -> Option<Timestamp> {
        let delay = self.delays.first().map(|(until, _)| until);
        delay.into_iter().chain(self.leases.next_deadline()).min()
    }

    /// Returns a receiver that fires once all changes so far are on the disk; `None` if they already are.
    pub(in crate::queue::sled) fn ticket(&mut self) -> Option<oneshot::Receiver<()>> {
        self.pending.ticket()
    }
}

fn slots_of(count: usize, delays: &[(u16, Timestamp)], marks: Option<&Marks>) -> Vec<Slot> {
    let mut slots = vec![Slot { state: State::Ready, attempts: 0 }; count];
    for (slot, _) in delays {
        slots[usize::from(*slot)].state = State::Delayed;
    }
    let Some(marks) = marks else { return slots };
    for (slot, attempts) in &marks.attempts {
        slots[usize::from(*slot)].attempts = *attempts;
    }
    for (number, slot) in (0..).zip(&mut slots) {
        if marks.is_gone(number) {
            slot.state = State::Gone;
        }
    }
    slots
}

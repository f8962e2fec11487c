//! The committer thread: writes all pending changes as one batch with one sync.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::engine::batch::WriteBatch;
use super::engine::layout::{BOUND_KEY, Dead, Head, Tag, decode};
use super::engine::pack::{Incoming, Packed, pack};
use super::engine::store::Store;
use super::engine::succession;
use super::engine::tree::storage;
use super::recovery::{StoreLocation, recover};
use super::settings::Settings;
use super::shared::Shared;
use super::state::ids::{Ids, print};
use super::state::leases::Address;
use super::state::load::Opened;
use super::state::pending::{Batch, FlushUrgency, Lookup, NewDeadLetter, Request};
use super::state::queue_state::{Ended, QueueState};
use super::state::segment::State;
use crate::queue::{DeadLetter, Error, JobId, NewJob};
use crate::runtime::compute::panic_text;
use crate::telemetry::chain;

/// The delay after which changes are written for which no caller waits, such as attempts: well below the 100 ms that
/// the contract allows.
const ATTEMPT_FLUSH_DELAY: Duration = Duration::from_millis(50);
/// After this many panics the committer gives up: it cannot work with the stored data.
const PANICS_MAX: u32 = 3;
/// The number of segment numbers reserved in advance, so that the bound on the disk is rarely written.
const NUMBERS_AHEAD: u64 = 1 << 20;

/// Writes batches until the queue is closed. Reopens the store after a failure.
pub(super) fn run(shared: &Shared, location: &StoreLocation, mut opened: Opened) {
    let mut panics = 0;
    let ended = loop {
        let Settings { group_commit_delay, .. } = location.settings;
        let mut committer =
            Committer { shared, location, ids: opened.ids, bound: opened.bound, group_commit_delay };
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| committer.run()));
        let failure = match outcome {
            Ok(Ok(())) => break Ended::Closed,
            Ok(Err(failure)) => failure,
            Err(panic) => {
                panics += 1;
                let text = panic_text(panic.as_ref()).into();
                if panics < PANICS_MAX { Error::Storage(text) } else { Error::Damaged(text) }
            }
        };
        match recover(shared, location, failure) {
            Ok(Some(again)) => opened = again,
            Ok(None) => break Ended::Closed,
            Err(damaged) => break Ended::Failed(damaged.reason().into()),
        }
    };
    shared.end(ended);
}

struct Committer<'a> {
    shared: &'a Shared,
    location: &'a StoreLocation,
    /// The index of the names in the queue, which only the committer uses.
    ids: Ids,
    /// The bound on the disk: all numbers that were assigned are below it.
    bound: u64,
    group_commit_delay: Duration,
}

/// The changes to make in memory once a batch is on the disk.
#[derive(Default)]
struct Outcome {
    segments: Vec<(u64, Packed)>,
    letters: Vec<DeadLetter>,
    /// Segments without living jobs, with their keys.
    emptied: Vec<(u32, u64)>,
    answers: Vec<(oneshot::Sender<usize>, usize)>,
}

impl Committer<'_> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(batch) = self.next_batch()? {
            self.write(batch)?;
        }
        self.shared.store()?.close()
    }

    /// Waits for something to write; returns `None` when the queue is closed and everything is written.
    ///
    /// # Errors
    /// The failure after which the store must be reopened.
    fn next_batch(&self) -> Result<Option<(Batch, WriteBatch, Outcome)>, Error> {
        let mut state = self.shared.state();
        let mut waited = false;
        loop {
            if let Some(failure) = state.pending.failure() {
                return Err(failure);
            }
            let (closing, empty) = (state.ended.is_some(), state.pending.is_empty());
            if closing && empty {
                return Ok(None);
            }
            let delay = match state.pending.urgency() {
                FlushUrgency::None => ATTEMPT_FLUSH_DELAY,
                FlushUrgency::Soon => self.group_commit_delay,
                FlushUrgency::Now => break,
            };
            if closing || waited && !empty {
                break;
            }
            let work = &self.shared.work;
            if waited {
                state.pending.asleep = true;
                state = work.wait(state).expect("no caller panics with the state");
                (state.pending.asleep, waited) = (false, false);
            } else {
                // Waits even if there is no work: then the next change needs no notification to be written in time.
                let (again, timeout) =
                    work.wait_timeout(state, delay).expect("no caller panics with the state");
                (state, waited) = (again, timeout.timed_out());
            }
        }
        let batch = state.pending.take();
        let (mut writes, mut outcome) = (WriteBatch::default(), Outcome::default());
        write_marks(&mut state, &batch.dirty, &mut writes, &mut outcome);
        Ok(Some((batch, writes, outcome)))
    }

    fn write(&mut self, (batch, mut writes, mut outcome): (Batch, WriteBatch, Outcome)) -> Result<(), Error> {
        for (key, present) in batch.keys {
            if present {
                writes.insert(key, Bytes::new(), false);
            } else {
                writes.remove(key);
            }
        }
        self.find(batch.lookups)?;
        self.write_dead_letters(batch.dead_letters, &mut writes, &mut outcome)?;
        self.accept(batch.requests, &mut writes, &mut outcome)?;
        self.raise_bound(&mut writes);
        let emptied = self.prints_of(&outcome.emptied)?;
        // An empty batch needs no sync: the duplicate jobs that it skipped are on the disk already.
        if !writes.is_empty() {
            self.shared.store()?.commit(writes)?;
            self.shared.in_place()?;
        }
        for (segment, prints) in emptied {
            self.ids.remove(segment, &prints);
        }
        self.publish(outcome);
        self.erase_traces(batch.erasures)
    }

    /// Rewrites the store, if a caller requested it. If that fails, the old store is kept.
    fn erase_traces(&self, asked: Vec<oneshot::Sender<Result<(), Error>>>) -> Result<(), Error> {
        if asked.is_empty() {
            return Ok(());
        }
        let StoreLocation { directory, settings, .. } = self.location;
        let made =
            succession::prepare(directory, |successor| self.shared.store()?.copy_to(successor, settings));
        if made.is_ok() {
            self.shared.exchange_store(|old| {
                drop(old);
                succession::replace(directory).map_err(storage)?;
                Store::open(directory, settings)
            })?;
        }
        let reason = made.err().map(|error| chain(&error));
        for answer in asked {
            let outcome = reason.clone().map_or(Ok(()), |reason| Err(Error::Storage(reason.into())));
            // The receiver is gone if the caller no longer waits.
            let _ = answer.send(outcome);
        }
        Ok(())
    }

    /// Answers the lookups of living jobs by name.
    fn find(&self, lookups: Vec<Lookup>) -> Result<(), Error> {
        for Lookup { job, answer } in lookups {
            let (living, _) = self.look_up(print(job.as_str()), &job)?;
            // The receiver is gone if the caller no longer waits.
            let _ = answer.send(living);
        }
        Ok(())
    }

    /// Writes dead letters.
    fn write_dead_letters(
        &self,
        dead_letters: Vec<NewDeadLetter>,
        writes: &mut WriteBatch,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        for new in dead_letters {
            let (key, slot) = new.address;
            let body = self.shared.body(key)?;
            let letter = DeadLetter {
                sequence: new.sequence,
                job: body.name(slot)?.into(),
                queue: new.queue,
                group: new.group,
                attempts: new.attempts,
                reason: new.reason,
                died: new.died,
            };
            let (priority, attempts_max) = (new.priority, new.attempts_max);
            let payload = body.payload(slot)?.to_vec();
            let dead = Dead { letter: letter.clone(), priority, attempts_max, payload };
            writes.put(Tag::Dead, letter.sequence, &dead, true);
            outcome.letters.push(letter);
        }
        Ok(())
    }

    /// Writes new jobs, and dead letters that are redriven.
    fn accept(
        &self,
        requests: Vec<Request>,
        writes: &mut WriteBatch,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let mut names: HashSet<JobId> = outcome.letters.iter().map(|letter| letter.job.clone()).collect();
        let mut prints = HashSet::new();
        let mut incoming = Vec::new();
        for request in requests {
            let before = incoming.len();
            let mut add = |job: NewJob, print: u64, taken: bool| {
                let collides = !prints.insert(print) || taken;
                incoming.push(Incoming { job, print, collides, now: request.now });
            };
            for job in self.redrive(&request.redriven, writes)? {
                let print = print(job.job.as_str());
                let (_, taken) = self.look_up(print, &job.job)?;
                if names.insert(job.job.clone()) {
                    add(job, print, taken);
                }
            }
            for job in request.jobs {
                let print = print(job.job.as_str());
                let (known, taken) = self.look_up(print, &job.job)?;
                if known.is_none()
                    && !self.shared.state().dead.contains(&job.job)
                    && names.insert(job.job.clone())
                {
                    add(job, print, taken);
                }
            }
            outcome.answers.push((request.answer, incoming.len() - before));
        }
        for packed in pack(incoming) {
            let key = self.shared.state().number();
            writes.put(Tag::Head, key, &packed.head, true);
            if let Some(marks) = &packed.marks {
                writes.put(Tag::Marks, key, marks, true);
            }
            writes.insert(Tag::Body.key(key).to_vec(), packed.body.as_bytes().clone(), true);
            outcome.segments.push((key, packed));
        }
        Ok(())
    }

    /// Turns dead letters into jobs.
    fn redrive(&self, letters: &[u64], writes: &mut WriteBatch) -> Result<Vec<NewJob>, Error> {
        let mut jobs = Vec::new();
        for sequence in letters {
            let key = Tag::Dead.key(*sequence);
            if let Some(stored) = self.shared.store()?.get(&key)? {
                let dead: Dead = decode(&stored)?;
                writes.remove(key.to_vec());
                let letter = dead.letter;
                let (priority, attempts_max) = (dead.priority, dead.attempts_max);
                let job = NewJob::new(letter.job, letter.queue, letter.group, dead.payload);
                jobs.push(NewJob { priority, attempts_max, ..job });
            }
        }
        Ok(jobs)
    }

    /// Returns the address of the job, if it is in the queue; otherwise returns true if a living job with another name
    /// has the same fingerprint.
    fn look_up(&self, print: u64, job: &JobId) -> Result<(Option<Address>, bool), Error> {
        let mut taken = false;
        for index in self.ids.find(print, job) {
            let (key, living) = living_slots(&self.shared.state(), index);
            if living.is_empty() {
                continue;
            }
            let body = self.shared.body(key)?;
            for slot in living {
                let name = body.name(slot)?;
                if name == job.as_str() {
                    return Ok((Some((key, slot)), false));
                }
                taken |= super::state::ids::print(name) == print;
            }
        }
        Ok((None, taken))
    }

    /// Raises the bound on the disk above every number in the batch.
    fn raise_bound(&mut self, writes: &mut WriteBatch) {
        let next = self.shared.state().next_number();
        if next > self.bound && !writes.is_empty() {
            self.bound = next + NUMBERS_AHEAD;
            writes.insert(BOUND_KEY.to_vec(), Bytes::copy_from_slice(&self.bound.to_le_bytes()), false);
        }
    }

    /// Returns the fingerprints of the names in segments that became empty.
    fn prints_of(&self, emptied: &[(u32, u64)]) -> Result<Vec<(u32, Vec<u64>)>, Error> {
        let mut prints = Vec::with_capacity(emptied.len());
        for (index, key) in emptied {
            if let Some(stored) = self.shared.store()?.get(&Tag::Head.key(*key))? {
                prints.push((*index, decode::<Head>(&stored)?.prints));
            }
        }
        Ok(prints)
    }

    /// Makes the changes that are on the disk visible to all callers.
    fn publish(&mut self, outcome: Outcome) {
        self.keep_bodies(&outcome);
        let mut state = self.shared.state();
        for (index, _) in &outcome.emptied {
            state.segments.remove(*index);
        }
        for letter in outcome.letters {
            state.dead.insert(letter);
        }
        let news = !outcome.segments.is_empty();
        for (key, packed) in outcome.segments {
            let index = state.admit(key, &packed.head, packed.marks.as_ref());
            count_enqueued(&mut state, &packed.head);
            self.index(index, packed);
        }
        let written = state.pending.written();
        drop(state);
        if news {
            self.shared.wake.notify_waiters();
        }
        for (answer, accepted) in outcome.answers {
            // The receiver is gone if the caller no longer waits.
            let _ = answer.send(accepted);
        }
        for waiter in written {
            let _ = waiter.send(());
        }
    }

    fn index(&mut self, index: u32, packed: Packed) {
        let names: HashSet<u64> = packed.collided.iter().map(|job| print(job.as_str())).collect();
        for print in packed.head.prints.iter().filter(|print| !names.contains(print)) {
            self.ids.insert(*print, index);
        }
        for job in packed.collided {
            self.ids.insert_collided(job, index);
        }
    }

    fn keep_bodies(&self, outcome: &Outcome) {
        let mut cache = self.shared.cache();
        for (_, key) in &outcome.emptied {
            cache.remove(*key);
        }
        for (key, packed) in &outcome.segments {
            cache.offer(*key, packed.body.clone());
        }
    }
}

/// Writes the marks of segments, and removes segments without living jobs.
fn write_marks(state: &mut QueueState, dirty: &[u32], writes: &mut WriteBatch, outcome: &mut Outcome) {
    for &index in dirty {
        let segment = state.segments.get_mut(index);
        segment.dirty = false;
        let (key, live, marked) = (segment.key, segment.live, segment.marked);
        segment.marked = true;
        if live == 0 {
            writes.remove(Tag::Head.key(key).to_vec());
            writes.remove(Tag::Body.key(key).to_vec());
            if marked {
                writes.remove(Tag::Marks.key(key).to_vec());
            }
            outcome.emptied.push((index, key));
        } else {
            let place = |slot| super::state::segment::Place { segment: index, slot };
            let marks = state.segments.get(index).marks(|slot| state.delay_of(place(slot)));
            writes.put(Tag::Marks, key, &marks, !marked);
        }
    }
}

fn living_slots(state: &QueueState, index: u32) -> (u64, Vec<u16>) {
    let segment = state.segments.get(index);
    let living = (0..).zip(&segment.slots).filter(|(_, slot)| slot.state != State::Gone);
    (segment.key, living.map(|(slot, _)| slot).collect())
}

fn count_enqueued(state: &mut QueueState, head: &Head) {
    for run in &head.runs {
        let queue = state.scheduler.queue(&run.queue);
        state.scheduler.queue_mut(queue).enqueued.add(head.enqueued, usize::from(run.count));
    }
}

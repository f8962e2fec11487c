//! The operations of workers: claim, heartbeat, ack, nack and release.

use std::time::Duration;

use super::super::engine::layout::Tag;
use super::leases::{Address, read};
use super::queue_state::QueueState;
use super::segment::{Place, State};
use crate::queue::backoff::Backoff;
use crate::queue::{
    Acked, Cancelled, Claim, Error, Fence, Group, Heartbeat, JobId, LeaseId, Pulse, QueueName, Redelivery,
};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

/// A claimed job, without its name and payload, which are on the disk.
#[derive(Clone, Debug)]
pub(in crate::queue::sled) struct Claimed {
    pub(in crate::queue::sled) address: Address,
    pub(in crate::queue::sled) fence: Fence,
    pub(in crate::queue::sled) until: Timestamp,
    pub(in crate::queue::sled) attempt: u8,
    pub(in crate::queue::sled) enqueued: Timestamp,
    pub(in crate::queue::sled) ready: Timestamp,
    pub(in crate::queue::sled) queue: QueueName,
    pub(in crate::queue::sled) group: Group,
}

impl QueueState {
    /// Hands out jobs, if there are any.
    pub(in crate::queue::sled) fn pick(&mut self, claim: &Claim, now: Timestamp) -> Vec<Claimed> {
        self.advance(now);
        let found = claim.queues.iter().filter_map(|share| {
            self.scheduler.find_queue(&share.queue).map(|queue| (queue, share.weight.get()))
        });
        let shares: Vec<(u32, u32)> = found.collect();
        let mut picked = Vec::new();
        while picked.len() < claim.count
            && let Some(queue) = self.scheduler.turn(&shares)
        {
            let next = self.next_of(queue, now);
            picked.extend(next.map(|(place, ready)| self.hand_out(place, ready, claim.lease, now)));
        }
        picked
    }

    /// Returns the next job of a queue, and the time at which it became ready. A ready job may have used its attempts,
    /// because a restart counts as an attempt; such a job becomes a dead letter instead.
    fn next_of(&mut self, queue: u32, now: Timestamp) -> Option<(Place, Timestamp)> {
        loop {
            let range = self.scheduler.take(queue)?;
            let place = Place { segment: range.segment, slot: range.first };
            let segment = self.segments.get_if(range.segment, range.tag);
            let Some(slot) = segment.map(|segment| segment.slots[usize::from(place.slot)]) else { continue };
            if slot.state != State::Ready {
                continue;
            }
            let attempts_max = self.run_of(place).attempts_max;
            if !Self::is_exhausted(slot, attempts_max) {
                return Some((place, range.ready));
            }
            let reason = format!("the process stopped in attempt {} of {attempts_max}", slot.attempts);
            self.dead_letter(place, reason, now);
        }
    }

    fn hand_out(&mut self, place: Place, ready: Timestamp, length: Duration, now: Timestamp) -> Claimed {
        let address = self.address_of(place);
        let slot = self.segments.slot_mut(place);
        slot.attempts += 1;
        let attempt = slot.attempts;
        self.set_state(place, State::Held);
        self.mark_dirty(place);
        let (fence, until) = self.leases.grant(address, length, now);
        let lane = self.scheduler.lane(self.run_of(place).lane);
        let queue = self.scheduler.queues()[lane.queue as usize].name.clone();
        let enqueued = self.segments.get(place.segment).enqueued;
        Claimed { address, fence, until, attempt, enqueued, ready, queue, group: lane.group.clone() }
    }

    /// Processes a heartbeat. A lease from before a restart is renewed with the length `length`.
    pub(in crate::queue::sled) fn heartbeat(
        &mut self,
        beat: &Heartbeat,
        length: Duration,
        now: Timestamp,
    ) -> Pulse {
        let (address, number) = read(beat.lease.fence);
        match self.leases.get(address) {
            Some(lease) if lease.number != number => Pulse::Lost,
            Some(lease) if lease.cancelled => Pulse::Stop,
            Some(_) => {
                let until = self.leases.extend(address, beat.progress, now);
                until.map_or(Pulse::Lost, |until| Pulse::Continue { until })
            }
            None => self.take_up(address, number, length, now),
        }
    }

    /// Gives a job that no worker holds back to the worker of an earlier lease, which still works on it.
    fn take_up(&mut self, address: Address, number: u64, length: Duration, now: Timestamp) -> Pulse {
        let Some(place) = self.place_of(address) else { return Pulse::Lost };
        let slot = self.segments.slot(place);
        if slot.state != State::Ready || !self.forgive_lapse(place) && slot.attempts == 0 {
            return Pulse::Lost;
        }
        self.set_state(place, State::Held);
        Pulse::Continue { until: self.leases.adopt(address, number, length, now) }
    }

    /// Removes a finished job.
    pub(in crate::queue::sled) fn ack(&mut self, lease: &LeaseId, now: Timestamp) -> Acked {
        let (address, number) = read(lease.fence);
        match self.leases.get(address) {
            Some(lease) if lease.number == number => _ = self.leases.remove(address),
            Some(lease) if !lease.cancelled => return Acked::Lost,
            _ => {}
        }
        if let Some(place) = self.living(address) {
            self.scheduler.queue_of(self.run_of(place).lane).acked.add(now, 1);
            self.finish(place);
        }
        Acked::Done
    }

    fn living(&self, address: Address) -> Option<Place> {
        self.place_of(address).filter(|place| self.segments.slot(*place).state != State::Gone)
    }

    /// Ends a lease; returns the address of its job, and true if the job was cancelled.
    fn end_lease(&mut self, fence: Fence) -> Option<(Address, bool)> {
        let (address, number) = read(fence);
        let cancelled = self.leases.get(address).filter(|lease| lease.number == number)?.cancelled;
        self.leases.remove(address);
        Some((address, cancelled))
    }

    /// Records a failed attempt.
    pub(in crate::queue::sled) fn nack(
        &mut self,
        lease: &LeaseId,
        reason: &str,
        (backoff, entropy): (Backoff, &Entropy),
        now: Timestamp,
    ) -> Result<Redelivery, Error> {
        let lost = || Error::LeaseLost { job: lease.job.clone() };
        let (address, cancelled) = self.end_lease(lease.fence).ok_or_else(lost)?;
        if cancelled {
            return Ok(Redelivery::Cancelled);
        }
        let place = self.living(address).ok_or_else(lost)?;
        let (slot, run) = (self.segments.slot(place), self.run_of(place));
        self.scheduler.queue_of(run.lane).failed.add(now, 1);
        if Self::is_exhausted(slot, run.attempts_max) {
            self.dead_letter(place, reason.to_owned(), now);
            return Ok(Redelivery::Dead);
        }
        let at = now.after(backoff.after(slot.attempts, entropy));
        self.delay(place, at);
        Ok(Redelivery::Retried { at })
    }

    /// Releases a job as if it had not been claimed.
    pub(in crate::queue::sled) fn release(&mut self, fence: Fence, now: Timestamp) {
        if let Some((address, false)) = self.end_lease(fence)
            && let Some(place) = self.living(address)
        {
            let slot = self.segments.slot_mut(place);
            slot.attempts = slot.attempts.saturating_sub(1);
            self.mark_dirty(place);
            self.put_first(place, now);
        }
    }

    /// Removes all jobs of a group.
    pub(in crate::queue::sled) fn cancel_group(&mut self, group: &Group) -> Cancelled {
        let mut cancelled = Cancelled::default();
        for place in self.places_of(group) {
            if self.segments.slot(place).state == State::Held {
                let address = self.address_of(place);
                self.leases.cancel(address);
                cancelled.held += 1;
            } else {
                cancelled.removed += 1;
            }
            self.finish(place);
        }
        let letters = self.dead.of_group(group);
        cancelled.removed += letters.len() as u64;
        self.discard(&letters);
        cancelled
    }

    fn places_of(&self, group: &Group) -> Vec<Place> {
        let mut places = Vec::new();
        let lanes = self.scheduler.of_group(group);
        if lanes.is_empty() {
            return places;
        }
        for (index, segment) in self.segments.iter() {
            for run in segment.runs.iter().filter(|run| lanes.contains(&run.lane)) {
                let living =
                    run.slots().filter(|slot| segment.slots[usize::from(*slot)].state != State::Gone);
                places.extend(living.map(|slot| Place { segment: index, slot }));
            }
        }
        places
    }

    /// Discards dead letters.
    pub(in crate::queue::sled) fn discard(&mut self, letters: &[u64]) {
        for letter in letters {
            self.dead.remove(*letter);
            self.pending.add_key(Tag::Dead.key(*letter).to_vec(), false);
        }
    }

    /// Removes dead letters, and returns their sequence numbers. The committer enqueues their jobs.
    pub(in crate::queue::sled) fn redrive(&mut self, jobs: &[JobId]) -> Vec<u64> {
        let letters = self.dead.find(jobs);
        for letter in &letters {
            self.dead.remove(*letter);
        }
        letters
    }

    /// Pauses or resumes a queue.
    pub(in crate::queue::sled) fn set_paused(&mut self, queue: &QueueName, paused: bool) {
        let index = self.scheduler.queue(queue);
        self.scheduler.queue_mut(index).paused = paused;
        self.pending.add_key(Tag::Paused.named(queue.as_str()), paused);
    }
}

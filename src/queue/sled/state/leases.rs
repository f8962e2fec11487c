//! Leases, which are in memory only.
//!
//! Leases have a separate clock, which calls of the queue advance. A gap between two calls advances it by at most
//! [`UNSEEN_MAX`]: in a longer gap the process or the machine was stopped, or its clock was set, so no worker could
//! send a heartbeat.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::queue::{Fence, Progress, UNSEEN_MAX};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

/// The identity of a job on the disk: segment and slot. Unlike a place, it is never reused.
pub(in crate::queue::sled) type Address = (u64, u16);

/// The number of bits of a fence that distinguish leases of the same job.
const NUMBER_BITS: u32 = 48;
const SLOT_BITS: u32 = 16;
/// The longest time by which a call may be late because others overtook it. If a call is later, the clock was set back.
const LATE_MAX: Duration = Duration::from_mins(1);

/// A lease of a job.
#[derive(Clone, Copy, Debug)]
pub(in crate::queue::sled) struct LeaseEntry {
    pub(in crate::queue::sled) number: u64,
    pub(in crate::queue::sled) since: Timestamp,
    /// The end of the lease, by the clock of the leases.
    pub(in crate::queue::sled) until: Duration,
    pub(in crate::queue::sled) length: Duration,
    pub(in crate::queue::sled) progress: Progress,
    /// True if the job was cancelled and its worker does not know that yet.
    pub(in crate::queue::sled) cancelled: bool,
}

/// All leases.
///
/// A fence consists of the address of the job and a counter that starts at a random number. So a lease of the same job
/// from an earlier process has the same number with a probability of only 2^-48.
#[derive(Debug)]
pub(in crate::queue::sled) struct Leases {
    entries: HashMap<Address, LeaseEntry>,
    deadlines: BTreeSet<(Duration, Address)>,
    number: u64,
    /// The time of the clock that leases expire by. It counts at most [`UNSEEN_MAX`] between two calls.
    clock: Duration,
    /// The time of the latest call.
    latest: Option<Timestamp>,
}

impl Leases {
    pub(in crate::queue::sled) fn new(entropy: &Entropy) -> Self {
        let number = u64::from_le_bytes(entropy.bytes()) >> (64 - NUMBER_BITS);
        Self {
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
            number,
            clock: Duration::ZERO,
            latest: None,
        }
    }

    /// Advances the clock of the leases for a call at `now`. Concurrent calls may come out of order; a larger step back
    /// means that the clock was set, and counting continues from the new time.
    fn see(&mut self, now: Timestamp) {
        let latest = *self.latest.get_or_insert(now);
        self.clock += now.since(latest).min(UNSEEN_MAX);
        if now > latest || latest.since(now) > LATE_MAX {
            self.latest = Some(now);
        }
    }

    /// Returns the time at which a lease expires if calls come without a gap.
    pub(in crate::queue::sled) fn deadline(&self, lease: &LeaseEntry) -> Timestamp {
        let latest = self.latest.unwrap_or_default();
        latest.after(lease.until.saturating_sub(self.clock)).before(self.clock.saturating_sub(lease.until))
    }

    /// Grants a lease of a job; returns its fence and its end.
    pub(in crate::queue::sled) fn grant(
        &mut self,
        address: Address,
        length: Duration,
        now: Timestamp,
    ) -> (Fence, Timestamp) {
        self.number = (self.number + 1) & ((1 << NUMBER_BITS) - 1);
        let until = self.adopt(address, self.number, length, now);
        let (segment, slot) = address;
        let place = u128::from(segment) << (SLOT_BITS + NUMBER_BITS) | u128::from(slot) << NUMBER_BITS;
        (Fence::from_bits(place | u128::from(self.number)), until)
    }

    /// Restores a lease with its earlier number; returns its end.
    pub(in crate::queue::sled) fn adopt(
        &mut self,
        address: Address,
        number: u64,
        length: Duration,
        now: Timestamp,
    ) -> Timestamp {
        self.see(now);
        let until = self.clock + length;
        let lease =
            LeaseEntry { number, since: now, until, length, progress: Progress::default(), cancelled: false };
        self.deadlines.insert((until, address));
        self.entries.insert(address, lease);
        now.after(length)
    }

    /// Takes over a lease of the earlier state.
    pub(in crate::queue::sled) fn keep(&mut self, address: Address, lease: LeaseEntry) {
        self.deadlines.insert((lease.until, address));
        self.entries.insert(address, lease);
    }

    /// Continues the clock and the numbers of the earlier state.
    pub(in crate::queue::sled) const fn count_on_from(&mut self, before: &Self) {
        self.number = before.number;
        self.clock = before.clock;
        self.latest = before.latest;
    }

    pub(in crate::queue::sled) fn get(&self, address: Address) -> Option<&LeaseEntry> {
        self.entries.get(&address)
    }

    /// Extends a lease by its length.
    pub(in crate::queue::sled) fn extend(
        &mut self,
        address: Address,
        progress: Progress,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.see(now);
        let lease = self.entries.get_mut(&address)?;
        self.deadlines.remove(&(lease.until, address));
        lease.until = self.clock + lease.length;
        lease.progress = progress;
        self.deadlines.insert((lease.until, address));
        Some(now.after(lease.length))
    }

    /// Marks the job of a lease as cancelled.
    pub(in crate::queue::sled) fn cancel(&mut self, address: Address) {
        if let Some(lease) = self.entries.get_mut(&address) {
            lease.cancelled = true;
        }
    }

    /// Ends a lease.
    pub(in crate::queue::sled) fn remove(&mut self, address: Address) -> Option<LeaseEntry> {
        let lease = self.entries.remove(&address)?;
        self.deadlines.remove(&(lease.until, address));
        Some(lease)
    }

    /// Ends and returns a lease that has expired, if there is one.
    pub(in crate::queue::sled) fn pop_expired(&mut self, now: Timestamp) -> Option<(Address, LeaseEntry)> {
        self.see(now);
        let (until, address) = *self.deadlines.first()?;
        if until > self.clock {
            return None;
        }
        self.remove(address).map(|lease| (address, lease))
    }

    /// Returns all leases, in no particular order.
    pub(in crate::queue::sled) fn iter(&self) -> impl Iterator<Item = (Address, &LeaseEntry)> {
        self.entries.iter().map(|(address, lease)| (*address, lease))
    }

    /// Returns the time at which the next lease expires.
    pub(in crate::queue::sled) fn next_deadline(&self) -> Option<Timestamp> {
        let (_, address) = self.deadlines.first()?;
        self.get(*address).map(|lease| self.deadline(lease))
    }
}

/// Returns the parts of a fence: a job, and the number of its lease.
pub(in crate::queue::sled) const fn read(fence: Fence) -> (Address, u64) {
    let bits = fence.to_bits();
    let address = ((bits >> (SLOT_BITS + NUMBER_BITS)) as u64, (bits >> NUMBER_BITS) as u16);
    (address, bits as u64 & ((1 << NUMBER_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_says_which_job_and_which_hold() {
        let mut leases = Leases::new(&Entropy::seeded(1));
        let now = Timestamp::from_micros(5);
        let address = (u64::MAX - 3, 65_535);
        let (fence, until) = leases.grant(address, UNSEEN_MAX, now);
        assert_eq!(read(fence), (address, leases.get(address).unwrap().number));
        assert!(leases.pop_expired(now).is_none());
        assert_eq!(leases.pop_expired(until).unwrap().0, address);
        assert!(leases.get(address).is_none() && leases.next_deadline().is_none());
    }

    #[test]
    fn a_gap_between_calls_counts_little() {
        let mut leases = Leases::new(&Entropy::seeded(1));
        let at = |ms: i64| Timestamp::from_micros(1_700_000_000_000_000 + ms * 1_000);
        leases.grant((1, 1), 3 * UNSEEN_MAX, at(0));
        for step in [3_600_000, 0, 7_200_000, 7_200_250, -3_600_000, -3_599_900] {
            assert!(leases.pop_expired(at(step)).is_none(), "{step}");
        }
        // Of the lease of 1,500 ms, the gaps use up 500, 500, 250 and 100 ms.
        assert_eq!(leases.next_deadline(), Some(at(-3_599_750)));
        assert!(leases.pop_expired(at(-3_599_751)).is_none());
        assert!(leases.pop_expired(at(-3_599_750)).is_some());
    }
}

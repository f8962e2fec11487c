//! Leases. They are in memory only.
//!
//! Leases run by a clock of their own, which goes on with the calls: of a longer gap between two calls only
//! [`UNSEEN_MAX`] counts. In such a gap the process or the machine was stopped, or its clock was set, and no holder could
//! say that it is alive.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::queue::{Fence, Progress, UNSEEN_MAX};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

/// A job by its number on the disk: segment and slot. Unlike a place, it is never used again.
pub(in crate::queue::sled) type Address = (u64, u16);

/// Bits of a fence that tell holds on one job apart.
const NUMBER_BITS: u32 = 48;
const SLOT_BITS: u32 = 16;
/// No call waits for longer until it is its turn.
const LATE_MAX: Duration = Duration::from_mins(1);

/// One hold on a job.
#[derive(Clone, Copy, Debug)]
pub(in crate::queue::sled) struct Hold {
    pub(in crate::queue::sled) number: u64,
    pub(in crate::queue::sled) since: Timestamp,
    /// By the clock of the leases.
    pub(in crate::queue::sled) until: Duration,
    pub(in crate::queue::sled) length: Duration,
    pub(in crate::queue::sled) progress: Progress,
    /// The job is gone; its holder has not been told yet.
    pub(in crate::queue::sled) cancelled: bool,
}

/// All holds.
///
/// A fence is the address of the job and a number that starts anywhere and counts up: a hold of an earlier process on the
/// same job has the same number once in 2^48.
#[derive(Debug)]
pub(in crate::queue::sled) struct Leases {
    holds: HashMap<Address, Hold>,
    deadlines: BTreeSet<(Duration, Address)>,
    number: u64,
    /// The clock of the leases.
    clock: Duration,
    /// The moment of the latest call.
    latest: Option<Timestamp>,
}

impl Leases {
    pub(in crate::queue::sled) fn new(entropy: &Entropy) -> Self {
        let number = u64::from_le_bytes(entropy.bytes()) >> (64 - NUMBER_BITS);
        Self {
            holds: HashMap::new(),
            deadlines: BTreeSet::new(),
            number,
            clock: Duration::ZERO,
            latest: None,
        }
    }

    /// Lets the clock of the leases go on to a call at `now`. Calls that had to wait for each other come out of order; a clock
    /// that was set back is followed.
    fn see(&mut self, now: Timestamp) {
        let latest = *self.latest.get_or_insert(now);
        self.clock += now.since(latest).min(UNSEEN_MAX);
        if now > latest || latest.since(now) > LATE_MAX {
            self.latest = Some(now);
        }
    }

    /// Returns the expiry of a lease if calls come without a gap.
    pub(in crate::queue::sled) fn deadline(&self, hold: &Hold) -> Timestamp {
        let latest = self.latest.unwrap_or_default();
        latest.after(hold.until.saturating_sub(self.clock)).before(self.clock.saturating_sub(hold.until))
    }

    /// Hands out a job.
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

    /// Takes up a hold under the number it had.
    pub(in crate::queue::sled) fn adopt(
        &mut self,
        address: Address,
        number: u64,
        length: Duration,
        now: Timestamp,
    ) -> Timestamp {
        self.see(now);
        let until = self.clock + length;
        let hold =
            Hold { number, since: now, until, length, progress: Progress::default(), cancelled: false };
        self.deadlines.insert((until, address));
        self.holds.insert(address, hold);
        now.after(length)
    }

    /// Keeps a hold of the book before.
    pub(in crate::queue::sled) fn keep(&mut self, address: Address, hold: Hold) {
        self.deadlines.insert((hold.until, address));
        self.holds.insert(address, hold);
    }

    /// Goes on with the clock of the book before, and numbers no hold as it did.
    pub(in crate::queue::sled) const fn count_on_from(&mut self, before: &Self) {
        self.number = before.number;
        self.clock = before.clock;
        self.latest = before.latest;
    }

    pub(in crate::queue::sled) fn get(&self, address: Address) -> Option<&Hold> {
        self.holds.get(&address)
    }

    /// Extends a hold by its length.
    pub(in crate::queue::sled) fn extend(
        &mut self,
        address: Address,
        progress: Progress,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.see(now);
        let hold = self.holds.get_mut(&address)?;
        self.deadlines.remove(&(hold.until, address));
        hold.until = self.clock + hold.length;
        hold.progress = progress;
        self.deadlines.insert((hold.until, address));
        Some(now.after(hold.length))
    }

    /// Marks the holder's job as cancelled.
    pub(in crate::queue::sled) fn cancel(&mut self, address: Address) {
        if let Some(hold) = self.holds.get_mut(&address) {
            hold.cancelled = true;
        }
    }

    /// Ends a hold.
    pub(in crate::queue::sled) fn remove(&mut self, address: Address) -> Option<Hold> {
        let hold = self.holds.remove(&address)?;
        self.deadlines.remove(&(hold.until, address));
        Some(hold)
    }

    /// Ends one of the holds that have run out.
    pub(in crate::queue::sled) fn pop_expired(&mut self, now: Timestamp) -> Option<(Address, Hold)> {
        self.see(now);
        let (until, address) = *self.deadlines.first()?;
        if until > self.clock {
            return None;
        }
        self.remove(address).map(|hold| (address, hold))
    }

    /// All holds, in no order.
    pub(in crate::queue::sled) fn iter(&self) -> impl Iterator<Item = (Address, &Hold)> {
        self.holds.iter().map(|(address, hold)| (*address, hold))
    }

    /// Returns the expiry of the next lease.
    pub(in crate::queue::sled) fn next_deadline(&self) -> Option<Timestamp> {
        let (_, address) = self.deadlines.first()?;
        self.get(*address).map(|hold| self.deadline(hold))
    }
}

/// The content of a fence: a job and a number of its lease.
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
        // Of 1,500 ms, 500, 500, 250 and 100 have passed.
        assert_eq!(leases.next_deadline(), Some(at(-3_599_750)));
        assert!(leases.pop_expired(at(-3_599_751)).is_none());
        assert!(leases.pop_expired(at(-3_599_750)).is_some());
    }
}

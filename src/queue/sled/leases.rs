//! Who holds what, and until when. In memory alone.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::queue::{Fence, Progress};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

/// A job by its number on the disk: segment and slot. Unlike a place, it is never used again.
pub(super) type Address = (u64, u16);

/// Bits of a fence that tell holds on one job apart.
const NUMBER_BITS: u32 = 48;
const SLOT_BITS: u32 = 16;

/// One hold on a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) number: u64,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) length: Duration,
    pub(super) progress: Progress,
    /// The job is gone; its holder has not been told yet.
    pub(super) cancelled: bool,
}

/// All holds.
///
/// A fence is the address of the job and a number that starts anywhere and counts up: a hold of an earlier process on the
/// same job has the same number once in 2^48.
#[derive(Debug)]
pub(super) struct Leases {
    holds: HashMap<Address, Hold>,
    deadlines: BTreeSet<(Timestamp, Address)>,
    number: u64,
}

impl Leases {
    pub(super) fn new(entropy: &Entropy) -> Self {
        let number = u64::from_le_bytes(entropy.bytes()) >> (64 - NUMBER_BITS);
        Self { holds: HashMap::new(), deadlines: BTreeSet::new(), number }
    }

    /// Hands out a job.
    pub(super) fn grant(&mut self, address: Address, length: Duration, now: Timestamp) -> (Fence, Timestamp) {
        self.number = (self.number + 1) & ((1 << NUMBER_BITS) - 1);
        let until = self.adopt(address, self.number, length, now);
        let (segment, slot) = address;
        let place = u128::from(segment) << (SLOT_BITS + NUMBER_BITS) | u128::from(slot) << NUMBER_BITS;
        (Fence::from_bits(place | u128::from(self.number)), until)
    }

    /// Takes up a hold under the number it had.
    pub(super) fn adopt(
        &mut self,
        address: Address,
        number: u64,
        length: Duration,
        now: Timestamp,
    ) -> Timestamp {
        let until = now.after(length);
        let hold =
            Hold { number, since: now, until, length, progress: Progress::default(), cancelled: false };
        self.deadlines.insert((until, address));
        self.holds.insert(address, hold);
        until
    }

    /// Keeps a hold of the book before.
    pub(super) fn keep(&mut self, address: Address, hold: Hold) {
        self.deadlines.insert((hold.until, address));
        self.holds.insert(address, hold);
    }

    /// Numbers no hold as one of the book before.
    pub(super) const fn count_on_from(&mut self, before: &Self) {
        self.number = before.number;
    }

    pub(super) fn get(&self, address: Address) -> Option<&Hold> {
        self.holds.get(&address)
    }

    /// Extends a hold by its length.
    pub(super) fn extend(
        &mut self,
        address: Address,
        progress: Progress,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let hold = self.holds.get_mut(&address)?;
        self.deadlines.remove(&(hold.until, address));
        hold.until = now.after(hold.length);
        hold.progress = progress;
        self.deadlines.insert((hold.until, address));
        Some(hold.until)
    }

    /// Marks the holder's job as cancelled.
    pub(super) fn cancel(&mut self, address: Address) {
        if let Some(hold) = self.holds.get_mut(&address) {
            hold.cancelled = true;
        }
    }

    /// Ends a hold.
    pub(super) fn remove(&mut self, address: Address) -> Option<Hold> {
        let hold = self.holds.remove(&address)?;
        self.deadlines.remove(&(hold.until, address));
        Some(hold)
    }

    /// Ends one of the holds that have run out.
    pub(super) fn pop_expired(&mut self, now: Timestamp) -> Option<(Address, Hold)> {
        let (until, address) = *self.deadlines.first()?;
        if until > now {
            return None;
        }
        self.remove(address).map(|hold| (address, hold))
    }

    /// All holds, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Address, &Hold)> {
        self.holds.iter().map(|(address, hold)| (*address, hold))
    }

    /// When the next hold runs out.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }
}

/// What a fence says: which job, and which hold on it.
pub(super) const fn read(fence: Fence) -> (Address, u64) {
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
        let (fence, until) = leases.grant(address, Duration::from_secs(1), now);
        assert_eq!(read(fence), (address, leases.get(address).unwrap().number));
        assert!(leases.pop_expired(now).is_none());
        assert_eq!(leases.pop_expired(until).unwrap().0, address);
        assert!(leases.get(address).is_none() && leases.next_deadline().is_none());
    }
}

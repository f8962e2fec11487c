//! A compact set of pairs of records.

use std::hint::black_box;

/// The content of an empty slot: no key is 0.
const GAP: u64 = 0;
/// The number of keys that are sampled to estimate how many are still needed.
const SAMPLE_KEYS: usize = 1 << 12;

/// A set of pairs of records: a sorted array with gaps, 8 bytes a slot.
///
/// A pair's key is its two numbers, mixed by an invertible function. Keys are thus spread evenly, and are stored in
/// ascending order at the slot that corresponds to their value or a little after it. To grow, the keys are moved
/// together and spread again, in place and sequentially.
#[derive(Debug)]
pub(super) struct Edges {
    /// Keys and gaps; the last slot is always a gap.
    slots: Vec<u64>,
    /// The number of slots over which keys are spread; the slots after them take the overflow.
    homes: usize,
    count: usize,
}

impl Edges {
    const HOMES_MIN: usize = 1 << 10;

    pub(super) fn new() -> Self {
        Self { slots: vec![GAP; Self::HOMES_MIN + 1], homes: Self::HOMES_MIN, count: 0 }
    }

    /// Prefetches the slots that [`Edges::has`] and [`Edges::insert`] will read.
    #[inline]
    pub(super) fn touch(&self, records: [u32; 2]) {
        black_box(self.slots[self.home(key(records))]);
    }

    /// Returns true if the pair was inserted.
    #[inline]
    pub(super) fn has(&self, records: [u32; 2]) -> bool {
        let key = key(records);
        let behind = &self.slots[self.home(key)..];
        behind.iter().find(|slot| **slot == GAP || **slot >= key) == Some(&key)
    }

    /// Inserts a pair, for which there must be [room](Edges::make_room).
    #[inline]
    pub(super) fn insert(&mut self, records: [u32; 2]) {
        let mut moving = key(records);
        let mut at = self.home(moving);
        while self.slots[at] != GAP {
            // Larger keys move on by one slot each, up to the next gap.
            let slot = &mut self.slots[at];
            if *slot > moving {
                std::mem::swap(slot, &mut moving);
            }
            at += 1;
        }
        self.slots[at] = moving;
        if at + 1 == self.slots.len() {
            self.slots.push(GAP);
        }
        self.count += 1;
    }

    /// Makes room for another pair, if necessary. May drop pairs for which `wanted` returns false.
    pub(super) fn make_room(&mut self, wanted: impl Fn([u32; 2]) -> bool) {
        // Up to this load a key is at most a few slots after its home, mostly in the same cache line.
        if self.count < self.homes / 8 * 7 {
            return;
        }
        let wanted = |key: u64| wanted(records(key));
        let sample = || self.slots.iter().copied().filter(|key| *key != GAP).take(SAMPLE_KEYS);
        // Keys are in random order with respect to records, so the first ones are a fair sample.
        let kept = sample().filter(|key| wanted(*key)).count();
        if 4 * kept < 3 * sample().count() {
            self.slots.retain(|key| *key != GAP && wanted(*key));
        } else {
            self.slots.retain(|key| *key != GAP);
        }
        self.deal_out();
    }

    /// Spreads the keys, which are adjacent, over enough slots.
    fn deal_out(&mut self) {
        self.count = self.slots.len();
        self.homes = self.homes.max(self.count + self.count / 2);
        let end = self.slots.iter().fold(0, |end, key| self.home(*key).max(end) + 1);
        let (count, slots) = (self.count, end.max(self.homes) + 1);
        self.slots.reserve_exact(slots - count);
        self.slots.resize(slots, GAP);
        self.slots.copy_within(..count, slots - count);
        self.slots[..slots - count].fill(GAP);
        let mut end = 0;
        // The write position never overtakes the read position: the keys yet to be read fit after the write position.
        for from in slots - count..slots {
            let key = std::mem::replace(&mut self.slots[from], GAP);
            let place = self.home(key).max(end);
            self.slots[place] = key;
            end = place + 1;
        }
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        ((u128::from(key) * self.homes as u128) >> 64) as usize
    }
}

/// Odd factors, so that multiplication by them is invertible. Their bits need only look random.
const FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];
const INVERSES: [u64; 2] = [inverse(FACTORS[0]), inverse(FACTORS[1])];

/// Returns the inverse of an odd number, by Newton's method. Each step doubles the number of correct bits, starting
/// from the lowest three.
const fn inverse(factor: u64) -> u64 {
    let mut inverse = factor;
    let mut bits = 3;
    while bits < 64 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(factor.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

/// Returns the key of two different records, in either order.
#[inline]
fn key([a, b]: [u32; 2]) -> u64 {
    let mut mixed = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
    for factor in FACTORS {
        mixed = (mixed ^ mixed >> 32).wrapping_mul(factor);
    }
    mixed
}

/// Returns the records of a key.
fn records(key: u64) -> [u32; 2] {
    let mut mixed = key;
    for inverse in INVERSES.into_iter().rev() {
        mixed = mixed.wrapping_mul(inverse);
        mixed ^= mixed >> 32;
    }
    [(mixed >> 32) as u32, mixed as u32]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_says_its_records(a in any::<u32>(), b in any::<u32>()) {
            prop_assert_eq!(records(key([a, b])), [a.min(b), a.max(b)]);
        }

        #[test]
        fn edges_are_a_set(
            pairs in prop::collection::vec((0..90_u32, 100..190_u32), 0..6000),
            useless in 0..90_u32,
        ) {
            let (mut edges, mut expected) = (Edges::new(), HashSet::new());
            for (a, b) in pairs {
                if !edges.has([a, b]) {
                    edges.make_room(|[a, _]| a >= useless);
                    edges.insert([b, a]);
                }
                expected.insert([a, b]);
                prop_assert!(edges.has([a, b]));
            }
            for a in useless..90 {
                for b in 100..190 {
                    prop_assert_eq!(edges.has([a, b]), expected.contains(&[a, b]));
                }
            }
        }
    }

    #[test]
    fn the_last_keys_go_beyond_the_homes() {
        let mut edges = Edges::new();
        let last = (1..).map(|a| [0, a]).filter(|records| edges.home(key(*records)) == edges.homes - 1);
        let last: Vec<_> = last.take(9).collect();
        for records in &last {
            edges.insert(*records);
        }
        assert!(last.iter().all(|records| edges.has(*records)));
        edges.slots.retain(|key| *key != GAP);
        edges.deal_out();
        assert!(last.iter().all(|records| edges.has(*records)));
        assert_eq!(edges.slots.last(), Some(&GAP));
    }
}

//! The order of digests.

use super::super::block::Digest;
use super::super::entries::LIST_BITS;

/// Digests in their order.
pub(super) struct Ranks {
    digests: Vec<Digest>,
    /// For each rank, the number of a digest that has it.
    numbers: Vec<u32>,
}

impl Ranks {
    /// Returns the order of `digests`, and the rank of each. Equal digests have the same.
    pub(super) fn of(digests: Vec<Digest>) -> (Self, Vec<u32>) {
        let below = (1 << LIST_BITS) - 1;
        let start = |digest: &Digest| u64::from_be_bytes(*digest.first_chunk().expect("it has 32 bytes"));
        let mut order: Vec<u64> =
            digests.iter().zip(0..).map(|(digest, number)| start(digest) & !below | number).collect();
        order.sort_unstable();
        // Few digests begin alike.
        for alike in order.chunk_by_mut(|left, right| left >> LIST_BITS == right >> LIST_BITS) {
            if alike.len() > 1 {
                alike.sort_unstable_by_key(|entry| digests[(entry & below) as usize]);
            }
        }
        let mut ranks = vec![0; digests.len()];
        let mut numbers: Vec<u32> = Vec::with_capacity(digests.len());
        let mut last = None;
        for entry in order {
            let number = (entry & below) as u32;
            let same = |&before: &u64| {
                before >> LIST_BITS == entry >> LIST_BITS
                    && digests[(before & below) as usize] == digests[number as usize]
            };
            if !last.as_ref().is_some_and(same) {
                numbers.push(number);
            }
            ranks[number as usize] = numbers.len() as u32 - 1;
            last = Some(entry);
        }
        (Self { digests, numbers }, ranks)
    }

    /// Returns the number of ranks.
    pub(super) const fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Returns the digest with this rank.
    pub(super) fn digest(&self, rank: u32) -> Digest {
        self.digests[self.numbers[rank as usize] as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_are_places_in_the_sorted_set(
            digests in proptest::collection::vec((0..2_u8, 0..2_u8, 0..2_u8), 0..40),
        ) {
            // Digests differ in bytes that are sorted as a number, in part of it, and not at all.
            let digest = |&(first, middle, last): &(u8, u8, u8)| {
                let mut digest = Digest::default();
                (digest[0], digest[7], digest[31]) = (first, middle, last);
                digest
            };
            let digests: Vec<Digest> = digests.iter().map(digest).collect();
            let sorted: BTreeSet<Digest> = digests.iter().copied().collect();
            let (ranks, rank_of) = Ranks::of(digests.clone());
            let found: Vec<Digest> = (0..ranks.count() as u32).map(|rank| ranks.digest(rank)).collect();
            prop_assert_eq!(&found, &sorted.into_iter().collect::<Vec<_>>());
            let given: Vec<Digest> = rank_of.iter().map(|&rank| ranks.digest(rank)).collect();
            prop_assert_eq!(given, digests);
        }
    }
}

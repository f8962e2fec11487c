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

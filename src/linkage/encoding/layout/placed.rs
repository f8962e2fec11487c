//! Puts records into their blocks, in memory: the number of records of each block is known, so each has its place.

use super::super::block::Digest;
use super::super::entries::damaged;
use super::Error;
use super::blocks::{Blocks, ascending};
use super::ranks::Ranks;
use super::sort::Limits;

/// The number of digests that are fetched together, so that their cache misses overlap.
const DIGESTS: usize = 64;

/// The records of a range of blocks.
#[derive(Default)]
pub(super) struct Placed {
    /// The rank of the first block.
    first: u32,
    /// For each block, the place of its next record.
    next: Vec<u32>,
    records: Vec<u32>,
}

impl Placed {
    /// Returns the number of records that fit into memory, with as many blocks.
    pub(super) const fn records_max(limits: Limits) -> u64 {
        (limits.run_bytes / (size_of::<u32>() * 2)) as u64
    }

    /// Begins with blocks of which the first has the rank `first`, and of which each has as many records as `counts` says.
    pub(super) fn begin(&mut self, first: u32, counts: &[u32]) {
        self.first = first;
        self.next.clear();
        let mut sum = 0;
        for count in counts {
            self.next.push(sum);
            sum += count;
        }
        self.records.clear();
        self.records.resize(sum as usize, 0);
    }

    /// Puts `record` into the block with this rank.
    pub(super) fn put(&mut self, rank: u32, record: u32) -> Result<(), Error> {
        let next = self.next.get_mut(rank.wrapping_sub(self.first) as usize);
        let place = next.and_then(|next| {
            let place = self.records.get_mut(*next as usize)?;
            *next += 1;
            Some(place)
        });
        *place.ok_or_else(changed)? = record;
        Ok(())
    }

    /// Appends the blocks, of which each has as many records as `counts` says.
    pub(super) fn finish(&mut self, ranks: &Ranks, counts: &[u32], blocks: &mut Blocks) -> Result<(), Error> {
        let mut start = 0;
        for (at, counts) in counts.chunks(DIGESTS).enumerate() {
            let at = at * DIGESTS;
            let mut digests = [Digest::default(); DIGESTS];
            for (digest, rank) in digests.iter_mut().zip(self.first + at as u32..).take(counts.len()) {
                *digest = ranks.digest(rank);
            }
            for ((digest, &count), &end) in digests.into_iter().zip(counts).zip(&self.next[at..]) {
                if end - start != count {
                    return Err(changed());
                }
                blocks.push_block(digest, ascending(&mut self.records[start as usize..end as usize]))?;
                start = end;
            }
        }
        Ok(())
    }
}

/// Returns the error of entries that are no longer what they were when they were counted.
fn changed() -> Error {
    Error::Source(damaged())
}

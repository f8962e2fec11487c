//! The index of the names in the queue, which takes nine bytes for each job.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::queue::JobId;

/// The number of parts of the index. Each grows independently, so that growing never needs much memory at once.
const SHARDS: u64 = 4096;

/// The index, which finds the segments that may contain a name.
///
/// It has a fingerprint of each name, 44 bits of a hash. The caller must compare the name itself with those in the
/// segment. A name whose fingerprint belongs to another living job is stored in full.
#[derive(Debug)]
pub(in crate::queue::sled) struct Ids {
    shards: Vec<HashMap<u32, u32, BuildHasherDefault<Spread>>>,
    collided: HashMap<JobId, u32>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashMap::default()).collect(), collided: HashMap::new() }
    }
}

impl Ids {
    /// Returns the segments that may contain a name.
    pub(in crate::queue::sled) fn find(&self, print: u64, job: &JobId) -> impl Iterator<Item = u32> {
        let by_print = self.shards[shard(print)].get(&rest(print)).copied();
        let by_name = if self.collided.is_empty() { None } else { self.collided.get(job).copied() };
        by_print.into_iter().chain(by_name)
    }

    /// Returns the segment to which this fingerprint is assigned.
    pub(in crate::queue::sled) fn holder(&self, print: u64) -> Option<u32> {
        self.shards[shard(print)].get(&rest(print)).copied()
    }

    /// Assigns the fingerprint to a segment, and removes it from any other segment.
    pub(in crate::queue::sled) fn insert(&mut self, print: u64, segment: u32) {
        self.shards[shard(print)].insert(rest(print), segment);
    }

    /// Stores a name whose fingerprint belongs to another living job.
    pub(in crate::queue::sled) fn insert_collided(&mut self, job: JobId, segment: u32) {
        self.collided.insert(job, segment);
    }

    /// Removes a segment and those of these fingerprints that are assigned to it.
    pub(in crate::queue::sled) fn remove(&mut self, segment: u32, prints: &[u64]) {
        for &print in prints {
            let shard = &mut self.shards[shard(print)];
            if shard.get(&rest(print)) == Some(&segment) {
                shard.remove(&rest(print));
            }
        }
        self.collided.retain(|_, holder| *holder != segment);
    }
}

const fn shard(print: u64) -> usize {
    (print % SHARDS) as usize
}

const fn rest(print: u64) -> u32 {
    (print / SHARDS) as u32
}

/// Returns the fingerprint of a name, 44 bits: FNV-1a with the finalizer of `MurmurHash3`. Fingerprints are stored, so
/// this function must never change.
pub(in crate::queue::sled) fn print(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed >> 20
}

/// Mixes a hash into 64 bits.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_do_not_change() {
        assert_eq!(print(""), 0x0efd_01f6_0cd7);
        assert!(print("run/1/compare/7") < 1 << 44);
    }

    #[test]
    fn a_segment_is_forgotten_without_those_that_took_its_place() {
        let (mut ids, job) = (Ids::default(), JobId::from("a"));
        ids.insert(7, 1);
        ids.insert(8, 1);
        ids.insert(8, 2);
        ids.insert_collided(job.clone(), 1);
        assert_eq!(ids.find(7, &job).collect::<Vec<_>>(), [1, 1]);
        ids.remove(1, &[7, 8]);
        assert_eq!(ids.find(7, &job).count(), 0);
        assert_eq!(ids.holder(8), Some(2));
    }
}

//! Statistics of encodings: how many bits they set, and which occur more than once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Counts encodings of one size. Takes about 40 bytes for each distinct encoding.
pub struct Counter {
    hasher: RandomState,
    encoding_bytes: usize,
    /// The number of encodings by popcount.
    popcounts: Vec<u64>,
    /// The number of occurrences of each distinct encoding, and the number of the first, from 0. The key is a hash.
    occurrences: HashMap<u64, (u64, u64)>,
    encodings: u64,
}

/// The statistics of encodings.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The number of encodings.
    pub encodings: u64,
    /// Bits in an encoding.
    pub bits: usize,
    /// The mean popcount.
    pub mean: f64,
    /// Popcounts by percentile: 0, 1, 10, 50, 90, 99, 100. Empty without encodings.
    pub percentiles: Vec<(u8, usize)>,
    /// The number of encodings without a bit set.
    pub empty: u64,
    /// The number of distinct encodings.
    pub distinct: u64,
    /// The number of encodings that occur more than once, counting all occurrences.
    pub duplicated: u64,
    /// The most frequent encodings that occur more than once, in descending order.
    pub most_frequent: Vec<Frequent>,
}

/// An encoding that occurs more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequent {
    /// The number of occurrences.
    pub occurrences: u64,
    /// The number of its first occurrence, from 1.
    pub first: u64,
}

/// The percentiles of popcounts.
const PERCENTILES: [u8; 7] = [0, 1, 10, 50, 90, 99, 100];
/// The number of encodings in the list of the most frequent ones.
const LISTED: usize = 10;

impl Counter {
    /// A counter of encodings of `encoding_bytes` bytes.
    pub fn new(encoding_bytes: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            encoding_bytes,
            popcounts: vec![0; 8 * encoding_bytes + 1],
            occurrences: HashMap::new(),
            encodings: 0,
        }
    }

    /// Adds encodings, one after the other in `rows`.
    pub fn add(&mut self, rows: &[u8]) {
        for encoding in rows.chunks_exact(self.encoding_bytes) {
            let popcount: u32 = encoding.iter().map(|byte| byte.count_ones()).sum();
            self.popcounts[popcount as usize] += 1;
            let first = (0, self.encodings);
            self.occurrences.entry(self.hasher.hash_one(encoding)).or_insert(first).0 += 1;
            self.encodings += 1;
        }
    }

    /// Returns the statistics of the encodings added so far.
    pub fn statistics(&self) -> Statistics {
        let bits =
            self.popcounts.iter().enumerate().map(|(popcount, count)| popcount as u64 * count).sum::<u64>();
        let repeated = || self.occurrences.values().filter(|(count, _)| *count > 1);
        let mut most_frequent: Vec<_> = repeated()
            .map(|(occurrences, first)| Frequent { occurrences: *occurrences, first: first + 1 })
            .collect();
        most_frequent
            .sort_unstable_by_key(|frequent| (std::cmp::Reverse(frequent.occurrences), frequent.first));
        most_frequent.truncate(LISTED);
        Statistics {
            encodings: self.encodings,
            bits: 8 * self.encoding_bytes,
            mean: bits as f64 / self.encodings.max(1) as f64,
            percentiles: self.percentiles(),
            empty: self.popcounts[0],
            distinct: self.occurrences.len() as u64,
            duplicated: repeated().map(|(count, _)| count).sum(),
            most_frequent,
        }
    }

    /// Each percentile is the popcount of the encoding at that rank, by the nearest-rank method.
    fn percentiles(&self) -> Vec<(u8, usize)> {
        if self.encodings == 0 {
            return Vec::new();
        }
        let at = |percent: u8| {
            let rank = (u64::from(percent) * self.encodings).div_ceil(100).max(1);
            let mut sum = 0;
            let reaches = |count: &u64| {
                sum += count;
                sum >= rank
            };
            (
                percent,
                self.popcounts.iter().position(reaches).expect("the last rank is the number of encodings"),
            )
        };
        PERCENTILES.map(at).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popcounts_and_duplicates_are_counted() {
        let mut counter = Counter::new(2);
        // Ninety-seven encodings with one to eight bits, then one of them twice more, and an empty one.
        let rows: Vec<u8> = (0..97_u8).flat_map(|row| [0xFF >> (row % 8), row]).collect();
        counter.add(&rows);
        counter.add(&rows[10..12]);
        counter.add(&[rows[10], rows[11], 0, 0]);
        let found = counter.statistics();
        assert_eq!((found.encodings, found.bits, found.empty), (100, 16, 1));
        assert_eq!((found.distinct, found.duplicated), (98, 3));
        assert_eq!(found.most_frequent, [Frequent { occurrences: 3, first: 6 }]);
        let mut counts: Vec<u32> =
            rows.chunks(2).map(|row| row[0].count_ones() + row[1].count_ones()).collect();
        counts.extend([rows[10].count_ones() + rows[11].count_ones(); 2]);
        counts.push(0);
        counts.sort_unstable();
        let expected: Vec<_> =
            PERCENTILES.map(|percent| (percent, counts[usize::from(percent).max(1) - 1] as usize)).to_vec();
        assert_eq!(found.percentiles, expected);
        let mean = f64::from(counts.iter().sum::<u32>()) / 100.0;
        assert!((found.mean - mean).abs() < 1e-9);
    }

    #[test]
    fn no_encodings_have_statistics_too() {
        let found = Counter::new(128).statistics();
        assert_eq!((found.encodings, found.distinct, found.percentiles.len()), (0, 0, 0));
    }
}

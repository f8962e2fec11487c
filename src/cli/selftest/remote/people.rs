//! The invented people of the checks, and the correct results of their linkages.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use linkage::similarity::dice;

/// The size of an encoding in bytes.
pub(super) const ENCODING_BYTES: usize = 64;
/// The threshold of every run: records of different people score about 0.5, and those of one person at least 0.93.
pub(super) const THRESHOLD: f64 = 0.8;

type Encoding = [u8; ENCODING_BYTES];

/// The people who are in the data of every party.
#[derive(Clone, Debug)]
pub(super) struct People {
    encodings: Vec<Encoding>,
}

impl People {
    /// Returns `count` people, the same in every call.
    pub(super) fn new(count: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let encodings = (0..count).map(|_| {
            let mut encoding = [0; ENCODING_BYTES];
            rng.fill_bytes(&mut encoding);
            encoding
        });
        Self { encodings: encodings.collect() }
    }

    /// Returns the number of people.
    pub(super) fn count(&self) -> usize {
        self.encodings.len()
    }

    /// Returns the number of the person of each record of a party: ascending for party 0, descending for party 1, and
    /// ascending from the second person for party 2.
    pub(super) fn order(&self, party: usize) -> Vec<usize> {
        let count = self.count();
        match party {
            0 => (0..count).collect(),
            1 => (0..count).rev().collect(),
            _ => (0..count).map(|record| (record + 1) % count).collect(),
        }
    }

    /// Returns the encodings of a party. Those of one person differ in a few bits between parties.
    pub(super) fn records(&self, party: usize) -> Vec<Encoding> {
        let written = |person: usize| {
            let mut encoding = self.encodings[person];
            for typo in 0..person % 4 * party {
                encoding[(person + 7 * typo) % ENCODING_BYTES] ^= 0x11;
            }
            encoding
        };
        self.order(party).into_iter().map(written).collect()
    }

    /// Returns the upload of a party as JSON, with blocks if `with_blocks` is set.
    ///
    /// A person with an odd number is in different blocks of parties 0 and 1.
    pub(super) fn json(&self, party: usize, with_blocks: bool) -> Value {
        let texts =
            self.records(party).into_iter().map(|record| base64_simd::STANDARD.encode_to_string(record));
        if !with_blocks {
            return json!({ "clks": texts.collect::<Vec<_>>() });
        }
        let block = |person: usize| match person % 2 {
            0 => format!("both{}", person % 3),
            _ => format!("party{party}"),
        };
        let rows = texts.zip(self.order(party)).map(|(text, person)| json!([text, block(person)]));
        json!({ "clknblocks": rows.collect::<Vec<_>>() })
    }

    /// Returns the groups of the records of `parties` parties, for the people with numbers that `is_found` accepts.
    pub(super) fn groups(&self, parties: usize, is_found: impl Fn(usize) -> bool) -> Groups {
        let orders: Vec<_> = (0..parties).map(|party| self.order(party)).collect();
        let record = |party: usize, person: usize| {
            let record = orders[party].iter().position(|known| *known == person);
            (party as u64, record.expect("every party knows every person") as u64)
        };
        let people = (0..self.count()).filter(|person| is_found(*person));
        people.map(|person| (0..parties).map(|party| record(party, person)).collect()).collect()
    }

    /// Returns every candidate pair of parties 0 and 1 with its score, by the definition of the Dice coefficient.
    pub(super) fn scores(&self) -> BTreeSet<(u64, u64, u64)> {
        let (left, right) = (self.records(0), self.records(1));
        let mut found = BTreeSet::new();
        for (l, a) in left.iter().enumerate() {
            for (r, b) in right.iter().enumerate() {
                let score = dice::score(dice::common_bits(a, b), dice::popcount(a) + dice::popcount(b));
                if score >= THRESHOLD {
                    found.insert((l as u64, r as u64, score.to_bits()));
                }
            }
        }
        found
    }
}

/// Groups of records. A record is a dataset index and a record index.
pub(super) type Groups = BTreeSet<BTreeSet<(u64, u64)>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_people_score_above_the_threshold_and_others_below() {
        let people = People::new(64);
        let pairs = people.scores().into_iter();
        let pairs: Groups = pairs.map(|(left, right, _)| BTreeSet::from([(0, left), (1, right)])).collect();
        assert_eq!(pairs, people.groups(2, |_| true));
        let distinct: BTreeSet<u64> = people.scores().into_iter().map(|(_, _, score)| score).collect();
        assert!(distinct.len() > 8, "scores differ");
        assert_eq!(people.groups(3, |person| person % 2 == 0).len(), 32);
    }
}

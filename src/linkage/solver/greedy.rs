//! The greedy solver: groups grow from the best pair down, and are cliques of candidate pairs.

use std::hint::black_box;

use super::counters::Counters;
use super::datasets::{Datasets, NONE};
use super::mask::{Mask, Wide};
use super::{Error, Groups};
use crate::linkage::pairs::{self, Pair};

/// Solves `pairs` of datasets with these sizes: the groups of
/// [`by_definition`](super::by_definition), by a stream.
///
/// Pairs must come in [`Pair`] order, each once: a pair that comes twice counts twice. With two datasets
/// this is greedy one-to-one matching, a few bytes a record; with more it also counts the pairs between
/// groups that may still merge: some 30 bytes for each two groups that have a pair between them and no
/// dataset in common, and 13 bytes a record.
///
/// # Errors
/// Whatever `pairs` yields, [`Error::NoSuchRecord`] for a pair of other datasets, and
/// [`Error::TooLarge`] for more records than can be numbered.
///
/// Source: the greedy solver of the `anonlink` library.
pub fn solve(
    dataset_sizes: &[u32],
    pairs: impl IntoIterator<Item = Result<Pair, pairs::Error>>,
) -> Result<Groups, Error> {
    let datasets = Datasets::new(dataset_sizes)?;
    let pairs = pairs.into_iter();
    match datasets.count() {
        0..=2 => two_party(datasets, pairs),
        3..=8 => Solver::<u8>::new(datasets).solve(pairs),
        9..=64 => Solver::<u64>::new(datasets).solve(pairs),
        _ => Solver::<Wide>::new(datasets).solve(pairs),
    }
}

fn numbers(datasets: &Datasets, pair: &Pair) -> Result<(u32, u32), Error> {
    let number = |side: usize| datasets.number(pair.datasets[side], pair.records[side]);
    Ok((number(0)?, number(1)?))
}

/// A pair is taken when neither of its records is.
fn two_party(
    datasets: Datasets,
    pairs: impl Iterator<Item = Result<Pair, pairs::Error>>,
) -> Result<Groups, Error> {
    let mut groups = Groups::none(datasets);
    let mut taken = Bits::new(groups.datasets.records());
    for pair in pairs {
        let (a, b) = numbers(&groups.datasets, &pair?)?;
        if !taken.has(a) && !taken.has(b) {
            taken.set(a);
            taken.set(b);
            groups.join(a, b);
        }
    }
    Ok(groups)
}

/// One bit for each record: small enough to stay close to the processor.
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u32) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    fn has(&self, bit: u32) -> bool {
        self.0[bit as usize / 64] >> (bit % 64) & 1 != 0
    }

    fn set(&mut self, bit: u32) {
        self.0[bit as usize / 64] |= 1 << (bit % 64);
    }
}

/// Pairs that are looked at before the first of them is solved.
const AHEAD: usize = 64;

/// Any number of datasets. A group is named by one of its records, its head.
struct Solver<M> {
    groups: Groups,
    /// The head of each record's group; none as long as the record is unknown.
    heads: Vec<u32>,
    /// By head: the datasets that the group has records of.
    masks: Vec<M>,
    counters: Counters,
}

impl<M: Mask> Solver<M> {
    fn new(datasets: Datasets) -> Self {
        let records = datasets.records() as usize;
        Self {
            groups: Groups::none(datasets),
            heads: vec![NONE; records],
            masks: vec![M::EMPTY; records],
            counters: Counters::new(records as u32),
        }
    }

    fn solve(mut self, mut pairs: impl Iterator<Item = Result<Pair, pairs::Error>>) -> Result<Groups, Error> {
        let mut ahead = Vec::with_capacity(AHEAD);
        loop {
            ahead.clear();
            for pair in pairs.by_ref().take(AHEAD) {
                let pair = pair?;
                let (a, b) = numbers(&self.groups.datasets, &pair)?;
                ahead.push([(a, pair.datasets[0]), (b, pair.datasets[1])]);
            }
            if ahead.is_empty() {
                return Ok(self.groups);
            }
            self.touch(&ahead);
            for sides in &ahead {
                let [g, h] = sides.map(|(record, dataset)| self.known(record, dataset));
                self.see(g, h);
            }
        }
    }

    /// Looks at all that these pairs will need, whatever it is worth by then: memory answers many
    /// questions at once much sooner than one after the other.
    fn touch(&self, ahead: &[[(u32, u32); 2]]) {
        for [(a, _), (b, _)] in ahead {
            black_box((self.heads[*a as usize], self.heads[*b as usize]));
        }
        let heads = |[(a, _), (b, _)]: &[(u32, u32); 2]| {
            [a, b].map(|record| match self.heads[*record as usize] {
                NONE => *record,
                head => head,
            })
        };
        for [g, h] in ahead.iter().map(heads) {
            black_box((self.masks[g as usize], self.masks[h as usize]));
            black_box((self.groups.ring[g as usize], self.groups.ring[h as usize]));
        }
        let may_merge = |[g, h]: &[u32; 2]| !self.mask(*g).meets(self.mask(*h));
        for [g, h] in ahead.iter().map(heads).filter(may_merge) {
            self.counters.touch_table(g, h);
        }
        for [g, h] in ahead.iter().map(heads).filter(may_merge) {
            self.counters.touch(g, h);
        }
    }

    /// The head of a record's group, which it now is if the record was not known.
    fn known(&mut self, record: u32, dataset: u32) -> u32 {
        if self.heads[record as usize] == NONE {
            self.open(record, dataset);
        }
        self.heads[record as usize]
    }

    /// Makes a record known, alone in its group. With its first pair it then joins another record
    /// that is alone, known or not, and otherwise starts to count: what the definition says in cases.
    fn open(&mut self, record: u32, dataset: u32) {
        self.heads[record as usize] = record;
        self.masks[record as usize] = M::single(dataset);
    }

    fn mask(&self, head: u32) -> M {
        self.masks[head as usize]
    }

    fn see(&mut self, g: u32, h: u32) {
        // Two records of one dataset never pair, so groups that share a dataset never fill their counter.
        if self.mask(g).meets(self.mask(h)) {
            return;
        }
        let room = self.mask(g).count() * self.mask(h).count();
        if room == 1 || self.counters.add(g, h) >= room {
            self.merge(g, h);
        }
    }

    fn merge(&mut self, g: u32, h: u32) {
        for member in self.groups.members(h) {
            self.heads[member as usize] = g;
        }
        self.groups.join(g, h);
        let mask = self.mask(g).union(self.mask(h));
        self.masks[g as usize] = mask;
        self.counters.merge(g, h, |third| !mask.meets(self.masks[third as usize]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linkage::solver::by_definition;

    /// Pairs in solver order of up to 70 datasets with few records: many ties and large groups.
    fn solver_input() -> impl Strategy<Value = (Vec<u32>, Vec<Pair>)> {
        let datasets = prop_oneof![Just(2_u32), 3..=6_u32, Just(11), Just(70)];
        (datasets, 1..9_u32).prop_flat_map(|(datasets, records)| {
            let pair = (1..20_u32, 0..datasets, 0..datasets, 0..records, 0..records);
            let pairs = prop::collection::vec(pair, 0..300).prop_map(|raw| {
                let mut pairs: Vec<_> = raw
                    .into_iter()
                    .filter(|(_, i, j, ..)| i < j)
                    .map(|(score, i, j, a, b)| Pair {
                        score: f64::from(score) / 20.0,
                        datasets: [i, j],
                        records: [a, b],
                    })
                    .collect();
                pairs.sort_by_key(|pair| (pair.datasets, pair.records));
                pairs.dedup_by_key(|pair| (pair.datasets, pair.records));
                pairs.sort_unstable();
                pairs
            });
            (Just(vec![records; datasets as usize]), pairs)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn the_stream_gives_the_groups_of_the_definition((sizes, pairs) in solver_input()) {
            let groups = solve(&sizes, pairs.iter().copied().map(Ok)).unwrap();
            prop_assert_eq!(groups.to_vec(), by_definition(&pairs));
        }
    }

    #[test]
    fn pairs_of_other_datasets_are_refused() {
        for (datasets, records) in [([0, 1], [3, 0]), ([0, 2], [0, 0])] {
            let pair = Pair { score: 1.0, datasets, records };
            assert!(matches!(solve(&[3, 3], [Ok(pair)]), Err(Error::NoSuchRecord { .. })));
        }
        assert!(matches!(solve(&[u32::MAX, 1], []), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn a_limit_ends_the_solution_with_its_count() {
        let pair = |record| Ok(Pair { score: 1.0, datasets: [0, 1], records: [0, record] });
        let refused = solve(&[1, 9], pairs::limited((0..9).map(pair), 4)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "5 candidate pairs found so far, which is more than the limit of 4; \
             a higher threshold or blocking would give fewer"
        );
    }
}

//! The greedy solver: takes pairs from the best down, and forms groups in which all records are candidates.

use std::hint::black_box;

use super::datasets::Datasets;
use super::edges::Edges;
use super::mask::{Mask, Wide};
use super::{Error, Groups};
use crate::pairs::{self, Pair};

/// Returns the same groups as [`by_definition`](super::by_definition), from a stream of `pairs` of datasets with these
/// sizes.
///
/// Pairs must be in [`Pair`] order, each once. With two datasets this is greedy one-to-one matching, and takes a few
/// bytes for each record. With more datasets it takes 8 bytes for each record (16 from 33 datasets on, 136 from 65),
/// and 9 to 13 bytes for each pair between groups that may still merge.
///
/// # Errors
/// Any error of `pairs`, [`Error::NoSuchRecord`] for a pair of other datasets, and [`Error::TooLarge`] for more
/// records than can be numbered.
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
        3..=32 => Solver::<u32>::new(datasets).solve(pairs),
        33..=64 => Solver::<u64>::new(datasets).solve(pairs),
        _ => Solver::<Wide>::new(datasets).solve(pairs),
    }
}

/// Solves for two datasets: a pair is accepted if neither of its records has been matched.
fn two_party(
    datasets: Datasets,
    pairs: impl Iterator<Item = Result<Pair, pairs::Error>>,
) -> Result<Groups, Error> {
    let mut groups = Groups::none(datasets);
    let mut taken = Bits::new(groups.datasets.records());
    for pair in pairs {
        let [a, b] = groups.datasets.numbers(&pair?)?;
        if !taken.has(a) && !taken.has(b) {
            taken.set(a);
            taken.set(b);
            groups.join(a, b);
        }
    }
    Ok(groups)
}

/// A bit for each record, which is small enough to stay in the cache.
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u32) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    #[inline]
    fn has(&self, bit: u32) -> bool {
        self.0[bit as usize / 64] >> (bit % 64) & 1 != 0
    }

    #[inline]
    fn set(&mut self, bit: u32) {
        self.0[bit as usize / 64] |= 1 << (bit % 64);
    }
}

/// The number of pairs that are prefetched before the first of them is solved.
const AHEAD: usize = 64;

/// A prime larger than the number of pairs between any two groups. Steps of this size visit every pair once, out of
/// order.
const STRIDE: usize = 1_000_003;

/// A record as a member of its group.
#[derive(Clone, Copy)]
struct Member<M> {
    /// The next record in the circular list of the group; the record itself if it is alone.
    next: u32,
    /// The datasets of the records in the group.
    mask: M,
}

/// Solves for any number of datasets.
///
/// Two groups merge when the last pair between them arrives. The solver does not count pairs: it stores each pair
/// that may still lead to a merge. For a new pair it looks up the others that the merge needs, and stops at the first
/// that is missing, which usually is the first of all. A record without a pair is a group of its own, so one rule
/// covers three cases of the definition.
struct Solver<M> {
    datasets: Datasets,
    members: Vec<Member<M>>,
    edges: Edges,
}

impl<M: Mask> Solver<M> {
    fn new(datasets: Datasets) -> Self {
        let mut members = Vec::with_capacity(datasets.records() as usize);
        for dataset in 0..datasets.count() {
            let mask = M::single(dataset as u32);
            let first = members.len() as u32;
            members.extend((first..first + datasets.size(dataset)).map(|next| Member { next, mask }));
        }
        Self { datasets, members, edges: Edges::new() }
    }

    fn solve(mut self, mut pairs: impl Iterator<Item = Result<Pair, pairs::Error>>) -> Result<Groups, Error> {
        let mut ahead = Vec::with_capacity(AHEAD);
        loop {
            ahead.clear();
            for pair in pairs.by_ref().take(AHEAD) {
                ahead.push(self.datasets.numbers(&pair?)?);
            }
            if ahead.is_empty() {
                return Ok(self.into_groups());
            }
            self.touch(&ahead);
            ahead.iter().for_each(|pair| self.see(*pair));
        }
    }

    fn into_groups(self) -> Groups {
        drop(self.edges);
        let ring = self.members.into_iter().map(|member| member.next).collect();
        Groups { datasets: self.datasets, ring }
    }

    /// Prefetches the data of these pairs: many concurrent reads of memory take much less time than one after the
    /// other.
    fn touch(&self, ahead: &[[u32; 2]]) {
        for pair in ahead {
            black_box(pair.map(|record| self.members[record as usize].next));
        }
        for pair in ahead.iter().filter(|pair| self.may_merge(**pair)) {
            if let Some(other) = self.another(*pair) {
                self.edges.touch(other);
                self.edges.touch(*pair);
            }
        }
    }

    fn member(&self, record: u32) -> Member<M> {
        self.members[record as usize]
    }

    /// Returns true if the groups of two records may still merge. Two records of one dataset are never a pair, so
    /// groups that share a dataset will never have all pairs between them.
    fn may_merge(&self, [a, b]: [u32; 2]) -> bool {
        !self.member(a).mask.meets(self.member(b).mask)
    }

    /// Returns another pair between the groups of two records, if there is one.
    fn another(&self, [a, b]: [u32; 2]) -> Option<[u32; 2]> {
        let (after_a, after_b) = (self.member(a).next, self.member(b).next);
        if after_a != a {
            Some([after_a, b])
        } else if after_b != b {
            Some([a, after_b])
        } else {
            None
        }
    }

    fn see(&mut self, pair: [u32; 2]) {
        if !self.may_merge(pair) {
            return;
        }
        let complete = match self.another(pair) {
            None => true,
            Some(other) => self.edges.has(other) && self.saw_all_others(pair),
        };
        if complete {
            self.merge(pair);
        } else {
            let members = &self.members;
            let mask = |record: u32| members[record as usize].mask;
            self.edges.make_room(|[a, b]| !mask(a).meets(mask(b)));
            self.edges.insert(pair);
        }
    }

    /// Returns true if all pairs between the groups of two records were seen, except the pair itself.
    fn saw_all_others(&self, pair: [u32; 2]) -> bool {
        let sides = pair.map(|record| self.group(record).collect::<Vec<_>>());
        let pairs = sides[0].len() * sides[1].len();
        // In the order of arrival the missing pairs would come last, and each check would read all pairs.
        (1..pairs).map(|step| step * STRIDE % pairs).all(|at| {
            let other = [sides[0][at / sides[1].len()], sides[1][at % sides[1].len()]];
            self.edges.has(other)
        })
    }

    /// Returns all records of a record's group, beginning with itself.
    fn group(&self, start: u32) -> impl Iterator<Item = u32> {
        let after = move |record: &u32| Some(self.member(*record).next).filter(|next| *next != start);
        std::iter::successors(Some(start), after)
    }

    fn merge(&mut self, [a, b]: [u32; 2]) {
        let [of_a, of_b] = [a, b].map(|record| self.member(record));
        self.members[a as usize].next = of_b.next;
        self.members[b as usize].next = of_a.next;
        let mask = of_a.mask.union(of_b.mask);
        let mut record = a;
        loop {
            let member = &mut self.members[record as usize];
            member.mask = mask;
            record = member.next;
            if record == a {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::solver::by_definition;

    /// Returns pairs in solver order of up to 70 datasets with few records, with many ties and large groups.
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

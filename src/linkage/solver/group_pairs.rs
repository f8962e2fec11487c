//! The pairs within each group, in the order of the groups, in bounded memory.

use std::io::Seek;

use super::datasets::NONE;
use super::{Error, Groups};
use crate::pairs::{self, Pair, Reader, Writer};
use crate::scratch::{Scratch, ScratchFile};

/// The number of pairs that are sorted by group in memory at a time: 12 MB, including the memory for sorting.
pub(super) const PAIRS_AT_ONCE: u64 = 1 << 18;

/// Calls `visit` with the pairs within each group, the best first. Groups come in canonical order, and `pairs` are
/// those that were solved, in the same order.
///
/// The pairs of consecutive groups go to one temporary file each: at most `at_once` of them, or more where that would
/// take more files than are merged at once. A file is read back once the pairs have ended.
///
/// # Errors
/// Any error of `pairs`, of `visit` and of the temporary files; [`Error::NoSuchRecord`] for a pair of other datasets.
pub(super) fn try_for_each(
    groups: &Groups,
    pairs: impl IntoIterator<Item = Result<Pair, pairs::Error>>,
    scratch: &dyn Scratch,
    at_once: u64,
    mut visit: impl FnMut(&[Pair]) -> Result<(), Error>,
) -> Result<(), Error> {
    let shares = Shares::of(groups, scratch.merged_at_once() as u64, at_once);
    let file = || scratch.file().map(Writer::new).map_err(pairs::Error::Write);
    let mut files = shares.starts.iter().map(|_| file()).collect::<Result<Vec<_>, _>>()?;
    for pair in pairs {
        let pair = pair?;
        if let Some(group) = shares.group(groups, &pair)? {
            let share = shares.starts.partition_point(|start| *start <= group) - 1;
            files[share].push(&pair)?;
        }
    }
    let ends = shares.starts.iter().skip(1).copied().chain([shares.count]);
    for ((file, start), end) in files.into_iter().zip(&shares.starts).zip(ends) {
        let sorted = shares.sorted(groups, file)?;
        let mut rest = sorted.as_slice();
        for group in *start..end {
            let length = rest.iter().take_while(|(of, _)| *of == group).count();
            let own: Vec<Pair> = rest[..length].iter().map(|(_, pair)| *pair).collect();
            rest = &rest[length..];
            visit(&own)?;
        }
    }
    Ok(())
}

/// The groups, divided so that the pairs of each share fit into memory.
struct Shares {
    /// The group of each record.
    group_of: Vec<u32>,
    /// The first group of each share.
    starts: Vec<u32>,
    /// The number of groups.
    count: u32,
}

impl Shares {
    fn of(groups: &Groups, files_max: u64, at_once: u64) -> Self {
        let mut total = 0_u64;
        visit(groups, |group| total = total.saturating_add(pairs_max(group.len())));
        // At least half of a share is filled, so that this gives hardly more shares than files.
        let share_max = at_once.max(total / (files_max / 2).max(1)).max(1);
        let mut shares =
            Self { group_of: vec![NONE; groups.datasets.records() as usize], starts: Vec::new(), count: 0 };
        let mut filled = 0_u64;
        visit(groups, |group| {
            let more = pairs_max(group.len());
            filled = filled.saturating_add(more);
            if shares.starts.is_empty() || filled > share_max {
                shares.starts.push(shares.count);
                filled = more;
            }
            for member in group {
                shares.group_of[*member as usize] = shares.count;
            }
            shares.count += 1;
        });
        shares
    }

    /// Returns the group that contains both records of a pair.
    fn group(&self, groups: &Groups, pair: &Pair) -> Result<Option<u32>, Error> {
        let [a, b] = groups.datasets.numbers(pair)?.map(|number| self.group_of[number as usize]);
        Ok((a == b && a != NONE).then_some(a))
    }

    /// Reads the pairs of a share, and sorts them by group.
    fn sorted(&self, groups: &Groups, file: Writer<Box<dyn ScratchFile>>) -> Result<Vec<(u32, Pair)>, Error> {
        let (mut file, count) = file.finish()?;
        file.rewind().map_err(pairs::Error::Write)?;
        let mut sorted = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for pair in Reader::open(file)? {
            let pair = pair?;
            let group = self.group(groups, &pair)?;
            sorted.extend(group.map(|group| (group, pair)));
        }
        // The sort is stable: the best pair of a group stays the first.
        sorted.sort_by_key(|(group, _)| *group);
        Ok(sorted)
    }
}

/// Calls `visit` with the numbers of the records of each group.
fn visit(groups: &Groups, mut visit: impl FnMut(&[u32])) {
    let mut members = Vec::new();
    for first in groups.firsts() {
        members.clear();
        members.extend(groups.members(first));
        visit(&members);
    }
}

/// Returns the maximum number of pairs within a group.
const fn pairs_max(records: usize) -> u64 {
    let records = records as u64;
    records * records.saturating_sub(1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scratch::Memory;
    use crate::solver::{Record, solve};

    /// Temporary files in memory, few of which may be open.
    struct Few;

    impl Scratch for Few {
        fn file(&self) -> std::io::Result<Box<dyn ScratchFile>> {
            Memory.file()
        }

        fn merged_at_once(&self) -> usize {
            4
        }
    }

    const SIZES: [u32; 4] = [9, 0, 12, 7];

    fn some_pairs() -> impl Strategy<Value = Vec<Pair>> {
        let pair = (1..9_u32, 0..3_usize, 0..9_u32, 0..7_u32).prop_map(|(tenths, which, a, b)| {
            let datasets = [[0, 2], [0, 3], [2, 3]][which];
            Pair { score: f64::from(tenths) / 10.0, datasets, records: [a, b] }
        });
        prop::collection::vec(pair, 0..120).prop_map(|mut pairs| {
            // Two records have one score.
            pairs.sort_by_key(|pair| (pair.datasets, pair.records));
            pairs.dedup_by_key(|pair| (pair.datasets, pair.records));
            pairs.sort_unstable();
            pairs
        })
    }

    proptest! {
        #[test]
        fn each_group_has_its_pairs_the_best_first(pairs in some_pairs(), at_once in 0..9_u64) {
            let groups = solve(&SIZES, pairs.iter().copied().map(Ok)).unwrap();
            let ends = |pair: &Pair| [0, 1].map(|end| Record { dataset: pair.datasets[end], index: pair.records[end] });
            let within = |group: &Vec<Record>| -> Vec<Pair> {
                pairs.iter().copied().filter(|pair| ends(pair).iter().all(|end| group.contains(end))).collect()
            };
            let expected: Vec<Vec<Pair>> = groups.to_vec().iter().map(within).collect();
            for scratch in [&Memory as &dyn Scratch, &Few] {
                let mut found = Vec::new();
                try_for_each(&groups, pairs.iter().copied().map(Ok), scratch, at_once, |pairs| {
                    found.push(pairs.to_vec());
                    Ok(())
                }).unwrap();
                prop_assert_eq!(&found, &expected);
            }
            // Groups are cliques.
            for (group, pairs) in groups.to_vec().iter().zip(&expected) {
                prop_assert_eq!(pairs.len() as u64, pairs_max(group.len()));
            }
        }
    }

    #[test]
    fn shares_are_bounded_by_pairs_and_by_files() {
        let pair = |record| Pair { score: 0.5, datasets: [0, 1], records: [record, record] };
        let groups = solve(&[1_000, 1_000], (0..1_000).map(pair).map(Ok)).unwrap();
        assert_eq!(Shares::of(&groups, 128, 2_000).starts, [0]);
        assert_eq!(Shares::of(&groups, 128, 250).starts, [0, 250, 500, 750]);
        assert_eq!(Shares::of(&groups, 4, 1).starts, [0, 500]);
        assert_eq!(Shares::of(&groups, 1, 1).starts, [0]);
        let none = solve(&[5, 5], std::iter::empty()).unwrap();
        assert!(Shares::of(&none, 128, 250).starts.is_empty());
    }

    #[test]
    fn a_pair_of_other_datasets_is_refused() {
        let groups = solve(&[1, 1], std::iter::empty()).unwrap();
        let pair = Pair { score: 0.5, datasets: [0, 1], records: [0, 1] };
        let refused = try_for_each(&groups, [Ok(pair)], &Memory, 9, |_| Ok(()));
        assert!(matches!(refused, Err(Error::NoSuchRecord { dataset: 1, record: 1 })), "{refused:?}");
    }
}

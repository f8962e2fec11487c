//! Scores the groups against the ground truth: the known real person of each record.

use serde::Serialize;

use super::client::Groups;
use super::people::{Register, shared};

/// The quality of a linkage, from the pairs of records in common groups.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Score {
    /// The number of found pairs, right or wrong.
    pub(super) pairs_found: u64,
    /// The number of true pairs, found or not.
    pub(super) pairs_true: u64,
    /// Precision: the share of found pairs that are true; 1 if none was found.
    pub(super) precision: f64,
    /// Recall: the share of true pairs that were found.
    pub(super) recall: f64,
}

impl Score {
    /// Scores `groups` against the ground truth in `registers`.
    pub(super) fn of(groups: &Groups, registers: &[Register]) -> Self {
        let person = |&(party, record): &(usize, usize)| registers[party].truth[record];
        let (mut found, mut right) = (0, 0);
        for group in groups {
            for (index, member) in group.iter().enumerate() {
                found += index as u64;
                right += group[..index].iter().filter(|other| person(other) == person(member)).count() as u64;
            }
        }
        let parties = registers.len();
        let records = registers.first().map_or(0, |register| register.truth.len());
        let there = (shared(records) * parties * (parties - 1) / 2) as u64;
        Self {
            pairs_found: found,
            pairs_true: there,
            precision: ratio(right, found),
            recall: ratio(right, there),
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_three_is_three_pairs() {
        let register = |truth: &[usize]| Register { people: Vec::new(), truth: truth.to_vec() };
        let registers = [register(&[0, 7]), register(&[0, 8]), register(&[9, 0])];
        let groups = vec![vec![(0, 0), (1, 0), (2, 0)], vec![(0, 1), (1, 1)]];
        let score = Score::of(&groups, &registers);
        assert_eq!((score.pairs_found, score.pairs_true), (4, 3));
        assert!((score.precision - 0.25).abs() < 1e-12 && (score.recall - 1.0 / 3.0).abs() < 1e-12);
    }
}

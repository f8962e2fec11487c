//! Measures the quality of a linkage whose truth is known.

use std::collections::HashMap;
use std::path::Path;

use super::linked::{Group, Record};
use crate::cli::columns::aligned;
use crate::cli::exit::Failure;
use crate::cli::output::note;
use crate::cli::own::{Own, Reading};
use crate::cli::progress::Progress;
use crate::cli::table::TableArguments;

/// The columns of a file with the ground truth, as `entityd generate` writes them.
const COLUMNS: [&str; 3] = ["person", "party", "record"];

/// The person of each record.
pub(super) struct Truth {
    people: HashMap<Record, u32>,
    /// The number of pairs of records that belong to one person.
    pairs: u64,
}

/// A linkage compared with the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quality {
    pub(super) threshold: f64,
    pub(super) groups: u64,
    /// The number of pairs of records in one group.
    pub(super) pairs: u64,
    pub(super) precision: f64,
    pub(super) recall: f64,
    pub(super) f: f64,
}

impl Truth {
    /// Reads the truth about the first `parties_known` parties. With `is_one`, it is about one table that is compared with itself.
    pub(super) fn read(
        path: &Path,
        table: &TableArguments,
        (parties_known, is_one): (u32, bool),
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        let column = |name| {
            let reading = Reading { table, has_header: true, column: Some(name), option: "--truth" };
            Own::read(path, &reading, progress)
        };
        let [people, parties, records] = COLUMNS.map(column);
        let (people, parties, records) = (people?, parties?, records?);
        let refused = |row: u64, what: &str| {
            let path = path.display();
            Failure::Input(format!(
                "{path}: row {row}, counted from 0 after the header: `{what}` is not a number"
            ))
        };
        let text = |own: &Own, row| own.text(row).and_then(Result::ok).unwrap_or_default();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut found = HashMap::new();
        let mut others = 0_u64;
        for row in 0..people.rows() {
            let party: u32 = text(&parties, row).parse().map_err(|_| refused(row, "party"))?;
            let record = text(&records, row).parse().map_err(|_| refused(row, "record"))?;
            let next = numbers.len() as u32;
            let person = *numbers.entry(text(&people, row)).or_insert(next);
            if party < parties_known {
                found.insert((party, record), person);
            } else {
                others += 1;
            }
        }
        if others > 0 {
            let files = if parties_known == 1 { "file" } else { "files" };
            note(&format!(
                "{}: {others} records of other parties than those of the {parties_known} {files} do not count",
                path.display()
            ));
        }
        let pairs = pairs(found.iter().map(|(record, person)| (*record, *person)), is_one);
        Ok(Self { people: found, pairs })
    }

    /// Compares groups with the ground truth.
    pub(super) fn judge(&self, threshold: f64, groups: &[Group], is_one: bool) -> Quality {
        let (mut made, mut right) = (0, 0);
        for group in groups {
            let people = group.records.iter().map(|record| (*record, self.people.get(record)));
            let people: Vec<_> = people.collect();
            for (at, (a, person)) in people.iter().enumerate() {
                for (b, other) in &people[at + 1..] {
                    if is_one || a.0 != b.0 {
                        made += 1;
                        right += u64::from(person.is_some() && person == other);
                    }
                }
            }
        }
        let share = |part: u64, of: u64| if of == 0 { 1.0 } else { part as f64 / of as f64 };
        let (precision, recall) = (share(right, made), share(right, self.pairs));
        let sum = precision + recall;
        let f = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        Quality { threshold, groups: groups.len() as u64, pairs: made, precision, recall, f }
    }
}

/// Counts the pairs of records that belong to one person. Without `is_one`, both records of a pair must be in different
/// datasets.
fn pairs(records: impl Iterator<Item = (Record, u32)>, is_one: bool) -> u64 {
    let mut counts: HashMap<u32, HashMap<u32, u64>> = HashMap::new();
    for ((dataset, _), person) in records {
        *counts.entry(person).or_default().entry(dataset).or_default() += 1;
    }
    let half = |count: u64| count * count.saturating_sub(1) / 2;
    let of_person = |counts: &HashMap<u32, u64>| {
        let all = half(counts.values().sum());
        if is_one { all } else { all - counts.values().map(|count| half(*count)).sum::<u64>() }
    };
    counts.values().map(of_person).sum()
}

/// Returns a line for each threshold.
pub(super) fn table(qualities: &[Quality]) -> String {
    let row = |quality: &Quality| {
        let share = |value: f64| format!("{value:.4}");
        vec![
            format!("{:.2}", quality.threshold),
            quality.groups.to_string(),
            quality.pairs.to_string(),
            share(quality.precision),
            share(quality.recall),
            share(quality.f),
        ]
    };
    aligned(
        &["threshold", "groups", "pairs", "precision", "recall", "F"],
        qualities.iter().map(row).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_between_datasets_or_within_one() {
        let records = [((0, 0), 1), ((0, 1), 1), ((1, 0), 1), ((1, 5), 2)];
        assert_eq!(pairs(records.into_iter(), false), 2);
        let truth = Truth { people: records.into_iter().collect(), pairs: 2 };
        let group = |records: &[Record]| Group { records: records.to_vec(), ..Group::default() };
        let quality = truth.judge(0.8, &[group(&[(0, 0), (1, 0)]), group(&[(0, 1), (1, 5)])], false);
        assert_eq!((quality.pairs, quality.precision, quality.recall, quality.f), (2, 0.5, 0.5, 0.5));
        assert_eq!(pairs([((0, 0), 1), ((0, 1), 1), ((0, 2), 1)].into_iter(), true), 3);
    }
}

//! Cuts a large comparison into a grid.

use super::Entry;

/// Returns the cells of the grid that `entry` is cut into, row by row, each of about `aim` comparisons.
///
/// The grid is the same as in the reference library: *n* left records are cut into about n/√aim rows. The number of
/// columns is chosen so that a cell has about `aim` comparisons. Both numbers are rounded to the nearest integer,
/// halves to the even one.
pub(super) fn grid(entry: Entry, aim: u64) -> impl Iterator<Item = Entry> {
    let (left, right) = (entry.left.count(), entry.right.count());
    let rows = at_least_one(f64::from(left) / (aim as f64).sqrt());
    let columns = at_least_one(f64::from(right) * (f64::from(left) / rows as f64) / aim as f64);
    let cells = (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)));
    cells
        .map(move |(row, column)| Entry {
            left: entry.left.part(cut(left, rows, row), cut(left, rows, row + 1)),
            right: entry.right.part(cut(right, columns, column), cut(right, columns, column + 1)),
            ..entry
        })
        .filter(|cell| cell.comparisons() > 0)
}

fn at_least_one(parts: f64) -> u64 {
    parts.round_ties_even().max(1.0) as u64
}

/// Returns the start of the `at`-th of `parts` parts of `count` records.
fn cut(count: u32, parts: u64, at: u64) -> u32 {
    let exact = u128::from(at) * u128::from(count);
    (exact as f64 / parts as f64).round_ties_even() as u32
}

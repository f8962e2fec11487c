//! Tables for the terminal.

use std::fmt::Write;

use super::answer;

/// Pads each column to the width of its widest cell; the last column is not padded. Cells may hold untrusted text, so
/// terminal control characters become spaces.
pub(super) fn aligned(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let clean = |cell: String| cell.replace(answer::is_control, " ");
    let rows = rows.into_iter().map(|row| row.into_iter().map(clean).collect());
    let head = (!head.is_empty()).then(|| head.iter().map(ToString::to_string).collect());
    let lines: Vec<Vec<String>> = head.into_iter().chain(rows).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut table = String::new();
    for line in &lines {
        let (last, cells) = line.split_last().map_or(("", &[][..]), |(last, cells)| (last.as_str(), cells));
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(table, "{cell:width$}  ");
        }
        let _ = writeln!(table, "{last}");
    }
    table
}

/// Returns a number with its noun, which gets an `s` unless the number is 1.
pub(super) fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Formats a duration as milliseconds, seconds, minutes or hours.
pub(super) fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

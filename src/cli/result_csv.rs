//! The CSV of a result, as `entityd result get` and `entityd link` write it: that of the API.

use std::io::{self, Write};

use super::quoting::quoted;
use crate::http::arrow::{Head, Kind as Type};

/// The kind of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Groups,
    Scores,
    GroupScores,
    Mask,
    Permutation,
}

/// Returns the columns of a table with the elements of a result.
pub(super) fn columns(kind: Kind, has_ids: bool) -> Vec<Head> {
    const RECORD: [Head; 3] = [("dataset", Type::UInt32), ("record", Type::UInt32), ("id", Type::Utf8)];
    const A: [Head; 3] = [("dataset_a", Type::UInt32), ("record_a", Type::UInt32), ("id_a", Type::Utf8)];
    const B: [Head; 3] = [("dataset_b", Type::UInt32), ("record_b", Type::UInt32), ("id_b", Type::Utf8)];
    let wanted = |columns: &[[Head; 3]]| -> Vec<Head> {
        columns.iter().flat_map(|record| &record[..if has_ids { 3 } else { 2 }]).copied().collect()
    };
    let group = vec![("group", Type::UInt64)];
    let score = vec![("score", Type::Float64)];
    match kind {
        Kind::Groups => [group, wanted(&[RECORD])].concat(),
        Kind::Scores => [wanted(&[A, B]), score].concat(),
        Kind::GroupScores => [group, wanted(&[A, B]), score].concat(),
        Kind::Mask => vec![("row", Type::UInt32), ("match", Type::Bool)],
        Kind::Permutation => vec![("row", Type::UInt32), ("new_row", Type::UInt32)],
    }
}

/// Returns the names of the columns of a result.
pub(super) fn names(kind: Kind, has_ids: bool) -> Vec<&'static str> {
    columns(kind, has_ids).into_iter().map(|(name, _)| name).collect()
}

/// Writes a line. It ends in CRLF (RFC 4180).
pub(super) fn write_line(out: &mut (impl Write + ?Sized), line: &str) -> io::Result<()> {
    write!(out, "{line}\r\n")
}

/// Returns the fields of a record: the number of its dataset, its number in the dataset, and its id if there are ids.
pub(super) fn record(dataset: u64, record: u64, id: Option<&str>) -> String {
    id.map_or_else(|| format!("{dataset},{record}"), |id| format!("{dataset},{record},{}", quoted(id)))
}

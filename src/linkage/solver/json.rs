//! Results as JSON for clients, written as a stream.

use std::io::{self, BufWriter, Write};

use super::{Error, Groups, group_pairs};
use crate::pairs::{self, Pair};
use crate::scratch::Scratch;

const BUFFER_BYTES: usize = 1 << 16;

/// Writes `{"groups": [[[0, 3], [1, 5]], ...]}`, in canonical order.
///
/// # Errors
/// The error of `out`.
pub fn write_groups(groups: &Groups, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    begin_groups(groups, &mut out)?;
    out.write_all(b"}")?;
    out.flush()
}

/// Writes `{"groups": [[[0, 3], [1, 5]], ...], "scores": [[[[0, 3], [1, 5], 0.95]], ...]}`: the groups, and in the same
/// order the pairs within each with their scores, the best first. `pairs` are those that were solved, in the same order.
/// Memory: 4 bytes for each record, and a bounded number of pairs; the others wait in `scratch`.
///
/// # Errors
/// An error of `out` or `scratch` as [`pairs::Error::Write`], and any error of `pairs`.
pub fn write_groups_with_scores(
    groups: &Groups,
    pairs: impl IntoIterator<Item = Result<Pair, pairs::Error>>,
    scratch: &dyn Scratch,
    out: impl Write,
) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let written = |done: io::Result<()>| done.map_err(pairs::Error::Write);
    written(begin_groups(groups, &mut out).and_then(|()| out.write_all(b", \"scores\": [")))?;
    let (mut between_groups, mut score) = ("", Score::default());
    group_pairs::try_for_each(groups, pairs, scratch, group_pairs::PAIRS_AT_ONCE, |pairs| {
        written(write!(out, "{between_groups}["))?;
        let mut between = "";
        for Pair { score: value, datasets: [d, e], records: [r, s] } in pairs {
            written(write!(out, "{between}[[{d}, {r}], [{e}, {s}], {}]", score.text(*value)))?;
            between = ", ";
        }
        between_groups = ", ";
        Ok(written(out.write_all(b"]"))?)
    })?;
    Ok(written(out.write_all(b"]}").and_then(|()| out.flush()))?)
}

/// Writes `{"groups": [[[0, 3], [1, 5]], ...]`.
fn begin_groups(groups: &Groups, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"{\"groups\": [")?;
    let mut between_groups = "";
    groups.try_for_each(|group| {
        write!(out, "{between_groups}[")?;
        let mut between = "";
        for record in group {
            write!(out, "{between}[{}, {}]", record.dataset, record.index)?;
            between = ", ";
        }
        between_groups = ", ";
        out.write_all(b"]")
    })?;
    out.write_all(b"]")
}

/// Writes `{"similarity_scores": [[[0, 0], [1, 1], 1.0],...]}`, in the order of `pairs`, and returns their number.
/// A parsed score is exactly the same double.
///
/// # Errors
/// An error of `out` as [`pairs::Error::Write`], and any error of `pairs`.
pub fn write_scores(
    pairs: impl IntoIterator<Item = Result<Pair, pairs::Error>>,
    out: impl Write,
) -> Result<u64, Error> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let written = |done: io::Result<()>| done.map_err(pairs::Error::Write);
    written(out.write_all(b"{\"similarity_scores\": ["))?;
    let mut count = 0;
    let mut score = Score::default();
    for pair in pairs {
        let Pair { score: value, datasets: [d, e], records: [r, s] } = pair?;
        let between = if count == 0 { "" } else { "," };
        written(write!(out, "{between}[[{d}, {r}], [{e}, {s}], {}]", score.text(value)))?;
        count += 1;
    }
    written(out.write_all(b"]}").and_then(|()| out.flush()))?;
    Ok(count)
}

/// The latest score and its text: adjacent pairs often have equal scores.
#[derive(Default)]
struct Score {
    bits: u64,
    text: String,
}

impl Score {
    fn text(&mut self, value: f64) -> &str {
        if self.text.is_empty() || self.bits != value.to_bits() {
            self.bits = value.to_bits();
            // Writes the shortest digits that parse to this double, with at least one decimal.
            self.text = format!("{value:?}");
        }
        &self.text
    }
}

/// Writes `{"mask": [0, 1, ...]}`.
///
/// # Errors
/// The error of `out`.
pub fn write_mask(mask: &[bool], out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    out.write_all(b"{\"mask\": ")?;
    write_list(mask.iter().map(|set| u32::from(*set)), &mut out)?;
    out.write_all(b"}")?;
    out.flush()
}

/// Writes `{"permutation": [2, 0, ...], "rows": 3}`.
///
/// # Errors
/// The error of `out`.
pub fn write_permutation(permutation: &[u32], rows: usize, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    out.write_all(b"{\"permutation\": ")?;
    write_list(permutation.iter().copied(), &mut out)?;
    write!(out, ", \"rows\": {rows}}}")?;
    out.flush()
}

fn write_list(numbers: impl Iterator<Item = u32>, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"[")?;
    let mut between = "";
    for number in numbers {
        write!(out, "{between}{number}")?;
        between = ", ";
    }
    out.write_all(b"]")
}

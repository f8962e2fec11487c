//! Every candidate pair of two lists of records.

use super::decision::Decision;
use super::rows::Rows;
use super::{Error, dice};
use crate::linkage::pairs;
use crate::model::Threshold;

/// A candidate pair of two lists of records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The Dice coefficient.
    pub score: f64,
    /// The row of the left list.
    pub left: u32,
    /// The row of the right list.
    pub right: u32,
}

/// Finds every pair of rows whose Dice coefficient is at least `threshold`, less those that the
/// popcount pre-filter drops ([`dice::difference_max`]; `left` is the dataset with the lower index).
///
/// Hits come by score descending, then left row, then right row. A row with no bits set matches nothing.
/// Runs on the calling thread; 16 bytes a hit.
///
/// # Errors
/// [`pairs::Error::TooMany`] as soon as there are more than `pairs_max` hits, and [`Error::Malformed`]
/// if the two sides have encodings of different sizes.
pub fn search(
    left: &Rows<'_>,
    right: &Rows<'_>,
    threshold: Threshold,
    pairs_max: u64,
) -> Result<Vec<Hit>, Error> {
    let decision = Decision::new(threshold, common_size(left, right)?);
    let mut hits = Vec::new();
    each_hit(left, right, &decision, |hit| {
        hits.push(hit);
        let count = hits.len() as u64;
        if count > pairs_max {
            return Err(Error::Pairs(pairs::Error::TooMany { count, limit: pairs_max }));
        }
        Ok(())
    })?;
    hits.sort_unstable_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| (a.left, a.right).cmp(&(b.left, b.right)))
    });
    Ok(hits)
}

/// Bytes of an encoding on both sides.
pub(super) fn common_size(left: &Rows<'_>, right: &Rows<'_>) -> Result<usize, Error> {
    if left.encoding_bytes() == right.encoding_bytes() {
        Ok(left.encoding_bytes())
    } else {
        Err(Error::Malformed("the two sides have encodings of different sizes"))
    }
}

/// Calls `emit` with every hit, in no particular order, until it fails.
pub(super) fn each_hit(
    left: &Rows<'_>,
    right: &Rows<'_>,
    decision: &Decision,
    mut emit: impl FnMut(Hit) -> Result<(), Error>,
) -> Result<(), Error> {
    for l in 0..left.len() {
        let a = left.bytes(l);
        let left_bits = dice::popcount(a);
        for r in 0..right.len() {
            let b = right.bytes(r);
            let right_bits = dice::popcount(b);
            if decision.common_min(left_bits, right_bits).is_none() {
                continue;
            }
            if let Some(score) = decision.candidate(dice::common_bits(a, b), left_bits, right_bits) {
                emit(Hit { score, left: l as u32, right: r as u32 })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_hits_than_allowed_are_an_error() {
        let rows = [0xff; 8];
        let rows = Rows::all(&rows, 1).unwrap();
        let threshold = Threshold::new(1.0).unwrap();
        assert_eq!(search(&rows, &rows, threshold, 64).unwrap().len(), 64);
        let refused = search(&rows, &rows, threshold, 63).unwrap_err();
        assert!(matches!(refused, Error::Pairs(pairs::Error::TooMany { count: 64, limit: 63 })));
    }
}

//! Finds every candidate pair of two lists of records.

use super::decision::Decision;
use super::rows::Rows;
use super::{Error, Hit, Kernel};
use crate::pairs;
use crate::threshold::Threshold;

/// Finds every pair of rows whose Dice coefficient is at least `threshold`, except those that the popcount pre-filter
/// drops ([`difference_max`](super::dice::difference_max); `left` is the dataset with the lower index).
///
/// Hits are sorted by score descending, then left row, then right row. A row with no bits set matches nothing. Runs
/// on the calling thread, and takes 16 bytes for each hit.
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
    each_hit(left, right, &decision, Kernel::best(), &mut Bits::default(), |hit| {
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

/// Returns the size of an encoding in bytes, which must be the same on both sides.
pub(super) fn common_size(left: &Rows<'_>, right: &Rows<'_>) -> Result<usize, Error> {
    if left.encoding_bytes() == right.encoding_bytes() {
        Ok(left.encoding_bytes())
    } else {
        Err(Error::Malformed("the two sides have encodings of different sizes"))
    }
}

/// The popcounts of the right side. Kept between calls to reuse the memory.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u32>);

/// Calls `emit` with every hit, in no particular order, until it fails. Compares row by row, without packing the rows.
/// Returns the number of pairs whose common bits were counted.
pub(super) fn each_hit(
    left: &Rows<'_>,
    right: &Rows<'_>,
    decision: &Decision,
    kernel: Kernel,
    bits: &mut Bits,
    mut emit: impl FnMut(Hit) -> Result<(), Error>,
) -> Result<u64, Error> {
    bits.0.clear();
    bits.0.extend((0..right.len()).map(|r| kernel.popcount(right.bytes(r))));
    let mut counted = 0;
    for l in 0..left.len() {
        let a = left.bytes(l);
        let left_bits = kernel.popcount(a);
        for (r, right_bits) in bits.0.iter().enumerate() {
            let Some(common_min) = decision.common_min(left_bits, *right_bits) else { continue };
            let common = kernel.common_bytes(a, right.bytes(r));
            counted += 1;
            if common >= common_min
                && let Some(score) = decision.candidate(common, left_bits, *right_bits)
            {
                emit(Hit { score, left: l as u32, right: r as u32 })?;
            }
        }
    }
    Ok(counted)
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

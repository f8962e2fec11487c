//! The Dice coefficient in its simplest form, with which every kernel must agree.
//!
//! Source: Dice (1945), doi:10.2307/1932409; for encodings Schnell, Bachteler & Reiher (2009),
//! doi:10.1186/1472-6947-9-41. The floating-point results equal those of the `anonlink` library.

use super::{Hit, Rows};
use crate::threshold::Threshold;

/// Counts the bits that are set.
pub fn popcount(encoding: &[u8]) -> u32 {
    encoding.iter().map(|byte| byte.count_ones()).sum()
}

/// Counts the bits that are set in both.
pub fn common_bits(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum()
}

/// Returns the coefficient of two encodings with `common` common bits whose popcounts add up to `bits`; 0 if `bits`
/// is 0.
pub fn score(common: u32, bits: u32) -> f64 {
    if common == 0 { 0.0 } else { f64::from(2 * common) / f64::from(bits) }
}

/// Returns the largest difference of the popcounts, given the popcount of the left encoding. The left dataset is the
/// one with the lower index.
///
/// Mathematically this only drops pairs below the threshold. In floating-point numbers the limit can be one too
/// small. It then also drops a pair exactly on the threshold whose right encoding has all bits of the left one (at
/// 0.65, 0.75 and 0.95 among others). The library drops the same pairs.
pub fn difference_max(left_bits: u32, threshold: Threshold) -> u32 {
    (f64::from(2 * left_bits) * (1.0 / threshold.get() - 1.0)) as u32
}

/// Returns the score of a pair, if it is a candidate.
pub fn candidate(common: u32, left_bits: u32, right_bits: u32, threshold: Threshold) -> Option<f64> {
    let score = score(common, left_bits + right_bits);
    let near = left_bits.abs_diff(right_bits) <= difference_max(left_bits, threshold);
    (near && score >= threshold.get()).then_some(score)
}

/// Returns every candidate pair of two lists of records, by score descending, then left row, then right row.
pub fn by_definition(left: &Rows<'_>, right: &Rows<'_>, threshold: Threshold) -> Vec<Hit> {
    let mut hits = Vec::new();
    for l in 0..left.len() {
        for r in 0..right.len() {
            let (a, b) = (left.bytes(l), right.bytes(r));
            if let Some(score) = candidate(common_bits(a, b), popcount(a), popcount(b), threshold) {
                hits.push(Hit { score, left: l as u32, right: r as u32 });
            }
        }
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits
}

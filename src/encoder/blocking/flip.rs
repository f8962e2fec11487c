//! The bits of a filter that a text sets.

use md5::Md5;
use sha1::{Digest, Sha1};

use crate::encoder::hash::remainder;

/// Returns the bits that a text sets in a filter of `bits` bits, in the order of `functions` hash functions.
pub(super) fn flipped(text: &str, bits: u32, functions: u32) -> impl Iterator<Item = u32> {
    let first = remainder(&Sha1::digest(text.as_bytes()), bits as usize) as u64;
    let step = remainder(&Md5::digest(text.as_bytes()), bits as usize) as u64;
    let bits = u64::from(bits);
    // Both are below `bits`, so that a subtraction does what a remainder would.
    let next = move |bit: &u64| {
        let sum = bit + step;
        Some(if sum < bits { sum } else { sum - bits })
    };
    std::iter::successors(Some(first), next).take(functions as usize).map(|bit| bit as u32)
}

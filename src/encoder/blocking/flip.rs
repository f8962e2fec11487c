//! The bits of a filter that a text sets.

use md5::Md5;
use sha1::{Digest, Sha1};

use crate::encoder::hash::remainder;

/// Returns the bits that a text sets in a filter of `bits` bits, in the order of `functions` hash functions.
pub(super) fn flipped(text: &str, bits: u32, functions: u32) -> impl Iterator<Item = u32> {
    let first = remainder(&Sha1::digest(text.as_bytes()), bits as usize) as u64;
    let step = remainder(&Md5::digest(text.as_bytes()), bits as usize) as u64;
    (0..u64::from(functions)).map(move |number| ((first + number * step) % u64::from(bits)) as u32)
}

//! The bits of a filter that a text sets.

use md5::Md5;
use sha1::{Digest, Sha1};

/// Returns the bits that a text sets in a filter of `bits` bits, in the order of `functions` hash functions.
pub(super) fn flipped(text: &str, bits: u32, functions: u32) -> impl Iterator<Item = u32> {
    let first = remainder(&Sha1::digest(text.as_bytes()), bits);
    let step = remainder(&Md5::digest(text.as_bytes()), bits);
    (0..u64::from(functions)).map(move |number| ((first + number * step) % u64::from(bits)) as u32)
}

fn remainder(digest: &[u8], bits: u32) -> u64 {
    digest.iter().fold(0, |rest, byte| (rest << 8 | u64::from(*byte)) % u64::from(bits))
}

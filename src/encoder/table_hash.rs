//! Hashes for hash tables, and the comparison of their texts.

/// An odd multiplier: fractional digits of pi.
const MIX: u64 = 0x243f_6a88_85a3_08d3;

const fn mix(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word) as u128 * MIX as u128;
    product as u64 ^ (product >> 64) as u64
}

const fn folded(hash: u64) -> u32 {
    hash as u32 ^ (hash >> 32) as u32
}

/// Returns all bits of the hash of words.
#[inline]
pub(crate) fn mixed(words: &[u64]) -> u64 {
    words.iter().fold(MIX, |sum, word| mix(sum, *word))
}

/// Hashes words.
#[inline]
pub(crate) fn hash_words(words: &[u64]) -> u32 {
    folded(mixed(words))
}

/// Hashes a text, eight bytes at a time.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u32 {
    folded(hash_wide(bytes))
}

/// Returns all bits of the hash of a text.
#[inline]
pub(crate) fn hash_wide(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let start = MIX ^ (bytes.len() as u64) << 56;
    let hash = words.iter().fold(start, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    if rest.is_empty() { hash } else { mix(hash, short(rest)) }
}

/// Returns whether two texts are equal. Most consist of few whole words, so that calling a function would take longer.
#[inline]
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((one, rest), (other, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    one.iter().eq(other) && rest == other_rest
}

/// Packs up to seven bytes into a word, with few branches.
pub(crate) fn short(bytes: &[u8]) -> u64 {
    let count = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first))
            | u64::from(u32::from_le_bytes(*last)) << (8 * (count - 4));
    }
    match *bytes {
        [] => 0,
        [first] => u64::from(first),
        [first, .., last] => {
            u64::from(first) | u64::from(bytes[1]) << 8 | u64::from(last) << (8 * (count - 1))
        }
    }
}

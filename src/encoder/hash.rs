//! Hash functions: the bits of a filter that a token sets.

use blake2::Blake2bMac512;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;

use super::keys::KeyPair;
use super::schema::{Charset, HashFunction};

/// The number of 16-bit words in a `BLAKE2b` tag.
const WORDS: usize = 32;

/// The keyed hash functions of a column.
#[derive(Clone)]
pub(super) enum Hasher {
    Double(Box<Double>),
    /// One function for every 32 insertions. The salt of a function is its number.
    Blake(Vec<Blake2bMac512>),
}

/// Double hashing with two keyed hash functions.
#[derive(Clone)]
pub(super) struct Double {
    sha1: Hmac<Sha1>,
    md5: Hmac<Md5>,
    prevent_singularity: bool,
}

impl Hasher {
    /// Creates a hasher for tokens that are inserted at most `most` times.
    pub(super) fn new(function: HashFunction, keys: &KeyPair, most: u32) -> Self {
        match function {
            HashFunction::Double { prevent_singularity } => Self::Double(Box::new(Double {
                sha1: Hmac::new_from_slice(&keys[0]).expect("HMAC takes keys of any length"),
                md5: Hmac::new_from_slice(&keys[1]).expect("HMAC takes keys of any length"),
                prevent_singularity,
            })),
            HashFunction::Blake => {
                let mac = |number: usize| {
                    Blake2bMac512::new_with_salt_and_personal(
                        Some(&keys[0]),
                        number.to_string().as_bytes(),
                        &[],
                    )
                    .expect("the length of the key was checked with the schema")
                };
                Self::Blake((0..(most as usize).div_ceil(WORDS)).map(mac).collect())
            }
        }
    }

    /// Sets the bits of `token` in a filter of `bits` bits. The token is inserted `count` times.
    pub(super) fn insert(
        &self,
        token: &[u8],
        count: u32,
        filter: &mut [u64],
        bits: usize,
    ) -> Result<(), String> {
        match self {
            Self::Double(double) => double.insert(token, count, filter, bits)?,
            Self::Blake(macs) => {
                for (mac, done) in macs.iter().zip((0..count as usize).step_by(WORDS)) {
                    let tag = mac.clone().chain_update(token).finalize().into_bytes();
                    let words = tag.chunks_exact(2).take(count as usize - done);
                    words.for_each(|word| {
                        set(filter, usize::from(u16::from_le_bytes([word[0], word[1]])) % bits);
                    });
                }
            }
        }
        Ok(())
    }
}

impl Double {
    fn insert(&self, token: &[u8], count: u32, filter: &mut [u64], bits: usize) -> Result<(), String> {
        let mut bit = remainder(&self.sha1.clone().chain_update(token).finalize().into_bytes(), bits);
        let mut step = remainder(&self.md5.clone().chain_update(token).finalize().into_bytes(), bits);
        if self.prevent_singularity && step == 0 {
            step = other_step(&self.md5, token, bits).ok_or("no second hash of a token differs from zero")?;
        }
        for _ in 0..count {
            set(filter, bit);
            bit = (bit + step) % bits;
        }
        Ok(())
    }
}

/// Hashes the token with one appended character, and tries characters until the result is not zero.
fn other_step(md5: &Hmac<Md5>, token: &[u8], bits: usize) -> Option<usize> {
    let mut steps = (0..0xd800_u32).filter_map(char::from_u32).map(|suffix| {
        let mac = md5.clone().chain_update(token).chain_update(suffix.encode_utf8(&mut [0; 4]).as_bytes());
        remainder(&mac.finalize().into_bytes(), bits)
    });
    steps.find(|step| *step != 0)
}

/// Returns a digest, read as a big-endian number, modulo `bits`.
pub(super) fn remainder(digest: &[u8], bits: usize) -> usize {
    let bits = bits as u64;
    if bits.is_power_of_two() && bits <= 1 << 32 {
        // The last word decides.
        let word = digest.last_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        return (u64::from(word) & (bits - 1)) as usize;
    }
    let words = digest
        .chunks_exact(4)
        .map(|word| u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]])));
    words.fold(0, |rest, word| ((rest << 32) | word) % bits) as usize
}

/// Sets a bit. Bit 0 is the most significant bit of the first word.
pub(super) const fn set(filter: &mut [u64], bit: usize) {
    filter[bit / 64] |= 1 << (63 - bit % 64);
}

impl Charset {
    /// Returns whether a text can be written in this charset.
    pub(super) const fn can_write(self, text: &str) -> bool {
        !matches!(self, Self::Ascii) || text.is_ascii()
    }

    /// Returns a number of bytes that those of a token do not exceed: four for each character and a byte order mark.
    pub(super) const fn bytes_max(token: &str) -> usize {
        4 * (token.len() + 1)
    }

    /// Appends the bytes of a token. Those of UTF-16 and UTF-32 begin with a byte order mark, as in Python.
    pub(super) fn write(self, token: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::Ascii | Self::Utf8 => bytes.extend_from_slice(token.as_bytes()),
            Self::Utf16 => {
                bytes.extend_from_slice(&[0xff, 0xfe]);
                bytes.extend(token.encode_utf16().flat_map(u16::to_le_bytes));
            }
            Self::Utf32 => {
                bytes.extend_from_slice(&[0xff, 0xfe, 0, 0]);
                bytes.extend(token.chars().flat_map(|character| u32::from(character).to_le_bytes()));
            }
        }
    }
}

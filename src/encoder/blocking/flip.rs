//! The bits of a filter that a text sets.

use md5::Md5;
use sha1::{Digest, Sha1};
use zeroize::Zeroize;

use super::key::Key;
use super::md5_lanes::{self, LANES};
use crate::hash::remainder;

/// The longest text that takes one block of a hash function with its padding.
const SHORT_BYTES: usize = 55;

/// The bits that a text sets: each of several hash functions adds a step to the bit of the function before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flips {
    first: u32,
    step: u32,
}

impl Flips {
    /// Hashes a text for a filter of `bits` bits.
    pub(super) fn of(text: &[u8], bits: u32) -> Self {
        Self::from_digests(&Sha1::digest(text), &Md5::digest(text), bits)
    }

    /// Hashes several texts, the short ones among them together. Replaces the content of `all`.
    pub(super) fn of_all<'a>(texts: impl Iterator<Item = Key<'a>>, bits: u32, all: &mut Vec<Self>) {
        let mut together =
            Together { blocks: [[0; 64]; LANES], lengths: [0; LANES], numbers: [0; LANES], used: 0 };
        all.clear();
        for (number, text) in texts.enumerate() {
            if text.long().len() > SHORT_BYTES {
                all.push(Self::of(text.long(), bits));
                continue;
            }
            all.push(Self::default());
            together.add(number, text);
            if together.used == LANES {
                together.hash(bits, all);
            }
        }
        together.hash(bits, all);
        together.blocks.zeroize();
    }

    fn from_digests(sha1: &[u8], md5: &[u8], bits: u32) -> Self {
        Self { first: remainder(sha1, bits as usize) as u32, step: remainder(md5, bits as usize) as u32 }
    }

    /// Returns the bits in a filter of `bits` bits, in the order of `functions` hash functions.
    pub(super) fn iter(self, bits: u32, functions: u32) -> impl Iterator<Item = u32> {
        let Self { first: mut next, step } = self;
        (0..functions).map(move |_| {
            let bit = next;
            let sum = bit + step;
            // Both are below `bits`, so that a subtraction does what a remainder would.
            next = if sum < bits { sum } else { sum - bits };
            bit
        })
    }
}

/// Short texts that are hashed together.
struct Together {
    /// The texts, each with the byte 0x80 and zeros behind it.
    blocks: [[u8; 64]; LANES],
    /// The lengths of the texts in bits.
    lengths: [u64; LANES],
    /// The positions of the texts among all.
    numbers: [usize; LANES],
    used: usize,
}

impl Together {
    fn add(&mut self, number: usize, text: Key<'_>) {
        let block = &mut self.blocks[self.used];
        block.fill(0);
        let length = if let Some((bytes, length)) = text.short() {
            block[..bytes.len()].copy_from_slice(&bytes);
            length
        } else {
            block[..text.long().len()].copy_from_slice(text.long());
            text.long().len()
        };
        block[length] = 0x80;
        self.lengths[self.used] = length as u64 * 8;
        self.numbers[self.used] = number;
        self.used += 1;
    }

    /// Hashes the texts, and forgets them.
    fn hash(&mut self, bits: u32, all: &mut [Flips]) {
        self.seal(u64::to_le_bytes);
        let md5 = md5_lanes::digests(&self.blocks);
        self.seal(u64::to_be_bytes);
        for ((block, number), md5) in self.blocks.iter().zip(self.numbers).zip(md5).take(self.used) {
            let sha1 = sha1_of_block(block).map(u32::to_be_bytes);
            let md5 = md5.map(u32::to_le_bytes);
            all[number] = Flips::from_digests(sha1.as_flattened(), md5.as_flattened(), bits);
        }
        self.used = 0;
    }

    /// Writes the lengths at the ends of the blocks.
    fn seal(&mut self, bytes: fn(u64) -> [u8; 8]) {
        for (block, length) in self.blocks.iter_mut().zip(self.lengths) {
            block[SHORT_BYTES + 1..].copy_from_slice(&bytes(length));
        }
    }
}

/// Returns the SHA-1 digest of a block that is a whole message with its padding.
fn sha1_of_block(block: &[u8; 64]) -> [u32; 5] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    sha1::block_api::compress(&mut state, std::slice::from_ref(block));
    state
}

#[cfg(test)]
mod tests {
    use super::super::key::Writer;
    use super::*;

    #[test]
    fn texts_are_hashed_together_as_alone() {
        let text = "äbc".repeat(70);
        let texts = (0..200_usize).map(|length| &text.as_bytes()[..length * 7 % 140]);
        let writers: Vec<Writer> = texts.clone().map(Writer::of).collect();
        for bits in [1, 1000, 2048, 1 << 24] {
            let mut all = vec![Flips::default()];
            Flips::of_all(writers.iter().map(Writer::key), bits, &mut all);
            let alone: Vec<Flips> = texts.clone().map(|text| Flips::of(text, bits)).collect();
            assert_eq!(all, alone, "{bits} bits");
        }
    }

    #[test]
    fn functions_add_a_step() {
        assert!(Flips { first: 5, step: 4 }.iter(10, 4).eq([5, 9, 3, 7]));
    }
}

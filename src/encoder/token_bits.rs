//! The bits of tokens in a filter, with a bounded cache that saves hashing a token again.

use zeroize::Zeroizing;

use super::buffer;
use super::cache::{Cache, packed};
use super::hash::Hasher;

/// Sets the bits of a column's tokens.
pub(super) struct TokenBits {
    hasher: Hasher,
    /// The bits of tokens. The key is the number of insertions and the bytes of the token.
    cache: Cache,
    /// The bits of one token.
    mask: Zeroizing<Vec<u64>>,
    /// The cache key of one token.
    key: Zeroizing<Vec<u8>>,
    bits: usize,
}

impl TokenBits {
    /// Uses `hasher` for filters of `bits` bits.
    pub(super) fn new(hasher: Hasher, bits: usize) -> Self {
        let words = bits.div_ceil(64);
        Self {
            hasher,
            cache: Cache::new(words),
            mask: Zeroizing::new(vec![0; words]),
            key: Zeroizing::default(),
            bits,
        }
    }

    /// The hasher of the tokens.
    pub(super) const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The number of bits of a filter.
    pub(super) const fn bits(&self) -> usize {
        self.bits
    }

    /// Sets the bits of a token that is inserted `count` times.
    ///
    /// # Errors
    /// The token cannot be hashed.
    pub(super) fn insert(&mut self, token: &[u8], count: u32, filter: &mut [u64]) -> Result<(), String> {
        self.key.clear();
        buffer::reserve(&mut self.key, size_of_val(&count) + token.len());
        self.key.extend_from_slice(&count.to_le_bytes());
        self.key.extend_from_slice(token);
        let Some(key) = packed(&self.key) else {
            return self.hasher.insert(token, count, filter, self.bits);
        };
        let mask = match self.cache.find(key) {
            Ok(mask) => mask,
            Err(vacancy) => {
                self.hash(token, count)?;
                self.cache.keep(vacancy, &self.mask);
                &self.mask
            }
        };
        filter.iter_mut().zip(mask).for_each(|(word, mask)| *word |= mask);
        Ok(())
    }

    /// Writes the bits of a token to the mask.
    fn hash(&mut self, token: &[u8], count: u32) -> Result<(), String> {
        self.mask.fill(0);
        self.hasher.insert(token, count, &mut self.mask, self.bits)
    }
}

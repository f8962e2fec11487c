//! A bounded cache of the bits that values and tokens set.

use zeroize::Zeroize;

use super::table_hash::{mixed, short};

/// The number of words of a key: its bytes, zero padding, and a last byte for the length.
const KEY_WORDS: usize = 4;
/// The longest key in bytes; longer keys are not cached.
const KEY_BYTES: usize = KEY_WORDS * 8 - 1;
/// The maximum total size of the entries of a cache, in bytes.
const ENTRIES_BYTES: usize = 2 << 20;
/// The maximum number of entries of a cache.
const ENTRIES_MAX: usize = 1 << 13;
/// The number of index slots for each entry, so that most slots are free.
const SPREAD: usize = 4;

/// Caches masks by key. A full cache is cleared before the next entry is added.
///
/// Entries are contiguous, in insertion order, so that the few hundred tokens of most columns fit in the L2 cache of a
/// core.
pub(super) struct Cache {
    /// An open-addressing hash table of entry numbers, each plus one. 0 is a free slot.
    index: Vec<u32>,
    keys: Vec<Key>,
    masks: Vec<u64>,
    /// The number of words of a mask.
    words: usize,
    used: usize,
    most_used: usize,
}

/// A key as words.
pub(super) type Key = [u64; KEY_WORDS];

/// A key that was not found, and the free index slot for it.
pub(super) type Vacancy = (Key, usize);

impl Cache {
    /// Creates a cache of masks of `words` words.
    pub(super) fn new(words: usize) -> Self {
        let entry_bytes = (words + KEY_WORDS) * 8;
        let entries = 1 << (ENTRIES_BYTES / entry_bytes).clamp(1, ENTRIES_MAX).ilog2();
        Self {
            index: vec![0; entries * SPREAD],
            keys: vec![[0; KEY_WORDS]; entries],
            masks: vec![0; entries * words],
            words,
            used: 0,
            most_used: 0,
        }
    }

    /// Returns the mask of `key`, or the free slot for it.
    pub(super) fn find(&self, key: Key) -> Result<&[u64], Vacancy> {
        let last = self.index.len() - 1;
        let mut place = mixed(&key) as usize & last;
        loop {
            let Some(entry) = (self.index[place] as usize).checked_sub(1) else { return Err((key, place)) };
            if self.keys[entry] == key {
                return Ok(&self.masks[entry * self.words..][..self.words]);
            }
            place = (place + 1) & last;
        }
    }

    /// Stores the mask of a key that was not found.
    pub(super) fn keep(&mut self, (key, mut place): Vacancy, mask: &[u64]) {
        if self.used == self.keys.len() {
            self.index.fill(0);
            self.used = 0;
            place = mixed(&key) as usize & (self.index.len() - 1);
        }
        self.keys[self.used] = key;
        self.masks[self.used * self.words..][..self.words].copy_from_slice(mask);
        self.used += 1;
        self.most_used = self.most_used.max(self.used);
        self.index[place] = self.used as u32;
    }
}

/// Packs bytes into a key; `None` if there are too many.
pub(super) fn packed(key: &[u8]) -> Option<Key> {
    if key.len() > KEY_BYTES {
        return None;
    }
    let (whole, rest) = key.as_chunks::<8>();
    let mut words = [0; KEY_WORDS];
    words.iter_mut().zip(whole).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    words[whole.len()] = short(rest);
    // The length distinguishes keys that end in zero bytes.
    words[KEY_WORDS - 1] |= (key.len() as u64 + 1) << 56;
    Some(words)
}

/// The keys are personal data, and the masks reveal information about the secret.
impl Drop for Cache {
    fn drop(&mut self) {
        self.keys[..self.most_used].as_flattened_mut().zeroize();
        self.masks[..self.most_used * self.words].zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_found_again_until_the_cache_is_full() {
        let mut cache = Cache::new(2);
        let keys: Vec<Key> =
            (0..40_000).map(|number| packed(format!("key {number}").as_bytes()).unwrap()).collect();
        for (number, key) in keys.iter().enumerate() {
            let vacancy = cache.find(*key).unwrap_err();
            cache.keep(vacancy, &[number as u64, 7]);
            assert_eq!(cache.find(*key), Ok(&[number as u64, 7][..]));
        }
        let found: Vec<usize> = (0..keys.len()).filter(|at| cache.find(keys[*at]).is_ok()).collect();
        assert_eq!(found.len(), keys.len() % ENTRIES_MAX);
        assert!(found.iter().all(|at| cache.find(keys[*at]) == Ok(&[*at as u64, 7][..])));
    }

    #[test]
    fn bytes_are_keys() {
        let zeros: Vec<_> = (0..=KEY_BYTES).map(|count| packed(&vec![0; count]).unwrap()).collect();
        assert!((1..zeros.len()).all(|at| !zeros[..at].contains(&zeros[at])));
        assert_eq!(packed(b"abcdefghij").map(|key| key[1] & 0xffff), Some(0x6a69));
        assert_eq!(packed(&[b'x'; KEY_BYTES + 1]), None);
        assert!(Cache::new(1).find([0; KEY_WORDS]).is_err());
    }
}

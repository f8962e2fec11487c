//! A bounded cache of values and tokens with the bits that they set.

use zeroize::Zeroize;

/// Words of a key: its bytes, then zeros, then a byte for its length.
const KEY_WORDS: usize = 4;
/// The longest key, in bytes; longer ones are not cached.
const KEY_BYTES: usize = KEY_WORDS * 8 - 1;
/// The most bytes of the slots of a cache.
const SLOTS_BYTES: usize = 2 << 20;
/// The most slots of a cache.
const SLOTS_MAX: usize = 1 << 14;
/// Odd numbers without a pattern: fractional digits of pi.
const MIX: [u64; KEY_WORDS] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// Caches masks by key. A new entry replaces another with the same slot.
pub(super) struct Cache {
    /// Key and mask of each slot. An empty slot has zeros for a key, which no key has.
    slots: Vec<u64>,
    /// Words of a slot.
    words: usize,
    /// One less than the number of slots, a power of two.
    last: usize,
}

/// A key that was not found, and its slot; `None` if it is too long.
pub(super) type Vacancy = Option<([u64; KEY_WORDS], usize)>;

impl Cache {
    /// A cache of masks of `words` words.
    pub(super) fn new(words: usize) -> Self {
        let words = words + KEY_WORDS;
        let slots = 1 << (SLOTS_BYTES / (words * 8)).clamp(1, SLOTS_MAX).ilog2();
        Self { slots: vec![0; slots * words], words, last: slots - 1 }
    }

    /// Returns the mask of `key`, or the slot for it.
    pub(super) fn find(&self, key: &[u8]) -> Result<&[u64], Vacancy> {
        let key = packed(key).ok_or(None)?;
        let start = (hash(&key) as usize & self.last) * self.words;
        let (known, mask) = self.slots[start..start + self.words].split_at(KEY_WORDS);
        if known == key { Ok(mask) } else { Err(Some((key, start))) }
    }

    /// Stores the mask of a key that was not found.
    pub(super) fn keep(&mut self, vacancy: Vacancy, mask: &[u64]) {
        let Some((key, start)) = vacancy else { return };
        self.slots[start..][..KEY_WORDS].copy_from_slice(&key);
        self.slots[start + KEY_WORDS..][..mask.len()].copy_from_slice(mask);
    }
}

fn packed(key: &[u8]) -> Option<[u64; KEY_WORDS]> {
    if key.len() > KEY_BYTES {
        return None;
    }
    let (whole, rest) = key.as_chunks::<8>();
    let mut words = [0; KEY_WORDS];
    words.iter_mut().zip(whole).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    words[whole.len()] = short(rest);
    words[KEY_WORDS - 1] |= (key.len() as u64 + 1) << 56;
    Some(words)
}

/// Up to seven bytes as a word, with few branches.
fn short(bytes: &[u8]) -> u64 {
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

fn hash(key: &[u64; KEY_WORDS]) -> u64 {
    let mixed = |at: usize| {
        let product = u128::from(key[at] ^ MIX[at]) * u128::from(key[at + 1] ^ MIX[at + 1]);
        product as u64 ^ (product >> 64) as u64
    };
    mixed(0) ^ mixed(2).rotate_left(29)
}

/// The keys are personal data.
impl Drop for Cache {
    fn drop(&mut self) {
        self.slots.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_found_again_until_another_takes_their_place() {
        let mut cache = Cache::new(2);
        let keys: Vec<String> = (0..40_000).map(|number| format!("key {number}")).collect();
        for (number, key) in keys.iter().enumerate() {
            let vacancy = cache.find(key.as_bytes()).unwrap_err();
            cache.keep(vacancy, &[number as u64, 7]);
            assert_eq!(cache.find(key.as_bytes()), Ok(&[number as u64, 7][..]));
        }
        let found: Vec<usize> =
            (0..keys.len()).filter(|at| cache.find(keys[*at].as_bytes()).is_ok()).collect();
        assert!(found.len() > 10_000, "{}", found.len());
        assert!(found.iter().all(|at| cache.find(keys[*at].as_bytes()) == Ok(&[*at as u64, 7][..])));
        assert_eq!(cache.find(b"").map_err(|vacancy| vacancy.is_some()), Err(true));
        assert_eq!(cache.find(&[b'x'; 32]), Err(None));
    }
}

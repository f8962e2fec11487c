//! Many short texts in one allocation.

use zeroize::Zeroize;

/// A list of texts.
#[derive(Debug, Default)]
pub struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    /// Returns text `number`.
    pub fn get(&self, number: usize) -> &str {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.text[start..self.ends[number]]
    }

    /// The number of texts.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|number| self.get(number))
    }

    /// Removes all texts, which may be personal data.
    pub(super) fn clear(&mut self) {
        self.text.zeroize();
        self.ends.clear();
    }

    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }
}

/// Assigns numbers to distinct texts, in the order in which they first occur.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    texts: Texts,
    /// An open-addressing hash table. A slot holds the hash of a text and its number plus one; 0 is a free slot. At most half
    /// of the slots are used. Both are in one word: each lookup in a large table then costs one cache miss.
    index: Vec<u64>,
}

impl Numbering {
    /// Appends the numbers of several texts. Their places are read first, since the processor waits for many at once.
    pub(super) fn number_all(&mut self, texts: &Texts, numbers: &mut Vec<u32>) {
        if texts.is_empty() {
            return;
        }
        self.reserve(texts.len());
        let last = self.index.len() - 1;
        let hashes: Vec<u32> = texts.iter().map(|text| hash(text.as_bytes())).collect();
        let entries = hashes.iter().map(|hash| self.index[*hash as usize & last]);
        let known: Vec<usize> = entries.map(|entry| (entry as u32).saturating_sub(1) as usize).collect();
        let ends: Vec<usize> =
            known.iter().map(|number| self.texts.ends.get(*number).copied().unwrap_or(0)).collect();
        // The last byte of each known text brings it into the cache.
        let bytes = self.texts.text.as_bytes();
        let touched = ends.iter().map(|end| bytes.get(end.wrapping_sub(1)).copied().unwrap_or(0));
        std::hint::black_box(touched.fold(0, |sum: u8, byte| sum ^ byte));
        numbers.extend(texts.iter().zip(hashes).map(|(text, hash)| self.find(text, hash)));
    }

    /// The texts, indexed by number.
    pub(super) const fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Returns the texts and drops the hash table.
    pub(super) fn into_texts(mut self) -> Texts {
        std::mem::take(&mut self.texts)
    }

    /// Returns the number of a text with this hash; there is room for another.
    fn find(&mut self, text: &str, hash: u32) -> u32 {
        let last = self.index.len() - 1;
        let mut place = hash as usize & last;
        while self.index[place] != 0 {
            let (known, number) = ((self.index[place] >> 32) as u32, self.index[place] as u32 - 1);
            if known == hash && self.texts.get(number as usize) == text {
                return number;
            }
            place = (place + 1) & last;
        }
        self.texts.push(text);
        self.index[place] = u64::from(hash) << 32 | self.texts.len() as u64;
        self.texts.len() as u32 - 1
    }

    /// Makes room for this many more texts.
    fn reserve(&mut self, more: usize) {
        let used = self.texts.len() + more;
        if used * 2 <= self.index.len() {
            return;
        }
        let size = (used * 4).next_power_of_two().max(1 << 10);
        let old = std::mem::replace(&mut self.index, vec![0; size]);
        for entry in old.into_iter().filter(|entry| *entry != 0) {
            let mut place = (entry >> 32) as usize & (size - 1);
            while self.index[place] != 0 {
                place = (place + 1) & (size - 1);
            }
            self.index[place] = entry;
        }
    }
}

/// The texts are derived from personal data.
impl Drop for Numbering {
    fn drop(&mut self) {
        self.texts.text.zeroize();
    }
}

/// Hashes eight bytes at a time.
fn hash(bytes: &[u8]) -> u32 {
    /// An odd multiplier: fractional digits of pi.
    const MIX: u64 = 0x243f_6a88_85a3_08d3;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56;
    let hash = words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]).fold(MIX, |sum, word| {
        let product = u128::from(sum ^ word) * u128::from(MIX);
        product as u64 ^ (product >> 64) as u64
    });
    hash as u32 ^ (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_number() {
        let mut numbering = Numbering::default();
        let texts: Vec<String> =
            (0..5_000).map(|number| format!("{number:x}{}", "a".repeat(number % 20))).collect();
        let (mut batch, mut numbers) = (Texts::default(), Vec::new());
        for piece in [&[], &texts[..3_000], &texts[2_000..], &[], &texts] {
            batch.clear();
            piece.iter().for_each(|text| batch.push(text));
            // A text may come twice in a batch.
            piece.iter().take(5).for_each(|text| batch.push(text));
            numbering.number_all(&batch, &mut numbers);
        }
        let first = |start: u32, end: u32| (start..end).chain(start..start + 5);
        assert!(first(0, 3_000).chain(first(2_000, 5_000)).chain(first(0, 5_000)).eq(numbers));
        assert!(numbering.texts().iter().eq(texts.iter().map(String::as_str)));
    }
}

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
    hashes: Vec<u64>,
    /// An open-addressing hash table of numbers, each plus one. 0 is a free slot. At most half of the slots are used.
    index: Vec<u32>,
}

impl Numbering {
    /// Returns the number of a text.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if self.texts.len() * 2 >= self.index.len() {
            self.grow();
        }
        let hash = hash(text.as_bytes());
        let last = self.index.len() - 1;
        let mut place = hash as usize & last;
        while let Some(number) = self.index[place].checked_sub(1) {
            if self.hashes[number as usize] == hash && self.texts.get(number as usize) == text {
                return number;
            }
            place = (place + 1) & last;
        }
        self.texts.push(text);
        self.hashes.push(hash);
        self.index[place] = self.texts.len() as u32;
        self.texts.len() as u32 - 1
    }

    /// The texts, indexed by number.
    pub(super) const fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Returns the texts and drops the hash table.
    pub(super) fn into_texts(mut self) -> Texts {
        std::mem::take(&mut self.texts)
    }

    fn grow(&mut self) {
        let size = (self.index.len() * 4).max(1 << 10);
        self.index.clear();
        self.index.resize(size, 0);
        for (number, hash) in (1..).zip(&self.hashes) {
            let mut place = *hash as usize & (size - 1);
            while self.index[place] != 0 {
                place = (place + 1) & (size - 1);
            }
            self.index[place] = number;
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
fn hash(bytes: &[u8]) -> u64 {
    /// An odd multiplier: fractional digits of pi.
    const MIX: u64 = 0x243f_6a88_85a3_08d3;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56;
    words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]).fold(MIX, |sum, word| {
        let product = u128::from(sum ^ word) * u128::from(MIX);
        product as u64 ^ (product >> 64) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_number() {
        let mut numbering = Numbering::default();
        let texts: Vec<String> =
            (0..5_000).map(|number| format!("{number:x}{}", "a".repeat(number % 20))).collect();
        for _ in 0..2 {
            let numbers: Vec<u32> = texts.iter().map(|text| numbering.number(text)).collect();
            assert!((0..5_000).eq(numbers));
        }
        assert!(numbering.texts().iter().eq(texts.iter().map(String::as_str)));
    }
}

//! Numbers for distinct texts.

use super::batch::Batch;
use super::texts::{List, Texts};
use crate::cache::short;

/// Assigns numbers to distinct texts, in the order in which they first occur.
#[derive(Debug, Default)]
pub(super) struct Numbering<L = Texts> {
    texts: L,
    /// An open-addressing hash table. A slot holds the hash of a text and its number plus one; 0 is a free slot. At most three
    /// quarters of the slots are used. Both are in one word: each lookup in a large table then costs one cache miss.
    index: Vec<u64>,
    /// The hashes of the texts that are numbered now.
    hashes: Vec<u32>,
}

impl<L: List> Numbering<L> {
    /// Adds texts to an empty list, and makes room for `room` of them.
    pub(super) fn new(list: L, room: usize) -> Self {
        let mut numbering = Self { texts: list, index: Vec::new(), hashes: Vec::new() };
        numbering.grow(room);
        numbering
    }

    /// Appends the numbers of several texts. Their places are read first, since the processor waits for many at once.
    pub(super) fn number_all(&mut self, texts: &Batch, numbers: &mut Vec<u32>) {
        if self.index.is_empty() {
            self.grow(1);
        }
        let last = self.index.len() - 1;
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        hashes.extend(texts.iter().map(hash));
        let touched = hashes.iter().map(|hash| {
            let entry = self.index[*hash as usize & last];
            // Without a branch: which texts are known cannot be predicted. The first text stands for the others.
            let number = if (entry >> 32) as u32 == *hash { entry as u32 } else { 1 };
            self.texts.touch(number.saturating_sub(1) as usize)
        });
        std::hint::black_box(touched.fold(0, |sum, byte| sum ^ byte));
        numbers.reserve(hashes.len());
        for (text, hash) in texts.iter().zip(&hashes) {
            numbers.push(self.find(text, *hash));
        }
        self.hashes = hashes;
    }

    /// The texts, indexed by number.
    pub(super) const fn texts(&self) -> &L {
        &self.texts
    }

    /// Returns the texts and drops the hash table.
    pub(super) fn into_texts(self) -> L {
        self.texts
    }

    /// Returns the number of a text with this hash.
    fn find(&mut self, text: &[u8], hash: u32) -> u32 {
        let last = self.index.len() - 1;
        let mut place = hash as usize & last;
        while self.index[place] != 0 {
            let (known, number) = ((self.index[place] >> 32) as u32, self.index[place] as u32 - 1);
            if known == hash && is_same(self.texts.get(number as usize), text) {
                return number;
            }
            place = (place + 1) & last;
        }
        let number = self.texts.len();
        if (number + 1) * 4 > self.index.len() * 3 {
            self.grow(number + 1);
            place = free(&self.index, hash);
        }
        self.texts.push(text);
        self.index[place] = u64::from(hash) << 32 | (number as u64 + 1);
        number as u32
    }

    /// Makes room for this many texts.
    fn grow(&mut self, texts: usize) {
        let size = (texts * 4).div_ceil(3).next_power_of_two().max(INDEX_MIN);
        // A small table becomes larger than it must: moving its entries costs more than the room.
        let size = if self.index.is_empty() { size } else { size.max((self.index.len() * 4).min(SMALL)) };
        let old = std::mem::replace(&mut self.index, vec![0; size]);
        for entry in old.into_iter().filter(|entry| *entry != 0) {
            let place = free(&self.index, (entry >> 32) as u32);
            self.index[place] = entry;
        }
    }
}

/// The smallest number of slots.
const INDEX_MIN: usize = 1 << 10;
/// A table of fewer slots grows faster.
const SMALL: usize = 1 << 18;

/// Returns the free slot for a hash.
fn free(index: &[u64], hash: u32) -> usize {
    let last = index.len() - 1;
    let mut place = hash as usize & last;
    while index[place] != 0 {
        place = (place + 1) & last;
    }
    place
}

/// Returns whether two texts are equal. Most consist of few whole words, so that calling a function would take longer.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((one, rest), (other, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    one.iter().eq(other) && rest == other_rest
}

/// Hashes eight bytes at a time.
fn hash(bytes: &[u8]) -> u32 {
    /// An odd multiplier: fractional digits of pi.
    const MIX: u64 = 0x243f_6a88_85a3_08d3;
    let mix = |sum: u64, word: u64| {
        let product = u128::from(sum ^ word) * u128::from(MIX);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, rest) = bytes.as_chunks();
    let start = MIX ^ (bytes.len() as u64) << 56;
    let mut hash = words.iter().fold(start, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        hash = mix(hash, short(rest));
    }
    hash as u32 ^ (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_number() {
        let mut numbering = Numbering::<Texts>::default();
        let texts: Vec<Vec<u8>> = (0..5_000)
            .map(|number| format!("{number:x}{}", "a".repeat(number % 20)).into_bytes())
            .chain([vec![b'b'; 200_000], Vec::new()])
            .collect();
        let (mut batch, mut numbers) = (Batch::default(), Vec::new());
        let add = |batch: &mut Batch, text: &Vec<u8>| batch.push(text.len(), |bytes| bytes.extend(text));
        for piece in [&[], &texts[..3_000], &texts[2_000..], &[], &texts] {
            batch.clear();
            piece.iter().for_each(|text| add(&mut batch, text));
            // A text may come twice in a batch.
            piece.iter().take(5).for_each(|text| add(&mut batch, text));
            numbering.number_all(&batch, &mut numbers);
        }
        let first = |start: u32, end: u32| (start..end).chain(start..start + 5);
        assert!(first(0, 3_000).chain(first(2_000, 5_002)).chain(first(0, 5_002)).eq(numbers));
        let known = (0..numbering.texts().len()).map(|number| numbering.texts().get(number));
        assert!(known.eq(texts.iter().map(Vec::as_slice)));
    }
}

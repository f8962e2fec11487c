//! Keys of groups: texts, most of which are short. A short one is a few words, so that making, hashing and comparing it takes
//! no branch that depends on its length.

use zeroize::{Zeroize, Zeroizing};

use super::texts::{List, TEXT_MAX, Texts};
use crate::buffer;
use crate::table_hash::{hash_wide, hash_words, is_same, short};

/// The number of words of a short key: its bytes, zeros, and a last byte for the length.
const KEY_WORDS: usize = 3;
/// The longest short key in bytes.
const SHORT_BYTES: usize = KEY_WORDS * 8 - 1;
/// The last word of a longer key.
const LONG: u64 = u64::MAX;
/// The most bytes that are appended at once.
const PIECE_BYTES: usize = 16;
/// The words of a key to which a piece is appended.
const ROOM_WORDS: usize = KEY_WORDS + PIECE_BYTES / 8;
/// The number of keys in a chunk, a power of two.
const CHUNK: usize = 1 << 11;

/// The words of a key. Those of a longer key are its hash, the number of its text, and [`LONG`].
pub(super) type Words = [u64; KEY_WORDS];

/// A text to which pieces are appended.
#[derive(Debug, Default)]
pub(super) struct Writer {
    words: [u64; ROOM_WORDS],
    /// The length of a short text in bytes.
    len: usize,
    /// A longer text; empty before.
    long: Zeroizing<Vec<u8>>,
    /// There was no room for a piece.
    is_too_long: bool,
}

/// A key, with the text of a longer one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    words: Words,
    long: &'a [u8],
}

/// Distinct keys, in chunks that never grow: growing would leave copies of them in freed memory.
#[derive(Debug, Default)]
pub(super) struct Keys {
    chunks: Vec<Vec<Words>>,
    long: Texts,
    len: usize,
}

impl Writer {
    /// Starts with a text.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut writer = Self::default();
        writer.push(text);
        writer
    }

    /// Replaces the text by a short one.
    #[inline]
    pub(super) fn restart(&mut self, short: &Self) {
        self.words = short.words;
        self.len = short.len;
        self.is_too_long = false;
        if !self.long.is_empty() {
            // Not the whole room of the longest text so far.
            self.long.as_mut_slice().zeroize();
            self.long.clear();
        }
    }

    /// Appends a byte.
    #[inline]
    pub(super) fn push_byte(&mut self, byte: u8) {
        if self.len >= SHORT_BYTES {
            return self.push_pieces(&[byte]);
        }
        self.words[self.len / 8 % KEY_WORDS] |= u64::from(byte) << (self.len % 8 * 8);
        self.len += 1;
    }

    /// Appends a text.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) {
        let end = self.len + text.len();
        if text.len() > PIECE_BYTES || end > SHORT_BYTES {
            return self.push_pieces(text);
        }
        let word = match (text.first_chunk(), text.last_chunk()) {
            (Some(first), Some(last)) => {
                u128::from(u64::from_le_bytes(*first))
                    | u128::from(u64::from_le_bytes(*last)) << (8 * (text.len() - 8))
            }
            _ => u128::from(short(text)),
        };
        let (at, shift) = (self.len / 8 % KEY_WORDS, self.len % 8 * 8);
        let (low, high) = (word as u64, (word >> 64) as u64);
        // In two steps, since a word cannot be shifted by all of its bits.
        let rest = |word: u64| word >> 1 >> (63 - shift);
        self.words[at] |= low << shift;
        self.words[at + 1] |= rest(low) | high << shift;
        self.words[at + 2] |= rest(high);
        self.len = end;
    }

    /// Appends a text that is longer than a piece, or does not fit in the words.
    #[cold]
    fn push_pieces(&mut self, text: &[u8]) {
        if self.long.is_empty() && self.len + text.len() <= SHORT_BYTES {
            return text.chunks(PIECE_BYTES).for_each(|piece| self.push(piece));
        }
        if self.long.len() + text.len() > TEXT_MAX / 2 {
            self.is_too_long = true;
            return;
        }
        buffer::reserve(&mut self.long, SHORT_BYTES + text.len());
        if self.long.is_empty() {
            let bytes = Zeroizing::new(self.words.map(u64::to_le_bytes));
            self.long.extend_from_slice(&bytes.as_flattened()[..self.len]);
            // Each further piece is appended to the longer text.
            self.len = SHORT_BYTES + 1;
        }
        self.long.extend_from_slice(text);
    }

    /// Returns whether the text is too long for a key.
    pub(super) const fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// The text as a key.
    #[inline]
    pub(super) fn key(&self) -> Key<'_> {
        if self.len > SHORT_BYTES {
            return Key::of_long(&self.long);
        }
        let mut words = *self.words.first_chunk().expect("there is room for a key");
        words[KEY_WORDS - 1] |= (self.len as u64 + 1) << 56;
        Key { words, long: &[] }
    }
}

impl<'a> Key<'a> {
    fn of_long(text: &'a [u8]) -> Self {
        Self { words: [hash_wide(text), 0, LONG], long: text }
    }

    /// Returns the key with these words. `long` returns the text of a longer key.
    #[inline]
    pub(super) fn with_words(words: Words, long: impl FnOnce() -> &'a [u8]) -> Self {
        if words[KEY_WORDS - 1] == LONG {
            Self { words: [words[0], 0, LONG], long: long() }
        } else {
            Self { words, long: &[] }
        }
    }

    /// The words of the key, without the number of a longer text.
    pub(super) const fn words(&self) -> Words {
        self.words
    }

    /// The text of a longer key; empty for a short one.
    pub(super) const fn long(&self) -> &'a [u8] {
        self.long
    }

    /// Returns the bytes of a short key with zeros behind them, and its length; `None` for a longer key.
    #[inline]
    pub(super) fn short(&self) -> Option<([u8; KEY_WORDS * 8], usize)> {
        let mut bytes = [0; KEY_WORDS * 8];
        let (words, _) = bytes.as_chunks_mut();
        words.iter_mut().zip(self.words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
        let length = usize::from(std::mem::take(&mut bytes[SHORT_BYTES]));
        self.long.is_empty().then_some((bytes, length.saturating_sub(1)))
    }

    /// Calls `read` with the text.
    pub(super) fn read<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        match self.short() {
            Some((bytes, length)) => read(&Zeroizing::new(bytes)[..length]),
            None => read(self.long),
        }
    }
}

impl Keys {
    #[inline]
    fn words(&self, number: usize) -> &Words {
        &self.chunks[number / CHUNK][number % CHUNK]
    }
}

impl List for Keys {
    type Key<'a> = Key<'a>;

    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn key(&self, number: usize) -> Key<'_> {
        let words = *self.words(number);
        Key::with_words(words, || self.long.key(words[1] as usize))
    }

    #[inline]
    fn hash(key: Key<'_>) -> u32 {
        hash_words(&key.words)
    }

    #[expect(clippy::inline_always, reason = "a loop that calls a function waits for each key")]
    #[inline(always)]
    fn has(&self, number: usize, key: Key<'_>) -> bool {
        let words = self.words(number);
        if key.long.is_empty() {
            *words == key.words
        } else {
            let is_like = words[0] == key.words[0] && words[KEY_WORDS - 1] == LONG;
            is_like && is_same(self.long.key(words[1] as usize), key.long)
        }
    }

    fn push(&mut self, key: Key<'_>) {
        let mut words = key.words;
        if !key.long.is_empty() {
            words[1] = self.long.len() as u64;
            self.long.push(key.long);
        }
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("there is a chunk").push(words);
        self.len += 1;
    }
}

/// The text may be personal data.
impl Drop for Writer {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

/// The keys may be personal data.
impl Drop for Keys {
    fn drop(&mut self) {
        self.chunks.iter_mut().for_each(|chunk| chunk.as_flattened_mut().zeroize());
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbering::Numbering;
    use super::*;

    #[test]
    fn keys_are_made_of_pieces_of_all_lengths() {
        let text: Vec<u8> = (1..=60).collect();
        let mut writer = Writer::default();
        for start in 0..8 {
            let prefix = Writer::of(&text[..start]);
            for length in 1..=40 {
                writer.restart(&prefix);
                let mut end = start;
                while end + length <= text.len() {
                    writer.key().read(|read| assert_eq!(read, &text[..end]));
                    assert_eq!(writer.key().short().is_none(), end > SHORT_BYTES);
                    match &text[end..end + length] {
                        [byte] => writer.push_byte(*byte),
                        piece => writer.push(piece),
                    }
                    end += length;
                }
            }
        }
        assert!(!writer.is_too_long());
    }

    #[test]
    fn keys_of_all_lengths_are_distinct() {
        let texts: Vec<Vec<u8>> = (0..40).flat_map(|length| [vec![0; length], vec![0xff; length]]).collect();
        let writers: Vec<Writer> = texts.iter().map(|text| Writer::of(text)).collect();
        let (mut numbering, mut numbers) = (Numbering::<Keys>::default(), Vec::new());
        for _ in 0..2 {
            numbering.number_all(writers.iter().map(Writer::key), &mut numbers);
        }
        // Both texts of no bytes are the same.
        let expected = (0..80_u32).map(|at| at.saturating_sub(1));
        assert!(expected.clone().chain(expected).eq(numbers));
        let list = numbering.into_list();
        assert!((1..80).all(|at| list.key(at - 1).read(|read| read == texts[at])));
    }
}

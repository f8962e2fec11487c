//! Many short texts in few allocations.

use zeroize::Zeroize;

use crate::table_hash::{hash, is_same};

/// The size of a chunk, unless a text is longer.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest text in bytes.
pub(super) const TEXT_MAX: usize = u32::MAX as usize;

/// A list of distinct items.
pub(super) trait List {
    /// An item.
    type Key<'a>: Copy
    where
        Self: 'a;

    /// The number of items.
    fn len(&self) -> usize;

    /// Returns item `number`.
    fn key(&self, number: usize) -> Self::Key<'_>;

    /// Returns the hash of an item.
    fn hash(key: Self::Key<'_>) -> u32;

    /// Returns whether item `number` is this one.
    fn has(&self, number: usize, key: Self::Key<'_>) -> bool;

    /// Adds an item. A text has at most [`TEXT_MAX`] bytes.
    fn push(&mut self, key: Self::Key<'_>);
}

/// Texts in chunks that never grow: growing would leave copies of them in freed memory.
#[derive(Debug, Default)]
pub struct Texts {
    chunks: Vec<Vec<u8>>,
    ends: Vec<End>,
}

/// The end of a text. It begins at the end of the text before it, or at the start of the chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    chunk: u32,
    at: u32,
}

impl Texts {
    /// Returns the chunk for a text of this size.
    fn chunk_for(&mut self, bytes: usize) -> &mut Vec<u8> {
        let has_room = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= bytes;
        if !self.chunks.last().is_some_and(has_room) {
            self.chunks.push(Vec::with_capacity(CHUNK_BYTES.max(bytes)));
        }
        self.chunks.last_mut().expect("there is a chunk")
    }
}

impl List for Texts {
    type Key<'a> = &'a [u8];

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn key(&self, number: usize) -> &[u8] {
        let end = self.ends[number];
        let before = number.checked_sub(1).map_or(End::default(), |before| self.ends[before]);
        let start = if before.chunk == end.chunk { before.at } else { 0 };
        &self.chunks[end.chunk as usize][start as usize..end.at as usize]
    }

    fn hash(text: &[u8]) -> u32 {
        hash(text)
    }

    fn has(&self, number: usize, text: &[u8]) -> bool {
        is_same(self.key(number), text)
    }

    fn push(&mut self, text: &[u8]) {
        let chunk = self.chunk_for(text.len());
        chunk.extend_from_slice(text);
        let at = chunk.len() as u32;
        self.ends.push(End { chunk: self.chunks.len() as u32 - 1, at });
    }
}

/// The texts may be personal data.
impl Drop for Texts {
    fn drop(&mut self) {
        self.chunks.iter_mut().for_each(|chunk| chunk.as_mut_slice().zeroize());
    }
}

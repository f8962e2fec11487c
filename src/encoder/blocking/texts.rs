//! Many short texts in few allocations.

use zeroize::Zeroize;

/// The size of a chunk, unless a text is longer.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest text in bytes.
pub(super) const TEXT_MAX: usize = u32::MAX as usize;

/// A list of texts, as bytes.
pub(super) trait List {
    /// The number of texts.
    fn len(&self) -> usize;

    /// Returns text `number`.
    fn get(&self, number: usize) -> &[u8];

    /// Adds a text of at most [`TEXT_MAX`] bytes.
    fn push(&mut self, text: &[u8]);

    /// Returns a byte near text `number`, which brings it into the cache; any byte if there is no such text.
    fn touch(&self, number: usize) -> u8;
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
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, number: usize) -> &[u8] {
        let end = self.ends[number];
        let before = number.checked_sub(1).map_or(End::default(), |before| self.ends[before]);
        let start = if before.chunk == end.chunk { before.at } else { 0 };
        &self.chunks[end.chunk as usize][start as usize..end.at as usize]
    }

    fn push(&mut self, text: &[u8]) {
        let chunk = self.chunk_for(text.len());
        chunk.extend_from_slice(text);
        let at = chunk.len() as u32;
        self.ends.push(End { chunk: self.chunks.len() as u32 - 1, at });
    }

    fn touch(&self, number: usize) -> u8 {
        let last = |end: &End| self.chunks[end.chunk as usize].get(end.at.wrapping_sub(1) as usize).copied();
        self.ends.get(number).and_then(last).unwrap_or_default()
    }
}

/// The texts may be personal data.
impl Drop for Texts {
    fn drop(&mut self) {
        self.chunks.iter_mut().for_each(|chunk| chunk.as_mut_slice().zeroize());
    }
}

//! Texts that are numbered at once.

use zeroize::Zeroize;

use crate::buffer;

/// The number of texts in a full batch.
pub(super) const BATCH: usize = 1 << 10;
/// A batch of more bytes is full, too, and a buffer of more bytes is not kept.
const BYTES_MAX: usize = 64 << 10;

/// Texts, as bytes, in one buffer that is used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// The end of each text.
    ends: Vec<usize>,
}

impl Batch {
    /// Returns whether the texts should be numbered.
    pub(super) const fn is_full(&self) -> bool {
        self.ends.len() >= BATCH || self.bytes.len() > BYTES_MAX
    }

    /// Adds the text that `write` appends, which has at most `bytes_max` bytes.
    pub(super) fn push(&mut self, bytes_max: usize, write: impl FnOnce(&mut Vec<u8>)) {
        buffer::reserve(&mut self.bytes, bytes_max);
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The texts.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Removes all texts, which may be personal data.
    pub(super) fn clear(&mut self) {
        self.ends.clear();
        self.bytes.as_mut_slice().zeroize();
        self.bytes.clear();
        self.bytes.shrink_to(2 * BYTES_MAX);
    }
}

/// The texts may be personal data.
impl Drop for Batch {
    fn drop(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

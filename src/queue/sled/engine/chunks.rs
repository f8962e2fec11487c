//! Large values in chunks that fit sled's segments.
//!
//! sled stores a value larger than a quarter of a segment in a separate file, and never syncs that file. It also
//! writes a leaf of its tree, which has at most twenty values (it splits beyond sixteen), as a whole. Large values are
//! therefore cut into chunks: the first is stored under the value's key, the others under the key followed by 1, 2, …
//! A chunk of the full size is always followed by another, which may be empty.

use ::sled::IVec;

/// The maximum number of values of a leaf.
const LEAF_VALUES_MAX: usize = 20;
/// The number of bytes that a leaf takes in addition to its values.
const LEAF_OVERHEAD_BYTES: usize = 2 << 10;

/// The size of a chunk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue::sled) struct ChunkBytes(usize);

impl ChunkBytes {
    /// Returns the chunk size for segments of this size.
    pub(in crate::queue::sled) const fn for_segments(segment_bytes: usize) -> Self {
        Self((segment_bytes / 4 - LEAF_OVERHEAD_BYTES) / LEAF_VALUES_MAX)
    }

    /// Returns true if another chunk follows this one.
    pub(in crate::queue::sled) fn is_followed(self, chunk: &[u8]) -> bool {
        chunk.len() == self.0
    }

    /// Returns the chunks of a value in order, with their keys.
    pub(in crate::queue::sled) fn cut<'a>(
        self,
        key: &'a [u8],
        value: &'a [u8],
    ) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
        let ends_full = value.len().is_multiple_of(self.0).then_some(&[][..]);
        let chunks = value.chunks(self.0).chain(ends_full);
        (0..).zip(chunks).map(|(number, chunk)| (chunk_key(key, number), chunk))
    }

    /// Joins the first chunk of a value and the following ones; returns `None` if a chunk is missing.
    pub(in crate::queue::sled) fn join<E>(
        self,
        first: IVec,
        mut after: impl FnMut(u32) -> Result<Option<IVec>, E>,
    ) -> Result<Option<IVec>, E> {
        if !self.is_followed(&first) {
            return Ok(Some(first));
        }
        let mut value = first.to_vec();
        for number in 1.. {
            let Some(chunk) = after(number)? else { return Ok(None) };
            value.extend_from_slice(&chunk);
            if !self.is_followed(&chunk) {
                break;
            }
        }
        Ok(Some(value.into()))
    }
}

/// Returns the key of a chunk; the first has the key of the value.
pub(in crate::queue::sled) fn chunk_key(key: &[u8], number: u32) -> Vec<u8> {
    let number = (number > 0).then_some(number.to_be_bytes());
    key.iter().copied().chain(number.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leaf_of_chunks_fits_a_quarter_of_a_segment() {
        for segment_bytes in [512 << 10, 1 << 20, 8 << 20] {
            let ChunkBytes(chunk) = ChunkBytes::for_segments(segment_bytes);
            assert!(LEAF_VALUES_MAX * (chunk + 64) < segment_bytes / 4, "{segment_bytes}");
        }
    }

    proptest! {
        #[test]
        fn chunks_join_to_the_value(chunk in 1_usize..9, value: Vec<u8>) {
            let size = ChunkBytes(chunk);
            let chunks: Vec<_> = size.cut(b"key", &value).collect();
            prop_assert!(chunks.is_sorted_by(|(left, _), (right, _)| left < right));
            prop_assert!(chunks.iter().all(|(_, chunk)| chunk.len() <= size.0));
            let find = |number| {
                let key = chunk_key(b"key", number);
                Ok::<_, ()>(chunks.iter().find(|(found, _)| *found == key).map(|(_, chunk)| IVec::from(*chunk)))
            };
            let first = find(0).unwrap().expect("there is one at least");
            prop_assert_eq!(size.join(first.clone(), find).unwrap().unwrap(), &value);
            if chunks.len() > 1 {
                prop_assert_eq!(size.join(first, |_| Ok::<_, ()>(None)), Ok(None));
            }
        }
    }
}

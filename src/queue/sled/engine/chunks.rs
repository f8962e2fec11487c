//! Large values in chunks that fit sled's segments.
//!
//! sled puts what exceeds a quarter of one of its segments into a file of its own, without any sync; and a leaf, which has
//! at most twenty values (it splits beyond sixteen), is written whole. So a value is cut: its first piece is under its key,
//! the next are under the key and 1, 2, … A piece as large as a piece may be is followed by another, be it empty.

use ::sled::IVec;

/// The most values of a leaf.
const LEAF_VALUES_MAX: usize = 20;
/// Bytes that a leaf takes beside its values.
const LEAF_OVERHEAD_BYTES: usize = 2 << 10;

/// The size of a chunk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue::sled) struct ChunkBytes(usize);

impl ChunkBytes {
    /// Returns the chunk size for segments of this size.
    pub(in crate::queue::sled) const fn for_segments(segment_bytes: usize) -> Self {
        Self((segment_bytes / 4 - LEAF_OVERHEAD_BYTES) / LEAF_VALUES_MAX)
    }

    /// True if another chunk follows this one.
    pub(in crate::queue::sled) fn goes_on(self, piece: &[u8]) -> bool {
        piece.len() == self.0
    }

    /// The pieces of a value, in order, and their keys.
    pub(in crate::queue::sled) fn cut<'a>(
        self,
        key: &'a [u8],
        value: &'a [u8],
    ) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
        let ends_full = value.len().is_multiple_of(self.0).then_some(&[][..]);
        let pieces = value.chunks(self.0).chain(ends_full);
        (0..).zip(pieces).map(|(number, piece)| (chunk_key(key, number), piece))
    }

    /// A value from its first piece and those after it; none, if one of them is missing.
    pub(in crate::queue::sled) fn join<E>(
        self,
        first: IVec,
        mut after: impl FnMut(u32) -> Result<Option<IVec>, E>,
    ) -> Result<Option<IVec>, E> {
        if !self.goes_on(&first) {
            return Ok(Some(first));
        }
        let mut value = first.to_vec();
        for number in 1.. {
            let Some(piece) = after(number)? else { return Ok(None) };
            value.extend_from_slice(&piece);
            if !self.goes_on(&piece) {
                break;
            }
        }
        Ok(Some(value.into()))
    }
}

/// The key of a piece; the first has the value's own.
pub(in crate::queue::sled) fn chunk_key(key: &[u8], number: u32) -> Vec<u8> {
    let number = (number > 0).then_some(number.to_be_bytes());
    key.iter().copied().chain(number.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leaf_of_pieces_fits_a_quarter_of_a_segment() {
        for segment_bytes in [512 << 10, 1 << 20, 8 << 20] {
            let ChunkBytes(piece) = ChunkBytes::for_segments(segment_bytes);
            assert!(LEAF_VALUES_MAX * (piece + 64) < segment_bytes / 4, "{segment_bytes}");
        }
    }

    proptest! {
        #[test]
        fn pieces_join_to_what_was_cut(piece in 1_usize..9, value: Vec<u8>) {
            let size = ChunkBytes(piece);
            let pieces: Vec<_> = size.cut(b"key", &value).collect();
            prop_assert!(pieces.is_sorted_by(|(left, _), (right, _)| left < right));
            prop_assert!(pieces.iter().all(|(_, piece)| piece.len() <= size.0));
            let find = |number| {
                let key = chunk_key(b"key", number);
                Ok::<_, ()>(pieces.iter().find(|(found, _)| *found == key).map(|(_, piece)| IVec::from(*piece)))
            };
            let first = find(0).unwrap().expect("there is one at least");
            prop_assert_eq!(size.join(first.clone(), find).unwrap().unwrap(), &value);
            if pieces.len() > 1 {
                prop_assert_eq!(size.join(first, |_| Ok::<_, ()>(None)), Ok(None));
            }
        }
    }
}

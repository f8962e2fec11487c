//! Entries of a plan: two sets of records to compare.

use crate::encoding::layout::{Span, u32_at, u64_at};

/// The number of bytes of a stored entry.
pub(super) const ENTRY_BYTES: usize = 32;

/// Set if the records are consecutive.
const DENSE: u64 = 1 << 63;

/// Records of two datasets in one block. Every left record is compared with every right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The left dataset's index.
    pub left_dataset: u32,
    /// The right dataset's index, which is higher.
    pub right_dataset: u32,
    /// The records of the left dataset.
    pub left: Span,
    /// The records of the right dataset.
    pub right: Span,
}

impl Entry {
    /// Returns the number of pairs of records to compare.
    pub const fn comparisons(&self) -> u64 {
        self.left.count() as u64 * self.right.count() as u64
    }

    pub(super) fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.left_dataset.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.right_dataset.to_le_bytes());
        bytes[8..16].copy_from_slice(&first_and_form(self.left).to_le_bytes());
        bytes[16..24].copy_from_slice(&first_and_form(self.right).to_le_bytes());
        bytes[24..28].copy_from_slice(&self.left.count().to_le_bytes());
        bytes[28..].copy_from_slice(&self.right.count().to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            left_dataset: u32_at(bytes, 0),
            right_dataset: u32_at(bytes, 4),
            left: span(u64_at(bytes, 8), u32_at(bytes, 24)),
            right: span(u64_at(bytes, 16), u32_at(bytes, 28)),
        }
    }
}

const fn first_and_form(span: Span) -> u64 {
    match span {
        Span::Rows { first, .. } => first as u64 | DENSE,
        Span::Ids { first, .. } => first,
    }
}

const fn span(first_and_form: u64, count: u32) -> Span {
    let first = first_and_form & !DENSE;
    if first == first_and_form {
        Span::Ids { first, count }
    } else {
        Span::Rows { first: first as u32, count }
    }
}

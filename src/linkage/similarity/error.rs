//! The errors of a comparison.

use crate::encoding::layout::Damage;
use crate::pairs;

/// An error of a comparison.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller cancelled the work.
    #[error("the comparison was cancelled")]
    Cancelled,
    /// There are too many pairs, or storing them failed.
    #[error(transparent)]
    Pairs(#[from] pairs::Error),
    /// A list of records names a record beyond the matrix: the list or the matrix is damaged.
    #[error("record {record} is beyond the {records} records of its dataset")]
    NoSuchRecord {
        /// The index of the record.
        record: u32,
        /// The number of records.
        records: usize,
    },
    /// The matrix or the list is truncated, or the two sides have encodings of different sizes.
    #[error("encodings cannot be compared: {0}")]
    Malformed(&'static str),
    /// A matrix or its block index is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

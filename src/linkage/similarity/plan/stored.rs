//! Resolves the entries of a plan to rows of stored datasets.

use super::Entry;
use crate::encoding::layout::{Index, RowIds, Span};
use crate::similarity::{Error, Rows, Tile};

/// A stored dataset: its block index and its matrix, in memory or mapped.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// The block index.
    pub index: Index<'a>,
    /// The matrix.
    pub matrix: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Returns the rows of `span`.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::NoSuchRecord`] or [`Error::Malformed`] if index and matrix do not have them.
    pub fn rows(&self, span: Span) -> Result<Rows<'a>, Error> {
        let encoding_bytes = self.index.header().encoding_bytes as usize;
        match self.index.rows(span)? {
            RowIds::Dense(rows) => Rows::range(self.matrix, encoding_bytes, rows),
            RowIds::Listed(ids) => Rows::listed(self.matrix, encoding_bytes, ids.as_flattened()),
        }
    }
}

impl Entry {
    /// Returns the rows to compare, from the two datasets that this entry names.
    ///
    /// # Errors
    /// Like [`Stored::rows`].
    pub fn tile<'a>(&self, left: &Stored<'a>, right: &Stored<'a>) -> Result<Tile<'a>, Error> {
        Ok(Tile {
            datasets: [self.left_dataset, self.right_dataset],
            left: left.rows(self.left)?,
            right: right.rows(self.right)?,
        })
    }
}

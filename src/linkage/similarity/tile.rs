//! A tile: rows of two datasets that are compared with each other.

use super::rows::Rows;

/// Records of two datasets. Every left record is compared with every right one.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// The datasets of the left and of the right rows; the left index is lower.
    pub datasets: [u32; 2],
    /// The records of the dataset with the lower index.
    pub left: Rows<'a>,
    /// The records of the other dataset.
    pub right: Rows<'a>,
}

impl Tile<'_> {
    /// Returns the number of pairs of records to compare.
    pub const fn comparisons(&self) -> u64 {
        self.left.len() as u64 * self.right.len() as u64
    }
}

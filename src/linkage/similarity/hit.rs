//! A candidate pair of two lists of records.

/// A candidate pair of two lists of records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The Dice coefficient.
    pub score: f64,
    /// The row of the left list.
    pub left: u32,
    /// The row of the right list.
    pub right: u32,
}

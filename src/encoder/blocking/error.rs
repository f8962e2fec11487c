//! Errors of blocking.

/// An error of blocking.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row is invalid.
    #[error("{0}")]
    Row(String),
    /// No record is in a block.
    #[error("no blocks: the input has no records, or the filter of the configuration rejects every block")]
    Nothing,
}

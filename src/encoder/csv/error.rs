//! Errors of reading CSV.

/// A file cannot be read, or is not CSV.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// A row is not valid CSV.
    #[error("line {line}: {rule}")]
    Broken {
        /// The line in which the row begins, from 1.
        line: u64,
        /// The rule that the row breaks.
        rule: String,
    },
}

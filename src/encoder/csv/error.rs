//! Errors of a file.

/// A file cannot be read, or is not CSV.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// It breaks a rule, in the row that began on this line.
    #[error("line {line}: {rule}")]
    Broken {
        /// The line, from 1.
        line: u64,
        /// The rule.
        rule: String,
    },
}

//! Errors of blocking.

/// An error in making blocks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row breaks a rule.
    #[error("{0}")]
    Row(String),
    /// Every record is left out by the filter.
    #[error("no block passes the filter of the configuration: every record is left out")]
    Nothing,
}

//! The errors of pairs.

use std::io;

/// An error in reading, writing or counting pairs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are more pairs than allowed. The pairs themselves are valid.
    #[error(
        "{count} candidate pairs found so far, which is more than the limit of {limit}; \
         a higher threshold or blocking would give fewer"
    )]
    TooMany {
        /// Pairs counted when the limit was exceeded; there may be more.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are not a pair file, or are a damaged one.
    #[error("not a valid pair file: {0}")]
    Malformed(&'static str),
    /// An index is larger than any that can occur here.
    #[error("pair file names dataset or record {0}, which does not fit in 32 bits")]
    IndexTooLarge(u64),
    /// Reading failed.
    #[error("cannot read candidate pairs")]
    Read(#[source] io::Error),
    /// Writing failed, most likely because the disk is full.
    #[error("cannot write candidate pairs")]
    Write(#[source] io::Error),
}

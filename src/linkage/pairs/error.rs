//! Errors in reading and writing candidate pairs.

use std::io;

/// An error in reading, writing or counting pairs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are more pairs than the limit allows.
    #[error(
        "{count} candidate pairs found so far, which is more than the limit of {limit}; \
         a higher threshold or blocking would give fewer"
    )]
    TooMany {
        /// The number of pairs when the limit was exceeded; there may be more.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are not a pair file, or are a damaged one.
    #[error("not a valid pair file: {0}")]
    Malformed(&'static str),
    /// A dataset or record index does not fit into 32 bits.
    #[error("pair file names dataset or record {0}, which does not fit in 32 bits")]
    IndexTooLarge(u64),
    /// Reading failed.
    #[error("cannot read candidate pairs")]
    Read(#[source] io::Error),
    /// Writing failed, most likely because the disk is full.
    #[error("cannot write candidate pairs")]
    Write(#[source] io::Error),
}

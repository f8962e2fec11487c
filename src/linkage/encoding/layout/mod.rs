//! Stored encodings: the matrix, and the **index** with the rows of each block and the checksums of the matrix.
//!
//! # The index, version 1
//!
//! Little-endian throughout, sections one after the other without gaps:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 8 | magic `entdindx` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | records *n* (rows of the matrix) |
//! | 16 | 4 | encoding size *s* in bytes |
//! | 20 | 4 | zero |
//! | 24 | 8 | number of blocks *b* |
//! | 32 | 8 | number of record ids *i* |
//! | 40 | 4 | CRC-32 of the chunk sums |
//! | 44 | 4 | CRC-32 of the directory |
//! | 48 | 4 | CRC-32 of the record ids |
//! | 52 | 4 | number of the upload; zero if none was given |
//! | 56 | 4 | zero |
//! | 60 | 4 | CRC-32 of bytes 0 to 59 |
//! | 64 | 4·*c* | chunk sums: CRC-32 of each MiB of the matrix, the last one shorter; *c* = ⌈*n*·*s* / 2²⁰⌉ |
//! | | 48·*b* | directory: the blocks, ascending by digest |
//! | | 4·*i* | record ids, u32; ascending within a block |
//!
//! A block in the directory:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 32 | BLAKE2b-256 of the block's name |
//! | 32 | 8 | dense: the first record; else: the position of the first record id |
//! | 40 | 4 | number of records, at least 1 |
//! | 44 | 4 | 1 if dense: the records are consecutive, and their ids are not stored; else 0 |
//!
//! A dataset without blocks has one dense block, the default block, with all records.

mod blocks;
mod build;
mod directory;
mod divided;
mod header;
mod index;
mod numbered;
mod placed;
mod radix;
mod ranks;
mod section;
mod sort;
mod verify;

#[cfg(test)]
mod tests;

use std::io;

pub use build::{Dataset, build};
pub use directory::{Block, Directory};
pub use header::{CHUNK_BYTES, Header};
pub(crate) use header::{u32_at, u64_at};
pub use index::{Index, RowIds};
pub(crate) use section::Section;
pub use verify::Verified;

/// Some records of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// Consecutive rows.
    Rows {
        /// The first row.
        first: u32,
        /// The number of rows.
        count: u32,
    },
    /// The rows in a range of the index's record ids.
    Ids {
        /// The position of the first record id.
        first: u64,
        /// The number of ids.
        count: u32,
    },
}

impl Span {
    /// Returns the number of records.
    pub const fn count(self) -> u32 {
        match self {
            Self::Rows { count, .. } | Self::Ids { count, .. } => count,
        }
    }

    /// Returns the records at positions `start..stop`, where `start` ≤ `stop` ≤ [`Span::count`].
    #[must_use]
    pub const fn part(self, start: u32, stop: u32) -> Self {
        let count = stop - start;
        match self {
            Self::Rows { first, .. } => Self::Rows { first: first + start, count },
            Self::Ids { first, .. } => Self::Ids { first: first + start as u64, count },
        }
    }
}

/// Damage of a stored object. The object must be made again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in its variant's message")]
pub enum Damage {
    /// The length of the file contradicts its header, or the index beside it.
    #[error("the {object} has {found} bytes instead of {expected}")]
    Length { object: &'static str, expected: u64, found: u64 },
    /// The file is of another kind.
    #[error("this is no {object}")]
    Kind { object: &'static str },
    /// A newer version of this program wrote it.
    #[error("the {object} has version {version}, which this program does not know")]
    Version { object: &'static str, version: u32 },
    /// A checksum is wrong.
    #[error("the {section} of the {object} does not match its checksum")]
    Sum { object: &'static str, section: &'static str },
    /// The checksum of a MiB of the matrix is wrong.
    #[error("the matrix is damaged between its bytes {start} and {stop}")]
    Matrix { start: u64, stop: u64 },
    /// The checksums are right, but the content is inconsistent.
    #[error("the {object} is inconsistent: {what}")]
    Contradiction { object: &'static str, what: &'static str },
}

/// An error in reading or making a stored object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored object is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The source cannot be read.
    #[error("cannot read stored encodings")]
    Source(#[source] io::Error),
    /// A temporary file failed, most likely because a disk is full.
    #[error("cannot use a temporary file")]
    Scratch(#[source] io::Error),
    /// The result cannot be written.
    #[error("cannot write the object")]
    Sink(#[source] io::Error),
}

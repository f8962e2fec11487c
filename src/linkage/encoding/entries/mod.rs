//! Block entries between an upload and its index.
//!
//! Version 1 is a list of [entries](super::block::Entry). In version 2, the digests of blocks are numbered, so that a
//! name that occurs again costs 8 bytes and no digest. Both versions are read everywhere. The [`Version`] to write is
//! chosen by the program.
//!
//! # Version 2
//!
//! Little-endian throughout. A file without entries is empty. Others begin with [`MAGIC`], of which the first four
//! bytes are no record of version 1. Frames follow:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | number of the frame's first digest; 0 begins a new list of digests |
//! | 4 | 4 | number of digests *d* |
//! | 8 | 4 | number of entries *e* |
//! | 12 | 32·*d* | digests, numbered one after the other |
//! | | 8·*e* | entries: record, u32, and the number of a digest in the current list, u32; in the order of arrival |
//!
//! A digest may have several numbers. A list has at most [`LIST_MAX`] digests.

mod names;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::read_all;
pub(super) use read::{Frames, List, Translated, damaged, is_numbered};
pub(super) use write::Entries;

/// A version of block entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Version 1, which every program reads.
    Plain,
    /// Version 2, which takes less time and space. Programs from before it cannot read it, so it is written only where
    /// no other program can read the entries.
    Numbered,
}

/// The first bytes of version 2.
const MAGIC: [u8; 8] = *b"\xff\xff\xff\xffent2";
/// The number of bytes before the digests of a frame.
const HEAD_BYTES: usize = 12;
/// The number of bytes of an entry.
const PAIR_BYTES: usize = 8;
/// The maximum number of digests in a list.
pub(super) const LIST_MAX: usize = 1 << LIST_BITS;
/// The number of bits of a digest's number.
pub(super) const LIST_BITS: u32 = 19;
/// The maximum number of entries, and of digests, in a frame.
const FRAME_MAX: usize = 8 << 10;

//! Reads uploads as streams, checks them, and writes their encodings as rows.
//!
//! [`json`] and [`binary`] convert the body of an upload into the **matrix** (`records` rows of `encoding_bytes`
//! bytes, one after the other: exactly the binary upload format) and, with blocking, into **block entries** (see
//! [`block::Entry`]). Memory use does not depend on the body's length.

pub mod base64;
pub mod binary;
pub mod block;
pub mod entries;
pub mod error;
pub mod json;
pub mod layout;
mod rows;

pub use error::{Error, Incomparable, Rejection};

/// Checks that encodings of `bytes` bytes can be compared.
///
/// # Errors
///
/// [`Incomparable`] if the size is 0 or not a multiple of 8 bytes.
pub const fn check_comparable(bytes: u32) -> Result<(), Incomparable> {
    if bytes > 0 && bytes.is_multiple_of(8) { Ok(()) } else { Err(Incomparable(bytes)) }
}

/// The totals of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of rows of the matrix; at least 1.
    pub records: u32,
    /// The number of bytes in each row; at least 1. The caller checks whether the service accepts this size.
    pub encoding_bytes: u32,
    /// True if the upload names blocks: otherwise every record is in the default block.
    pub has_blocks: bool,
    /// The number of block entries written; 0 without blocks.
    pub entries: u64,
}

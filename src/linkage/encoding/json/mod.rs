//! Uploads as JSON, read as a stream: memory stays within about half a megabyte, plus one bit for each record that
//! `blocks` names, plus a table of the names of blocks: 17 MiB at most, and 256 MiB for all uploads together.
//!
//! [`upload`] reads the body of an upload in any of its shapes; [`encodings`] and [`blocks`] read the two objects
//! that an upload may refer to instead. The JSON is strict (RFC 8259, UTF-8); unknown members are checked and
//! skipped.

mod blocks;
mod escape;
mod external;
mod reference;
mod skip;
mod tokens;
mod upload;

#[cfg(test)]
mod tests;

pub use external::{blocks, encodings};
pub use reference::{AccessKeys, FileRef};
pub use upload::{Expected, Received, upload};

//! The storage engine of the S3 endpoint. It accepts any key and any content.
//!
//! An ordered index, `buckets.db`, maps bucket and key to the object's attributes and the location of its bytes: the
//! index itself for small objects, otherwise files below `objects/buckets` whose names reveal nothing about the
//! key. The index is authoritative: a file is on the disk before the index refers to it, and is removed after
//! the index has dropped it. At start the two are compared. Files to which the index does not refer were left by a
//! crash and are removed, unless the index itself may be outdated. Missing files are reported.

mod bucket_store;
mod checksum;
mod contents;
mod error;
mod files;
mod incoming;
mod index;
mod object;
mod pins;
mod store;
mod strays;
#[cfg(test)]
mod tests;

pub use bucket_store::BucketStore;
pub use checksum::{Algorithm, Checksum, Digests};
pub use contents::{Chunks, Contents};
pub use error::Error;
pub use incoming::{Incoming, Received};
pub use index::copied::files as files_of_copy;
pub use index::{Asked, Completion, Entry, Page, Part, Query, Upload, UploadsPage, UploadsQuery};
pub use index::{MIGRATIONS, SCHEMA};
pub use object::{Bucket, Condition, Head, Object};
pub use store::{Buckets, UploadName, is_in_xml, migrate};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;
/// The smallest part, except for the last of an upload.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// The largest body of a request.
pub const PUT_BYTES_MAX: u64 = 5 << 30;
/// The highest number of a part.
pub const PARTS_MAX: u32 = 10_000;

//! Bytes by key. An object is immutable: it is created once under a key derived from its content's origin, and
//! removed as a whole.
//!
//! A [`backend`] stores them: as local files, or in a bucket that the `object_store` crate supports. Files have two
//! shortcuts: a complete file becomes an object by being renamed, and an object is read by being mapped. A bucket is
//! read through the [`cache`].
//!
//! Objects that clients put under keys of their own are in the module `buckets`.

mod backend;
mod blob;
mod cache;
mod checked;
mod copied;
pub(crate) mod redact;
mod error;
pub mod keys;
mod location;
mod mapping;
mod object_file;
mod owner;
pub mod partial;
mod removed;
mod spool;
mod staged;
mod store;
#[cfg(test)]
mod tests;

pub use backend::{Chunks, Found};
pub use blob::Blob;
pub use cache::{Cache, Limits as CacheLimits};
pub use copied::{Copied, copy_all};
pub use error::Error;
pub use keys::{Key, Prefix};
pub use location::{Kind, Location, S3Access, connect, files};
pub use object_file::ObjectFile;
pub use owner::{Claimant, NotOurs, Owner};
pub use partial::PartialUploads;
pub use removed::Removed;
pub use spool::{Limits as SpoolLimits, NoRoom, Share, Spool, Usage};
pub use staged::Staged;
pub use store::Objects;

//! Stores objects: immutable bytes under a key. An object is created once, under a key that says what it is (project,
//! run, part), and is removed as a whole.
//!
//! A [`backend`] stores the objects: as local files, or in a bucket that the `object_store` crate supports. With local
//! files, a complete file becomes an object by a rename, and objects are read by mapping their files. A bucket is read
//! through the [`cache`].
//!
//! The module `buckets` has the objects that clients store under keys of their choice.

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
mod temporary;
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

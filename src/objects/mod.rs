//! Bytes by key. An object is immutable: created once under a key made from what it is, read by anyone,
//! and removed as a whole.
//!
//! The store is any that the `object_store` crate speaks to. Files on this machine are its first form, and
//! get two shortcuts: a finished file becomes an object by being renamed, and an object is read by being mapped.
//!
//! A store beyond this machine is read through the copies in [`cache`].
//!
//! Objects that clients put under keys of their own are in the module `buckets`.

mod blob;
mod cache;
mod checked;
pub(crate) mod redact;
mod error;
pub mod keys;
mod local;
mod location;
mod mapping;
mod metered;
mod object_file;
mod owner;
mod remote;
mod removed;
mod spool;
mod staged;
mod store;
#[cfg(test)]
mod tests;

pub use blob::Blob;
pub use cache::{Cache, Limits as CacheLimits};
pub use error::Error;
pub use keys::{Key, Prefix};
pub use location::{Kind, Location, S3Access, connect, files};
pub use object_file::ObjectFile;
pub use owner::{Claimant, NotOurs, Owner};
pub use removed::Removed;
pub use spool::{Limits as SpoolLimits, NoRoom, Share, Spool};
pub use staged::Staged;
pub use store::{Chunks, Found, Objects};

//! A cache of remote objects on the local disk. An object that is read again is not downloaded again.
//!
//! A copy is used only while the store reports the same ETag, and only if its bytes have the checksum that was computed
//! at the download. The size of the cache is limited. A copy is deleted with its object, so that no data of a deleted
//! project stays in the cache.
//!
//! Objects that this process writes are not cached: most of them are read once, by any worker, and are deleted when the
//! run ends.

mod file;
mod index;
mod read_through;
mod cached;
#[cfg(test)]
mod tests;

pub(super) use cached::Cached;
pub(super) use index::CachedFile;
pub use index::Limits;
pub use read_through::Cache;

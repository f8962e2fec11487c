//! Copies of objects that lie beyond this machine, kept so that what is read again need not come again.
//!
//! A copy is used only as long as the store says that the object is there with the same ETag, and only if its
//! bytes still have the checksum that they had when they came. The copies together have a bound, and go when their
//! object does: nothing that a project has had stays behind in them.
//!
//! What this process writes is not kept on its way out. Most of it is read once, by whichever worker is free, and
//! goes when the run ends; what is read again comes once.

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

//! The storage engine: a commit log in front of sled, and the stored formats.

pub(super) mod layout;
pub(super) mod pack;
pub(super) mod placement;
pub(super) mod segment_cache;
pub(super) mod batch;
pub(super) mod memtable;
pub(super) mod chunks;
pub(super) mod residue;
pub(super) mod tree;
pub(super) mod journal;
pub(super) mod create;
pub(super) mod succession;
pub(super) mod store;

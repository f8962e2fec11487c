//! The settings of the embedded queue.

use std::time::Duration;

use crate::queue::Backoff;

/// The action on a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDamage {
    /// The store is quarantined, and a new one is created without jobs; the owner of the queue enqueues them again.
    Rebuild,
    /// The queue fails with [`Error::Damaged`](crate::queue::Error::Damaged).
    Refuse,
}

/// The settings of the embedded queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The backoff of failed jobs.
    pub backoff: Backoff,
    /// The length of a lease from before a restart when a heartbeat renews it.
    pub lease_taken_up: Duration,
    /// The size of the cache of names and payloads of jobs that will be claimed soon.
    pub cache_bytes: usize,
    /// The size of each of the two files of the commit log.
    pub journal_bytes: u64,
    /// The size of the segments of a new store's file, a power of two. When sled is opened, it reads the last segment
    /// and rewrites the rest of it, so large segments slow down the start.
    pub segment_bytes: usize,
    /// The group-commit delay: the time that a few callers wait for others to share their fsync, if several shared the one
    /// before.
    pub group_commit_delay: Duration,
    /// The action on a damaged store.
    pub on_damage: OnDamage,
    /// Set if a store has existed before, so that its absence counts as damage.
    pub expected: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            lease_taken_up: Duration::from_mins(1),
            cache_bytes: 16 << 20,
            journal_bytes: 8 << 20,
            segment_bytes: 1 << 20,
            group_commit_delay: Duration::from_millis(2),
            on_damage: OnDamage::Refuse,
            expected: false,
        }
    }
}

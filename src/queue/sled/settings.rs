//! The settings of the embedded queue.

use std::time::Duration;

use crate::queue::Backoff;

/// What is done about a store that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDamage {
    /// It is set aside, and a new one is begun that holds no job: whoever filled the old one fills it again.
    Rebuild,
    /// Nothing is done: [`Error::Damaged`].
    Refuse,
}

/// How the embedded queue behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long failed jobs wait.
    pub backoff: Backoff,
    /// How long a lease from before a restart lasts when a heartbeat takes it up again.
    pub lease_taken_up: Duration,
    /// Names and payloads kept in memory for jobs that are about to be claimed.
    pub cache_bytes: usize,
    /// How large each of the two files of the commit log is.
    pub journal_bytes: u64,
    /// How large the segments of a new store's file are, a power of two. sled reads the last one when it is opened and
    /// writes the rest of it anew, so that a large one makes for a slow start.
    pub segment_bytes: usize,
    /// Callers that have few others beside them wait so long for more: at a low rate an acknowledgement then shares the
    /// sync of the next new job.
    pub group_commit_delay: Duration,
    /// What is done about a store that is damaged.
    pub on_damage: OnDamage,
    /// Whether there has been a store before: that there is none is damage then.
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

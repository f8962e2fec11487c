//! Events of the link.

/// A reason to check the link.
#[derive(Debug)]
pub(super) enum Event {
    /// A session has become unusable.
    Lost { session: u64, reason: String },
    /// The Sentinels may know another master.
    Recheck,
}

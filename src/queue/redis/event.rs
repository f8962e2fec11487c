//! Events of the link.

/// A reason to look at the link.
#[derive(Debug)]
pub(super) enum Event {
    /// A session is of no use any more.
    Lost { session: u64, reason: String },
    /// The Sentinels may know another master.
    Recheck,
}

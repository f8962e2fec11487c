//! Events that make the link check its connection.

/// A reason to check the connection to the master.
#[derive(Debug)]
pub(super) enum Event {
    /// A session has become unusable.
    Lost { session: u64, reason: String },
    /// The Sentinels may know another master.
    Recheck,
}

//! The limit on the size of a file.

use std::io;

use rustix::process::{Resource, Signal, getrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Returns the largest size of a file, if there is a limit.
pub fn max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Makes a write beyond the limit fail with an error. Without this, its signal ends the process.
///
/// # Errors
/// The system's.
///
/// # Panics
/// Outside a tokio runtime.
pub fn survive_limit() -> io::Result<()> {
    // The handler stays installed after the receiver is dropped.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

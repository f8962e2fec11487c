//! The signal mask of this process.

use nix::sys::signal::{SigSet, Signal};

/// Unblocks every signal except SIGXFSZ, which it blocks. A process inherits its parent's mask, and a server with
/// SIGTERM blocked could not be stopped. SIGXFSZ would end the process at a write beyond the limit on file sizes; with
/// the signal blocked, such a write fails with an error. Must be called before threads start, because they inherit the
/// mask, and before the first write, such as to the log.
pub fn set_mask() {
    // This fails only for wrong arguments.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_set_mask();
}

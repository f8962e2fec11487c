//! The signal mask of this process.

use nix::sys::signal::{SigSet, Signal};

/// Unblocks every signal but SIGXFSZ. A process inherits its parent's mask, and a server with SIGTERM blocked cannot be
/// stopped. SIGXFSZ would end the process at a write beyond the limit on file sizes, of which the log may be the first;
/// while it is blocked, that write fails with an error.
/// To be called before threads start, and before anything is written: threads inherit the mask.
pub fn set_mask() {
    // This fails only for wrong arguments.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_set_mask();
}

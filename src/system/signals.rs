//! The signal mask of this process.

use nix::sys::signal::SigSet;

/// Unblocks every signal. A process inherits its parent's mask, and a server with SIGTERM blocked cannot be stopped.
/// To be called before threads start: they inherit it too.
pub fn unblock() {
    // This fails only for wrong arguments.
    let _ = SigSet::empty().thread_set_mask();
}

//! The signals that this process may get.

use nix::sys::signal::SigSet;

/// Lets every signal through. A process inherits from its parent which are blocked, and a server that SIGTERM does not reach
/// cannot be stopped. To be called before there are threads: they inherit it, too.
pub fn unblock() {
    // There is no other way for this to fail than a mistake in the arguments.
    let _ = SigSet::empty().thread_set_mask();
}

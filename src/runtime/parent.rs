//! Ends this process together with the process that started it, if that one demands it.

use std::env;
use std::io;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The environment variable with the process id of the parent.
pub const VARIABLE: &str = "ENTITYD_PARENT";

/// Asks the kernel to kill this process when its parent ends, if the environment names the parent. The parent, the
/// self-test, may be killed before it can end its server.
///
/// # Errors
/// The parent has ended already, or is another process.
pub fn follow() -> io::Result<()> {
    let Some(named) = env::var_os(VARIABLE) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before that call.
    let parent = getppid().map_or(0, Pid::as_raw_pid);
    if named.to_str().and_then(|text| text.parse().ok()) == Some(parent) {
        return Ok(());
    }
    Err(io::Error::other(format!("the process that {VARIABLE} names is not the parent of this one")))
}

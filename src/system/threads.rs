//! Limits on threads.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// The default bytes of a thread's stack.
pub const STACK_BYTES: u64 = 2 << 20;

/// Returns the number of cores that the process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts `count` threads at once and lets them end. Libraries that start threads later may panic or block forever
/// where the system cannot start one; here it is only an error.
///
/// # Errors
/// The system's, if it cannot start one of them.
pub fn rehearse(count: usize) -> io::Result<()> {
    // The lock of the standard library: a thread that waits for it allocates nothing, which could fail here.
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = || drop(gate.lock());
        let started = (0..count).try_for_each(|_| Builder::new().spawn_scoped(scope, wait).map(|_thread| ()));
        drop(closed);
        started
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_asked_for_and_given_back() {
        rehearse(4 * cores()).unwrap();
        rehearse(0).unwrap();
    }
}

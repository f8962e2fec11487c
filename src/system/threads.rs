//! The stack and the number of threads.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use rustix::process::{Resource, getrlimit};

/// The default size of a thread's stack, in bytes.
pub const STACK_BYTES: u64 = 2 << 20;

/// The size of the main thread's stack, in bytes: the default of Linux.
const MAIN_STACK_BYTES: u64 = 8 << 20;

/// Runs the program on this thread, or on another thread if the stack limit of this thread is too small.
///
/// # Errors
/// The operating system's error, if it cannot start a thread.
pub fn with_enough_stack<T: Send>(program: impl FnOnce() -> T + Send) -> io::Result<T> {
    let limit = getrlimit(Resource::Stack).current;
    if limit.is_none_or(|bytes| bytes >= MAIN_STACK_BYTES) {
        return Ok(program());
    }
    thread::scope(|scope| {
        let builder = Builder::new().name("main".to_owned()).stack_size(MAIN_STACK_BYTES as usize);
        let ended = builder.spawn_scoped(scope, program)?.join();
        // A panic continues on this thread.
        Ok(ended.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Returns the number of cores that the process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Tests that the system can run `count` threads at once. Without this test, a library that cannot start a thread later
/// may panic or block forever.
///
/// # Errors
/// The operating system's error, if it cannot start one of them.
pub fn rehearse(count: usize) -> io::Result<()> {
    // This lock is that of the standard library: waiting for it allocates no memory, which could fail here.
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

//! Creates the runtime and selects the kernel for several commands.

use linkage::similarity::{Kernel, KernelName};

use super::exit::Failure;
use crate::system::threads;

/// The number of threads that a command may need besides those for the network and for computing.
const THREADS: usize = 8;

/// Returns an asynchronous runtime for network and disk.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let refused = |error| Failure::Failed(format!("cannot start threads: {error}"));
    threads::rehearse(2 * threads::cores() + THREADS).map_err(refused)?;
    tokio::runtime::Runtime::new().map_err(refused)
}

/// The number of threads that [`small_runtime`] and a progress bar start.
const THREADS_OF_SMALL: usize = 2;

/// Returns an asynchronous runtime that waits for signals, for commands that work on one thread.
pub(super) fn small_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let refused = |error| Failure::Failed(format!("cannot start threads: {error}"));
    threads::rehearse(THREADS_OF_SMALL).map_err(refused)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(refused)
}

/// Returns the kernel of this name, for commands that compare without a server.
pub(super) fn kernel(name: &str) -> Result<Kernel, String> {
    let name = name.parse::<KernelName>().map_err(|error| error.to_string())?;
    Kernel::named(name).map_err(|error| error.to_string())
}

//! The pool of computing threads. Heavy computation runs here, so that it does not delay requests.

use std::sync::Arc;

use tokio::sync::oneshot;

/// A pool of threads for computation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool(Arc<rayon::ThreadPool>);

impl Pool {
    /// Starts `threads` threads (0: one for each core).
    ///
    /// # Errors
    /// The operating system's error, if it cannot start a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("compute-{index}"))
            .build()
            .map(|pool| Self(Arc::new(pool)))
            .map_err(std::io::Error::other)
    }

    /// Returns the number of computing threads.
    pub fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on the pool and waits without blocking the caller's thread. rayon's parallel iterators in `work` use
    /// the same pool. Dropping the future does not stop `work`.
    ///
    /// # Errors
    /// The text of the panic, if `work` panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let (send, receive) = oneshot::channel();
        self.0.spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // The caller may no longer wait.
            let _ = send.send(outcome.map_err(|panic| panic_text(panic.as_ref())));
        });
        receive.await.unwrap_or_else(|_| Err("the compute pool has stopped".to_owned()))
    }

    /// Runs `work` on the pool and blocks until it returns.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

/// Runs long sequential `work` on a separate thread and waits without blocking the caller's thread. The pool is not
/// used, because rayon could execute `work` on the stack of a waiting comparison and delay that. Dropping the future
/// does not stop `work`.
///
/// # Errors
/// The text of the panic, if `work` panicked.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|gone| match gone.try_into_panic() {
        Ok(panic) => panic_text(panic.as_ref()),
        Err(stopped) => stopped.to_string(),
    })
}

/// Returns the message of a panic, if it is text.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

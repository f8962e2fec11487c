//! Ends commands on Ctrl-C and SIGTERM.
//!
//! Work that waits is dropped where it waits ([`unless_stopped`]), and its destructors clean up. Work that computes cannot
//! be dropped: the process ends, after the files that the command has registered are removed ([`Unfinished`]).

use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{self, Failure};
use super::progress;

/// The files and directories to remove on Ctrl-C or SIGTERM. A command may watch more than once, and each watch
/// receives the signal. The first one removes what all of them have added.
static PATHS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Attempts to remove a directory to which the interrupted work still adds files.
const ATTEMPTS: u32 = 20;

/// Registers what is to be removed on Ctrl-C or SIGTERM.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unfinished(());

#[expect(clippy::unused_self, reason = "only a command that has decided about Ctrl-C adds files")]
impl Unfinished {
    /// Starts to handle Ctrl-C and SIGTERM, which remove the files and end the process. The handlers are installed when
    /// it returns.
    pub(super) fn watch(runtime: &Runtime) -> Self {
        let stopped = {
            let _context = runtime.enter();
            stopped()
        };
        runtime.spawn(async {
            stopped.await;
            // The lock is held until the process ends: no other watch removes or reports anything.
            let paths = PATHS.lock();
            paths.iter().for_each(|path| remove(path));
            progress::remove();
            exit::complain("interrupted");
            std::process::exit(i32::from(exit::INTERRUPTED));
        });
        Self::default()
    }

    /// Creates a file or a directory, and adds its path. An interruption happens before or after both.
    pub(super) fn create<T, E>(
        self,
        make: impl FnOnce() -> Result<T, E>,
        path: impl FnOnce(&T) -> &Path,
    ) -> Result<T, E> {
        let mut paths = PATHS.lock();
        let made = make()?;
        paths.push(path(&made).to_owned());
        Ok(made)
    }

    /// Adds a file or a directory that does not exist yet, or that is complete.
    pub(super) fn add(self, path: &Path) {
        PATHS.lock().push(path.to_owned());
    }
}

/// Removes a file or a directory, which may no longer exist.
fn remove(path: &Path) {
    if !path.is_dir() {
        let _ = fs::remove_file(path);
        return;
    }
    for _ in 0..ATTEMPTS {
        if fs::remove_dir_all(path).is_ok() || !path.exists() {
            return;
        }
    }
}

/// Does `work`, or drops it on Ctrl-C or SIGTERM. The handlers are installed before it begins.
pub(super) async fn unless_stopped<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = stopped() => Err(Failure::Interrupted),
        done = work => done,
    }
}

/// Installs handlers for Ctrl-C and SIGTERM, and returns what waits for either. If no handler can be installed, the
/// signals end the process by themselves.
fn stopped() -> impl Future<Output = ()> {
    let hear = |kind| signal(kind).ok();
    let signals = hear(SignalKind::interrupt()).zip(hear(SignalKind::terminate()));
    async {
        let Some((mut interrupt, mut terminate)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_handled_as_soon_as_it_is_watched_for() {
        let runtime = Runtime::new().unwrap();
        Unfinished::watch(&runtime);
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            assert_ne!(caught & (1 << (kind.as_raw_value() - 1)), 0, "{kind:?}");
        }
    }
}

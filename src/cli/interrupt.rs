//! Removes unfinished files on Ctrl-C.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{self, Failure};

/// The files and directories to remove on Ctrl-C or SIGTERM.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfinished(Arc<Mutex<Vec<PathBuf>>>);

impl Unfinished {
    /// Starts to handle Ctrl-C and SIGTERM, which remove the files and end the process.
    pub(super) fn watch(runtime: &Runtime) -> Self {
        let unfinished = Self::default();
        let clearing = unfinished.clone();
        runtime.spawn(async move {
            stopped().await;
            clearing.clear();
            exit::complain("interrupted");
            std::process::exit(i32::from(exit::INTERRUPTED));
        });
        unfinished
    }

    /// Adds a file or a directory.
    pub(super) fn add(&self, path: &Path) {
        self.0.lock().push(path.to_owned());
    }

    fn clear(&self) {
        for path in self.0.lock().iter() {
            // The path may no longer exist.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
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

/// Waits for Ctrl-C or SIGTERM. If no handler can be installed, they end the process by themselves.
pub(super) async fn stopped() {
    let hear = |kind| signal(kind).ok();
    let (Some(mut interrupt), Some(mut terminate)) =
        (hear(SignalKind::interrupt()), hear(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

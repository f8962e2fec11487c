//! The snapshot that a backup reads. There is at most one at a time.

use std::fs::File;
use std::io;
use std::sync::Arc;

use axum::http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::http::problem::Problem;
use crate::runtime::entropy::Entropy;

/// Takes snapshots of the data directory.
pub trait Snapshots: Send + Sync {
    /// Takes a snapshot. Blocks.
    ///
    /// # Errors
    /// A sentence with the reason.
    fn take(&self, with_keys: bool) -> Result<Box<dyn Snapshot>, String>;
}

/// A snapshot. It is removed when this value is dropped.
pub trait Snapshot: Send + Sync {
    /// Returns the description of the snapshot.
    fn about(&self) -> Value;

    /// Opens the list of the snapshot's files.
    ///
    /// # Errors
    /// The operating system's error.
    fn listing(&self) -> io::Result<File>;

    /// Opens the file with this path in the data directory.
    ///
    /// # Errors
    /// The operating system's error.
    fn open(&self, path: &str) -> io::Result<File>;
}

/// The current snapshot, if there is one. Cheap to clone.
#[derive(Clone)]
pub struct Current {
    snapshots: Arc<dyn Snapshots>,
    stage: Arc<Mutex<Stage>>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// A snapshot is being taken.
    Busy,
    Held(String, Arc<dyn Snapshot>),
}

/// A guard that removes the snapshot when it is dropped.
pub(super) struct Guard {
    current: Current,
    pub(super) id: String,
}

impl Current {
    /// Returns the state of a server that has no snapshot.
    pub fn new(snapshots: Arc<dyn Snapshots>) -> Self {
        Self { snapshots, stage: Arc::default() }
    }

    /// Returns the snapshot with this id.
    pub(super) fn get(&self, id: &str) -> Result<Arc<dyn Snapshot>, Problem> {
        match &*self.stage.lock() {
            Stage::Held(held, snapshot) if held == id => Ok(Arc::clone(snapshot)),
            _ => Err(absent()),
        }
    }

    pub(super) async fn take(&self, with_keys: bool) -> Result<Guard, Problem> {
        {
            let mut stage = self.stage.lock();
            if !matches!(*stage, Stage::Idle) {
                let busy = "another backup is under way; try again when it has ended";
                return Err(Problem::new(StatusCode::CONFLICT, busy));
            }
            *stage = Stage::Busy;
        }
        // If the client disconnects while the snapshot is taken, the guard is dropped when the snapshot is complete.
        let current = self.clone();
        let taking = spawn_blocking(move || match current.snapshots.take(with_keys) {
            Ok(snapshot) => {
                let id = hex::encode(Entropy::system().bytes::<8>());
                *current.stage.lock() = Stage::Held(id.clone(), snapshot.into());
                Ok(Guard { current, id })
            }
            Err(why) => {
                *current.stage.lock() = Stage::Idle;
                Err(why)
            }
        });
        let taken = taking.await.map_err(|error| {
            *self.stage.lock() = Stage::Idle;
            Problem::internal(&error)
        })?;
        taken.map_err(|why| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why))
    }
}

impl Current {
    /// Removes the snapshot with this id.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Problem> {
        let remove = self.removal(id).ok_or_else(absent)?;
        spawn_blocking(remove).await.map_err(|error| Problem::internal(&error))
    }

    /// Returns a function that removes the snapshot with this id. Until that function has run, no other snapshot can
    /// be taken, since it would use the same files.
    fn removal(&self, id: &str) -> Option<impl FnOnce() + Send + 'static> {
        let held = {
            let mut stage = self.stage.lock();
            match &*stage {
                Stage::Held(held, _) if held == id => std::mem::replace(&mut *stage, Stage::Busy),
                _ => return None,
            }
        };
        let stage = Arc::clone(&self.stage);
        Some(move || {
            drop(held);
            *stage.lock() = Stage::Idle;
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(remove) = self.current.removal(&self.id) else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Answers 404.
pub(super) fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such snapshot or file")
}

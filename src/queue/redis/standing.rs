//! The generation of the queue in Redis and the number of changes that were observed, in memory and in a file.
//!
//! The file `queue-redis` in the data directory:
//!
//! ```text
//! generation 8c1f0d6f3c0a4b1e9d5c7a2b6e4f8091
//! changes 48213
//! ```

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::system::{data_dir, regular};

/// The name of the file.
const FILE: &str = "queue-redis";

/// The observed state of a generation of the queue.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) generation: String,
    changes: AtomicU64,
}

impl Standing {
    pub(super) fn new(generation: String, changes: u64) -> Self {
        Self { generation, changes: AtomicU64::new(changes) }
    }

    /// Returns a lower bound of the number of changes of this generation.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Updates the state after an answer that reports `changes`.
    pub(super) fn see(&self, changes: u64) {
        self.changes.fetch_max(changes, Ordering::AcqRel);
    }

    /// Reads the state that the previous process stored; `None` if there is no such file, or its content is invalid.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Self>> {
        let text = match regular::read(&directory.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => String::from_utf8_lossy(&text?).into_owned(),
        };
        let mut lines = text.lines();
        let mut of = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let read = of("generation").zip(of("changes").and_then(|changes| changes.parse().ok()));
        Ok(read.map(|(generation, changes)| Self::new(generation, changes)))
    }

    /// Stores the state; returns the number of changes in it.
    pub(super) fn write(&self, directory: &Path) -> io::Result<u64> {
        let changes = self.changes();
        let text = format!("generation {}\nchanges {changes}\n", self.generation);
        data_dir::write_durably(directory, FILE, &text).map(|()| changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_state_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Standing::read(folder.path()).unwrap().is_none());
        let standing = Standing::new("abc".to_owned(), 7);
        standing.see(9);
        standing.see(8);
        standing.write(folder.path()).unwrap();
        let read = Standing::read(folder.path()).unwrap().unwrap();
        assert_eq!((read.generation.as_str(), read.changes()), ("abc", 9));
        std::fs::write(folder.path().join(FILE), "generation").unwrap();
        assert!(Standing::read(folder.path()).unwrap().is_none());
    }
}

//! A lock that delays the removal of stored files while a snapshot of them is taken.
//!
//! A file is created before a database refers to it, and removed after the database no longer does. So, while no file
//! is removed, every file that a copy of the database refers to exists. Only removals wait, and only while the
//! databases are copied and the files are linked.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());

/// Waits until stored files may be removed, and permits removals as long as the guard lives. Blocks.
pub fn allowed() -> RwLockReadGuard<'static, ()> {
    GATE.read()
}

/// Waits for removals in progress, and delays others as long as the guard lives. Blocks.
pub fn hold() -> RwLockWriteGuard<'static, ()> {
    GATE.write()
}

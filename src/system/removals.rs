//! A gate that holds back the removal of stored files while a snapshot of them is taken.
//!
//! Files are created before a database names them and removed after it has forgotten them. While nothing is removed,
//! every file that a copy of the database names therefore exists. Only removals wait, and only while the databases
//! are copied and the files linked.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());

/// Waits until stored files may be removed, which lasts as long as the guard lives. Blocks.
pub fn allowed() -> RwLockReadGuard<'static, ()> {
    GATE.read()
}

/// Waits for removals under way, and holds back others for as long as the guard lives. Blocks.
pub fn hold() -> RwLockWriteGuard<'static, ()> {
    GATE.write()
}

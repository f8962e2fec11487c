//! A gate that holds back the removal of stored files while a snapshot of them is taken.
//!
//! Files are created before a database names them and removed after it has forgotten them. While nothing is removed, every
//! file that a copy of the database names is therefore there. Nothing else waits, and the gate is held only as long as
//! copying the databases and linking the files takes.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());

/// Waits until stored files may be removed; they may for as long as the guard lives. Blocks.
pub fn allowed() -> RwLockReadGuard<'static, ()> {
    GATE.read()
}

/// Waits for removals under way, and holds back others for as long as the guard lives. Blocks.
pub fn hold() -> RwLockWriteGuard<'static, ()> {
    GATE.write()
}

//! Recognises a fresh volume, which may contain files of the file system or the platform.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

/// Files that an interrupted first start may leave.
const OURS: [&str; 2] = ["lock", "format.new"];

/// Names of entries that file systems, desktops, storage appliances and Kubernetes create in a fresh volume.
const SYSTEMS: [&str; 26] = [
    "lost+found",
    "aquota.user",
    "aquota.group",
    ".snapshot",
    ".snapshots",
    ".zfs",
    ".DS_Store",
    ".Spotlight-V100",
    ".TemporaryItems",
    ".Trashes",
    ".fseventsd",
    ".VolumeIcon.icns",
    ".apdisk",
    ".Trash",
    ".directory",
    "System Volume Information",
    "$RECYCLE.BIN",
    "Thumbs.db",
    "desktop.ini",
    "#recycle",
    "#snapshot",
    "@Recycle",
    "@eaDir",
    "@tmp",
    ".keep",
    ".gitkeep",
];

/// Prefixes of names that systems use: `.Trash-1000`, `.nfs0001`, `..data` and `..2026_11_28` of Kubernetes, `._name`
/// of macOS.
const STARTS: [&str; 4] = [".Trash-", ".nfs", "..", "._"];

/// Parts of a data directory that may be mounts already before its first use.
const PARTS: [&str; 4] = ["objects", "spool", "queue", "cache"];

/// Returns the name of an entry in a directory that neither this program nor a system created; `None` if there is none.
///
/// # Errors
/// The operating system's error.
pub fn stranger(folder: &Path) -> io::Result<Option<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    let known = |name: &OsString| {
        OURS.iter().any(|ours| name == ours) || is_of_system(name) || is_empty_part(folder, name)
    };
    Ok(names.into_iter().filter(|name| !known(name)).min())
}

/// Returns true if systems create entries with this name.
pub(super) fn is_of_system(name: &OsStr) -> bool {
    let lossy = name.to_string_lossy();
    SYSTEMS.iter().any(|known| lossy == *known) || STARTS.iter().any(|start| lossy.starts_with(start))
}

/// Returns true if the entry is an empty part of a data directory.
fn is_empty_part(folder: &Path, name: &OsStr) -> bool {
    PARTS.iter().any(|part| name == *part)
        && stranger(&folder.join(name)).is_ok_and(|stranger| stranger.is_none())
}

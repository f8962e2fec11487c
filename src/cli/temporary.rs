//! The directory for temporary files.

use std::env;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::exit;

/// Chooses another directory for temporary files if the system's directory (`TMPDIR`, or /tmp) is missing or not
/// writable: /var/tmp if it is writable, or else the current directory. Prints the choice.
pub(super) fn choose() {
    let asked = env::temp_dir();
    if is_usable(&asked) {
        return;
    }
    let others = [Some(PathBuf::from("/var/tmp")), env::current_dir().ok()];
    let Some(other) = others.into_iter().flatten().find(|folder| is_usable(folder)) else { return };
    exit::complain(&format!(
        "temporary files go to {}, since {} is missing or not writable; set TMPDIR to use another directory",
        other.display(),
        asked.display()
    ));
    // This fails only if a directory was chosen before, and the process calls this function once.
    let _ = tempfile::env::override_temp_dir(&other);
}

fn is_usable(folder: &Path) -> bool {
    folder.is_dir() && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

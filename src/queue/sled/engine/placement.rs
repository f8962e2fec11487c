//! Chooses the directory of the store, so that a rename can replace it.

use std::fs;
use std::path::{Path, PathBuf};

use super::succession;
use crate::system::file_system::is_mount_point;

/// The name of the store's directory in a queue directory that is a mount point: mount points cannot be renamed.
const INSIDE: &str = "store";
/// A file that every store has.
const MARK: &str = "conf";

/// Returns the directory of the store: the queue directory, the target of its symbolic link, or, if that is a mount
/// point, a directory in it. A store that an earlier version created directly at a mount point stays there.
pub(in crate::queue::sled) fn directory(queue: &Path) -> PathBuf {
    let queue = followed(queue);
    let inside = queue.join(INSIDE);
    let is_inside = is_store(&inside) || (is_mount_point(&queue) && !queue.join(MARK).exists());
    if is_inside { inside } else { queue }
}

/// Follows a symbolic link to a store, or to the path of a store whose replacement a crash interrupted.
fn followed(queue: &Path) -> PathBuf {
    let Ok(target) = fs::read_link(queue) else { return queue.to_owned() };
    let target = queue.parent().map_or_else(|| target.clone(), |parent| parent.join(&target));
    if is_store(&target) { target } else { queue.to_owned() }
}

fn is_store(directory: &Path) -> bool {
    directory.is_dir() || succession::predecessor(directory).is_dir()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_as_far_as_they_lead_to_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, elsewhere) = (folder.path().join("queue"), folder.path().join("elsewhere"));
        assert_eq!(directory(&queue), queue);
        symlink("elsewhere", &queue).unwrap();
        assert_eq!(directory(&queue), queue, "a link that leads nowhere is damage");
        fs::create_dir(&elsewhere).unwrap();
        assert_eq!(directory(&queue), elsewhere);
        fs::rename(&elsewhere, succession::predecessor(&elsewhere)).unwrap();
        assert_eq!(directory(&queue), elsewhere);
    }

    #[test]
    fn a_mount_point_keeps_the_store_inside() {
        assert_eq!(directory(Path::new("/proc")), Path::new("/proc/store"));
    }
}

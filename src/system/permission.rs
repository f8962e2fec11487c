//! Adds the owner of the file and the user of this process to errors of denied access.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::access;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

pub use rustix::fs::Access;

/// The owner of a file or folder, and the user of this process.
struct Denied {
    path: PathBuf,
    owner: (u32, u32),
    mode: u32,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, owner: (user, group), mode } = self;
        let (own_user, own_group) = (geteuid().as_raw(), getegid().as_raw());
        write!(
            f,
            "{} belongs to user {user} and group {group} (mode {:04o}), and this process runs as user {own_user} and group \
             {own_group}; give it to that user with chown, or run as the one that has it",
            path.display(),
            mode & 0o7777
        )
    }
}

/// Returns the error; if the system denies access to `path`, with an explanation. If the path is not accessible, the
/// explanation is about its parent directory.
pub fn explained(path: &Path, cause: io::Error) -> io::Error {
    let denied = cause.kind() == ErrorKind::PermissionDenied;
    let seen = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    match seen.filter(|_| denied) {
        Some((path, found)) => {
            let owner = (found.uid(), found.gid());
            let denied = Denied { path: path.to_owned(), owner, mode: found.mode() };
            io::Error::new(ErrorKind::PermissionDenied, format!("{cause}: {denied}"))
        }
        None => cause,
    }
}

/// Returns the text of the error, [`explained`].
pub fn explanation(path: &Path, error: &io::Error) -> String {
    let text = error.to_string();
    let is_explained = text.contains(" belongs to user ");
    if error.kind() == ErrorKind::PermissionDenied && !is_explained {
        explained(path, ErrorKind::PermissionDenied.into()).to_string()
    } else {
        text
    }
}

/// Checks that this process may use the file at `path`; an absent file is not an error.
///
/// # Errors
/// The operating system's error, [`explained`].
pub fn check(path: &Path, needed: Access) -> io::Result<()> {
    match access(path, needed) {
        Ok(()) | Err(Errno::NOENT | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(explained(path, errno.into())),
    }
}

/// Returns the owner of a file, if that is not the user of this process.
pub fn other_owner(path: &Path) -> Option<(u32, u32)> {
    let (owner, own) = (fs::metadata(path).ok()?.uid(), geteuid().as_raw());
    (owner != own).then_some((owner, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_file_is_explained_and_other_errors_stay() {
        let folder = tempfile::tempdir().unwrap();
        let denied = || io::Error::from(ErrorKind::PermissionDenied);
        let said = explained(&folder.path().join("missing/file"), denied()).to_string();
        assert_eq!(explanation(folder.path(), &io::Error::other(said.clone())), said);
        assert_eq!(explanation(&folder.path().join("missing/file"), &denied()), said);
        assert_eq!(explanation(folder.path(), &io::Error::other("full")), "full");
        let metadata = fs::metadata(folder.path()).unwrap();
        let owner = format!("{} belongs to user {} and", folder.path().display(), metadata.uid());
        let mode = format!("(mode {:04o})", metadata.mode() & 0o7777);
        assert!(said.contains(&owner) && said.contains(&mode), "{said}");
        assert!(said.contains(&format!("runs as user {}", geteuid().as_raw())), "{said}");
        assert_eq!(explained(folder.path(), ErrorKind::NotFound.into()).kind(), ErrorKind::NotFound);
        assert!(check(&folder.path().join("missing"), Access::WRITE_OK).is_ok());
    }
}

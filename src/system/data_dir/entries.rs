//! Checks the permissions of files in the data directory, so that a missing permission is reported at the start.

use std::fs;
use std::io;
use std::path::Path;

use super::error::{Error, unusable};
use super::parts;
use crate::system::permission::{self, Access};

/// Files that are only read. The operator may have made secrets read-only.
const READ: [&str; 6] =
    ["format", "identity", "admin-token", "join-tokens", "s3-credentials", "tls/self-signed.pem"];
/// Files that are written repeatedly.
const WRITTEN: [&str; 11] = [
    "lock",
    "reserve",
    "metadata.db",
    "metadata.db-wal",
    "metadata.db-shm",
    "metadata.mark",
    "buckets.db",
    "buckets.db-wal",
    "buckets.db-shm",
    "buckets.mark",
    "objects.lease",
];
/// Directories in which files are created and removed.
const FOLDERS: [&str; 8] =
    ["objects", "objects/projects", "objects/buckets", "objects/entityd", "spool", "uploads", "cache", "tls"];

/// Checks the directory and its known entries, but not the objects, since there may be millions.
///
/// # Errors
/// [`Error::Unusable`].
pub fn check(path: &Path) -> Result<(), Error> {
    check_folder(path)?;
    for name in FOLDERS {
        check_folder(&path.join(name))?;
    }
    parts::check(path)?;
    for name in READ {
        check_one(&path.join(name), Access::READ_OK)?;
    }
    for name in WRITTEN {
        check_one(&path.join(name), Access::READ_OK | Access::WRITE_OK)?;
    }
    check_queue(&path.join("queue"))
}

/// Checks that this process may create and remove files in the directory at `path`, if it exists.
///
/// # Errors
/// [`Error::Unusable`].
pub fn check_folder(path: &Path) -> Result<(), Error> {
    if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
        let cause = io::Error::new(
            io::ErrorKind::NotADirectory,
            "it must be a directory; move away what is in its place",
        );
        return Err(Error::Unusable { path: path.to_owned(), cause });
    }
    check_one(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
}

/// Checks the queue's directory and all files in it. Ignores anything but a directory.
fn check_queue(folder: &Path) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    check_folder(folder)?;
    for entry in fs::read_dir(folder).map_err(unusable(folder))? {
        check_one(&entry.map_err(unusable(folder))?.path(), Access::READ_OK | Access::WRITE_OK)?;
    }
    Ok(())
}

fn check_one(path: &Path, needed: Access) -> Result<(), Error> {
    permission::check(path, needed).map_err(|cause| Error::Unusable { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_place_of_a_folder_is_named() {
        for name in FOLDERS {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            check(home.path()).unwrap();
            fs::write(&path, b"").unwrap();
            let said = check(home.path()).unwrap_err().to_string();
            assert!(said.contains(&format!("{name}: it must be a directory")), "{said}");
        }
    }
}

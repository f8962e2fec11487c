//! The lock on the data directory. The lock file describes the process that holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::system::uname;

use super::error::Error;
use crate::runtime::clock::Clock;
use crate::system::permission::explained;
use crate::system::regular;

/// The maximum length of the description of a holder in an error.
const HOLDER_CHARS_MAX: usize = 200;

/// Takes the lock and describes this process in its file.
pub(super) fn take(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let unusable = |cause| Error::Unusable { path: path.clone(), cause: explained(&path, cause) };
    let mut file = regular::open_with(&path, private().read(true).truncate(false)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::InUse { path: folder.to_owned(), holder: holder(&mut file) });
        }
        Err(TryLockError::Error(cause)) => return Err(unusable(without_locks(cause))),
    }
    leave_word(&mut file).map_err(unusable)?;
    Ok(file)
}

/// Writes a description of this process into the lock file. Overwrites the old content before it truncates the file,
/// because a full disk has no room for more. The description contains the host, since process ids are not unique: every
/// container has a process 1.
fn leave_word(file: &mut File) -> io::Result<()> {
    let (process, started) = (std::process::id(), Clock::system().now().whole_seconds());
    let system = uname();
    let word = format!("{process} on host {}, started at {started}\n", system.nodename().to_string_lossy());
    file.rewind()?;
    file.write_all(word.as_bytes())?;
    file.set_len(word.len() as u64)
}

fn holder(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // An error does not matter: the lock works without a readable description.
    let _ = file.take(4 << 10).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let word: String =
        text.trim().chars().take_while(|char| !char.is_control()).take(HOLDER_CHARS_MAX).collect();
    if word.is_empty() { "of unknown id".to_owned() } else { word }
}

fn without_locks(cause: io::Error) -> io::Error {
    let errno = Errno::from_io_error(&cause);
    if errno.is_some_and(|errno| [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS].contains(&errno)) {
        let advice = "this file system has no locks, which keep two servers apart; put the data directory on a local disk";
        return io::Error::new(cause.kind(), format!("{cause}: {advice}"));
    }
    cause
}

/// Opens a file for writing that only this user may read; creates it if it is absent.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

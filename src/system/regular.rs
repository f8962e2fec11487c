//! Opens files that must be regular, and removes files. Opening a named pipe would wait for its other end, and reading
//! a device might never end, which would block a start or a request.

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The error for a path that is not a regular file.
#[derive(Debug)]
pub struct NoFile {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Other(&'static str),
    LinkTo(PathBuf),
    /// A cycle of links.
    Circle,
}

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            What::Other(kind) => {
                write!(f, "{path} is {kind} and not a regular file; put the file back in its place")
            }
            What::Circle => {
                write!(f, "{path} is a link that leads to itself; put the file back in its place")
            }
            What::LinkTo(target) => {
                write!(
                    f,
                    "{path} is a link to {}, which does not exist; is the volume mounted?",
                    target.display()
                )
            }
        }
    }
}

impl std::error::Error for NoFile {}

impl From<NoFile> for io::Error {
    fn from(no_file: NoFile) -> Self {
        Self::new(ErrorKind::InvalidInput, no_file)
    }
}

/// Opens the file at `path` for reading.
///
/// # Errors
/// The operating system's error; [`NoFile`] with the kind `InvalidInput`.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true))
}

/// Opens the file at `path` with these options, whose custom flags are replaced.
///
/// # Errors
/// Like [`open`].
pub fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // These flags have no effect on regular files, and keep the opening of others from blocking.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    // The error of opening another kind of file may be misleading, so `NoFile` replaces it.
    let file = opened.map_err(|error| check(path).err().filter(is_no_file).unwrap_or(error))?;
    judge(path, file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads the file at `path`.
///
/// # Errors
/// Like [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks that `path` is a regular file or a link to one, if it exists.
///
/// # Errors
/// Like [`open`]; a link whose target is missing is [`NoFile`], too.
pub fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) => judge(path, found.file_type()),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => Err(NoFile { path: path.to_owned(), what: What::LinkTo(target) }.into()),
            Err(_) => Ok(()),
        },
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            Err(NoFile { path: path.to_owned(), what: What::Circle }.into())
        }
        Err(error) => Err(error),
    }
}

/// Removes a file; returns false if there is none.
///
/// # Errors
/// The operating system's error.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns true if an error means that the path is not a regular file.
pub fn is_no_file(error: &io::Error) -> bool {
    error.get_ref().and_then(|cause| cause.downcast_ref::<NoFile>()).is_some()
}

fn judge(path: &Path, found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(NoFile { path: path.to_owned(), what: What::Other(kind(found)) }.into())
}

fn kind(found: FileType) -> &'static str {
    if found.is_dir() {
        "a directory"
    } else if found.is_fifo() {
        "a named pipe"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_path_that_is_no_regular_file_is_rejected_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/null", at("device")).unwrap();
        for (name, kind) in [
            ("folder", "a directory"),
            ("pipe", "a named pipe"),
            ("socket", "a socket"),
            ("device", "a device"),
        ] {
            let mut write = OpenOptions::new();
            write.write(true);
            for said in [open(&at(name)), open_with(&at(name), &mut write)] {
                let said = said.unwrap_err();
                assert!(is_no_file(&said), "{said}");
                assert!(
                    said.to_string().ends_with(&format!(
                        "{name} is {kind} and not a regular file; put the file back in its place"
                    )),
                    "{said}"
                );
            }
            assert!(check(&at(name)).is_err());
        }
    }

    #[test]
    fn files_and_links_to_files_are_opened_and_nothing_is_no_mistake_of_a_check() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "bytes").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("missing", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        for said in [check(&at("circle")).unwrap_err(), open(&at("circle")).unwrap_err()] {
            assert!(
                is_no_file(&said) && said.to_string().contains("circle is a link that leads to itself"),
                "{said}"
            );
        }
        assert_eq!(read(&at("link")).unwrap(), b"bytes");
        assert_eq!(open(&at("missing")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(check(&at("missing")).is_ok() && check(&at("link")).is_ok());
        let said = check(&at("dangling")).unwrap_err().to_string();
        assert!(said.contains("dangling is a link to missing, which does not exist"), "{said}");
        assert_eq!(open(&at("dangling")).unwrap_err().to_string(), said);
    }
}

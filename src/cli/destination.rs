//! The destination of a result: standard output, or a file that appears only when it is complete.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::interrupt::Unfinished;
use super::{Failure, output};

/// An output that is being written.
pub(super) enum Destination {
    /// Standard output, a device or a pipe: written as it comes.
    Stream(Box<dyn Write + Send>),
    /// A temporary file beside the destination.
    File { writing: NamedTempFile, path: PathBuf },
}

impl Destination {
    /// Opens `path`, or standard output.
    pub(super) fn open(path: Option<&Path>, unfinished: &Unfinished) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Stream(Box::new(output::stdout()?))) };
        // A rename would replace a device such as /dev/null instead of writing to it.
        let special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let opened = if special {
            File::options().write(true).open(path).map(|file| Self::Stream(Box::new(file)))
        } else {
            beside(path).map(|writing| {
                unfinished.add(writing.path());
                Self::File { writing, path: path.to_owned() }
            })
        };
        opened.map_err(|error| cannot_write(path, &error))
    }

    /// Completes the output: renames the file to its destination.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stream(mut stream) => stream.flush().map_err(|error| Failure::output(&error)),
            Self::File { writing, path } => {
                publish(writing, &path).map_err(|error| cannot_write(&path, &error))
            }
        }
    }
}

/// Makes a temporary file in the folder of `path`, as readable as any new file.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn publish(writing: NamedTempFile, path: &Path) -> io::Result<()> {
    writing.as_file().sync_all()?;
    writing.persist(path)?;
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.write(bytes),
            Self::File { writing, .. } => writing.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::File { writing, .. } => writing.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("groups.json");
        let mut unfinished = Destination::open(Some(&path), &Unfinished::default()).unwrap();
        unfinished.write_all(b"half").unwrap();
        drop(unfinished);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut finished = Destination::open(Some(&path), &Unfinished::default()).unwrap();
        finished.write_all(b"whole").unwrap();
        finished.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    }
}

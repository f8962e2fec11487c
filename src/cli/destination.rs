//! The destination of a result: standard output, or a file that appears only when it is complete.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::interrupt::Unfinished;
use super::{Failure, output};
use crate::system::permission;

/// The open destination of a result.
pub(super) enum Destination {
    /// Standard output, a device or a pipe, which is written to directly.
    Stream(Box<dyn Write + Send>),
    /// A temporary file in the directory of `path`, which it will replace. `path` is not a symbolic link.
    File { writing: NamedTempFile, path: PathBuf },
}

impl Destination {
    /// Opens `path`, or standard output if it is absent or `-`.
    pub(super) fn open(path: Option<&Path>, unfinished: Unfinished) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| !is_stdout(path)) else {
            return Ok(Self::Stream(Box::new(output::stdout()?)));
        };
        Self::open_with_mode(path, 0o666, unfinished)
    }

    /// Opens `path` for a secret, unless it is one of the input files `read`. Only this user can read a new file.
    pub(super) fn open_private(path: &Path, read: &[&Path], unfinished: Unfinished) -> Result<Self, Failure> {
        differs(path, read)?;
        Self::open_with_mode(path, 0o600, unfinished)
    }

    fn open_with_mode(path: &Path, mode: u32, unfinished: Unfinished) -> Result<Self, Failure> {
        // A rename would replace a device such as /dev/null instead of writing to it.
        let special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let opened = if special {
            File::options().write(true).open(path).map(|file| Self::Stream(Box::new(file)))
        } else {
            followed(path).and_then(|path| {
                let writing = unfinished.create(|| beside(&path, mode), NamedTempFile::path)?;
                Ok(Self::File { writing, path })
            })
        };
        opened.map_err(|error| cannot_write(path, &error))
    }

    /// Opens `path`, or standard output. Fails if `path` is one of the input files `read`, which would be replaced.
    pub(super) fn open_beside(
        path: Option<&Path>,
        read: &[&Path],
        unfinished: Unfinished,
    ) -> Result<Self, Failure> {
        if let Some(path) = path {
            differs(path, read)?;
        }
        Self::open(path, unfinished)
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

/// Returns whether `path` stands for standard output.
pub(super) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns whether `ending` is the extension of a file.
pub(super) fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

/// Returns whether two outputs are one file, even under different names.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let found = |path: &Path| {
        let path = followed(path).ok()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Some((fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?, path.file_name()?.to_owned()))
    };
    one == other || found(one).is_some_and(|file| found(other) == Some(file))
}

/// Fails if `path` is one of the input files `read`, even under another name such as a link.
pub(super) fn differs(path: &Path, read: &[&Path]) -> Result<(), Failure> {
    let file = |path: &Path| {
        if is_stdout(path) {
            return None;
        }
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some((metadata.dev(), metadata.ino()))
    };
    let Some(written) = file(path) else { return Ok(()) };
    read.iter().find(|read| file(read) == Some(written)).map_or(Ok(()), |read| {
        Err(Failure::Usage(format!(
            "the output {} would replace {}, which is an input; give another file",
            path.display(),
            read.display()
        )))
    })
}

/// The maximum number of symbolic links that lead to a file, as in Linux.
const LINKS_MAX: usize = 40;

/// Returns the target of `path` after all symbolic links. It need not exist. A rename to `path` itself would replace
/// the link.
pub(super) fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Creates a temporary file in the folder of `path`. Its mode is that of the file that it will replace. If there is no
/// such file or `mode` is private, its mode is `mode`, reduced by the umask.
fn beside(path: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    let made =
        builder.permissions(Permissions::from_mode(mode)).tempfile_in(folder.unwrap_or(Path::new(".")));
    let writing = made.map_err(|error| without_path(&error))?;
    if mode & 0o077 != 0
        && let Ok(replaced) = fs::metadata(path)
    {
        writing.as_file().set_permissions(replaced.permissions())?;
    }
    Ok(writing)
}

/// Returns the error without the name of the temporary file.
fn without_path(error: &io::Error) -> io::Error {
    let text = error.to_string();
    let (rule, _) = text.split_once(" at path ").unwrap_or((&text, ""));
    io::Error::new(error.kind(), rule)
}

fn publish(writing: NamedTempFile, path: &Path) -> io::Result<()> {
    writing.as_file().sync_all()?;
    writing.persist(path)?;
    Ok(())
}

/// Returns the failure to write to `path`.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {}", path.display(), permission::explanation(path, error)))
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.write(bytes),
            Self::File { writing, .. } => writing.as_file_mut().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::File { writing, .. } => writing.as_file_mut().flush(),
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
        let mut unfinished = Destination::open(Some(&path), Unfinished::default()).unwrap();
        unfinished.write_all(b"half").unwrap();
        drop(unfinished);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut finished = Destination::open(Some(&path), Unfinished::default()).unwrap();
        finished.write_all(b"whole").unwrap();
        finished.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert!(is_same(&path, &folder.path().join("./groups.json")) && !is_same(&path, folder.path()));
        let absent = Destination::open(Some(&folder.path().join("none/x")), Unfinished::default());
        let refused = absent.err().unwrap().to_string();
        assert!(refused.ends_with("none/x: No such file or directory (os error 2)"), "{refused}");
    }

    #[test]
    fn a_symbolic_link_stays_and_its_target_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("results")).unwrap();
        let write = |path: &Path, text: &str| {
            let mut destination = Destination::open(Some(path), Unfinished::default()).unwrap();
            destination.write_all(text.as_bytes()).unwrap();
            destination.finish().unwrap();
        };
        // Two links, the second relative to its folder. The target does not exist yet.
        std::os::unix::fs::symlink(at("results/second"), at("first")).unwrap();
        std::os::unix::fs::symlink("groups.json", at("results/second")).unwrap();
        for text in ["one", "two"] {
            write(&at("first"), text);
            assert_eq!(fs::read_to_string(at("results/groups.json")).unwrap(), text);
            assert!(at("first").is_symlink() && at("results/second").is_symlink());
            fs::set_permissions(at("results/groups.json"), Permissions::from_mode(0o600)).unwrap();
        }
        // A private file stays private.
        write(&at("first"), "three");
        assert_eq!(fs::metadata(at("results/groups.json")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(at("results")).unwrap().count(), 2);
        std::os::unix::fs::symlink("circle", at("circle")).unwrap();
        let refused =
            Destination::open(Some(&at("circle")), Unfinished::default()).err().unwrap().to_string();
        assert!(refused.contains("symbolic links"), "{refused}");
    }

    #[test]
    fn an_object_is_not_replaced_while_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let [secret, link, other] = ["secret", "link", "other"].map(|name| folder.path().join(name));
        fs::write(&secret, b"horse").unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        for output in [&secret, &link] {
            let opened = Destination::open_beside(Some(output), &[&other, &secret], Unfinished::default());
            let refused = opened.err().unwrap().to_string();
            assert!(refused.ends_with("which is an input; give another file"), "{refused}");
        }
        let null = Path::new("/dev/null");
        Destination::open_beside(Some(null), &[null], Unfinished::default()).unwrap();
        Destination::open_beside(Some(&other), &[&other, &secret], Unfinished::default()).unwrap();
        assert!(Destination::open_private(&link, &[&secret], Unfinished::default()).is_err());
        let mut private = Destination::open_private(&other, &[&secret], Unfinished::default()).unwrap();
        private.write_all(b"token").unwrap();
        private.finish().unwrap();
        assert_eq!(fs::metadata(&other).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&secret).unwrap(), b"horse");
    }
}

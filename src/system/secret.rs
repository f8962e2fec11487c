//! Files with secrets: generated files, which only this user can read, and files that the operator provides.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::permission::explained;
use super::{regular, text};

/// The maximum size of a secret's file. A limit is needed because a device has no end.
const BYTES_MAX: u64 = 64 << 10;

/// A secret in a setting. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    /// Hides a secret.
    pub fn new(secret: &str) -> Self {
        Self(Zeroizing::new(secret.to_owned()))
    }

    /// Returns the secret.
    pub const fn reveal(&self) -> &Zeroizing<String> {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// An error in reading a secret from its file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Other users could replace the file.
    #[error("{} may be written by other users; deny that with `chmod go-w`", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
    },
    /// The file is empty.
    #[error("{} is empty; write the secret alone into it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is too long or not text.
    #[error("{} must hold one secret: text of 1 to {BYTES_MAX} bytes", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file is not in UTF-8.
    #[error("{}: {cause}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The encoding of the file.
        cause: text::Foreign,
    },
    /// The content cannot be a token or a key.
    #[error(
        "{} must hold one word of at least {least} visible ASCII characters, and {problem}; write the secret alone into it",
        path.display()
    )]
    NoWord {
        /// The file.
        path: PathBuf,
        /// The minimum number of characters.
        least: usize,
        /// The problem.
        problem: &'static str,
    },
    /// The file cannot be read or written.
    #[error("cannot use the secret file {}: {cause}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}

/// Reads a secret that the operator provides, without white space around it. Warns if other users may read the file,
/// as is usual for secrets that Kubernetes mounts.
///
/// # Errors
/// [`Error`].
pub fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    if is_null(path) {
        return Err(Error::Empty { path: path.to_owned() });
    }
    let unusable = |cause| unusable(path, cause);
    let file = open(path).map_err(unusable)?;
    check(path, &file.metadata().map_err(unusable)?)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unusable)?;
    let malformed = || Error::Malformed { path: path.to_owned() };
    let text = text::unmarked(&bytes).map_err(|cause| Error::Foreign { path: path.to_owned(), cause })?;
    let secret = str::from_utf8(text).map_err(|_| malformed())?.trim();
    if secret.is_empty() {
        return Err(Error::Empty { path: path.to_owned() });
    }
    if bytes.len() as u64 > BYTES_MAX {
        return Err(malformed());
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Reads a token or a key: a secret that is one word of at least `least` characters.
///
/// # Errors
/// [`Error`].
pub fn read_word(path: &Path, least: usize) -> Result<Zeroizing<String>, Error> {
    let secret = read(path)?;
    let problem = if secret.lines().count() > 1 {
        "it has more than one line"
    } else if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        "it has a space or another character that is not allowed"
    } else if secret.len() < least {
        "it is shorter"
    } else {
        return Ok(secret);
    };
    Err(Error::NoWord { path: path.to_owned(), least, problem })
}

/// Returns true for the device that is empty and that every user may write.
pub fn is_null(path: &Path) -> bool {
    path == Path::new("/dev/null")
}

/// Checks that no other user may write the secret's file at `path`.
///
/// # Errors
/// [`Error`].
pub fn check_at(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(|cause| unusable(path, cause))?;
    check(path, &metadata)
}

/// Checks that no other user may write a secret's file.
///
/// # Errors
/// [`Error::Writable`].
pub fn check(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    if metadata.mode() & 0o022 != 0 {
        return Err(Error::Writable { path: path.to_owned() });
    }
    if metadata.mode() & 0o044 != 0 {
        tracing::warn!(path = %path.display(), "a secret file may be read by other users");
    }
    Ok(())
}

/// Reads a generated secret, or generates and stores it (mode 0600, on the disk before this returns). Also returns true
/// if it is new.
///
/// # Errors
/// [`Error`]; no incomplete file is left behind.
pub fn keep(
    path: &Path,
    make: impl FnOnce() -> Zeroizing<String>,
) -> Result<(Zeroizing<String>, bool), Error> {
    if let Some(secret) = find(path)? {
        return Ok((secret, false));
    }
    let secret = make();
    write(path, &secret)?;
    Ok((secret, true))
}

/// Reads a generated secret, if it exists.
///
/// # Errors
/// [`Error`].
pub fn find(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    match read(path) {
        Err(Error::Unusable { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Writes a generated secret atomically and durably.
///
/// # Errors
/// [`Error::Unusable`].
pub fn write(path: &Path, secret: &str) -> Result<(), Error> {
    write_durably(path, secret).map_err(|cause| unusable(path, cause))
}

/// Opens the file of a secret. It may be a pipe if it is an inherited descriptor, such as the shell's `<(...)`.
fn open(path: &Path) -> io::Result<File> {
    let is_inherited = ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.starts_with(folder));
    if is_inherited { File::open(path) } else { regular::open(path) }
}

fn unusable(path: &Path, cause: io::Error) -> Error {
    Error::Unusable { path: path.to_owned(), cause: explained(path, cause) }
}

fn write_durably(path: &Path, secret: &str) -> io::Result<()> {
    let partial = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = regular::open_with(&partial, &mut options)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_secret_is_made_once_and_for_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(keep(&path, || secret("first")).unwrap(), (secret("first"), true));
        assert_eq!(keep(&path, || secret("second")).unwrap(), (secret("first"), false));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, "given").unwrap();
        for (mode, refused) in [(0o600, false), (0o644, false), (0o660, true), (0o602, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(matches!(read(&path), Err(Error::Writable { .. })), refused, "{mode:o}");
        }
    }

    #[test]
    fn an_invalid_secret_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for content in [b"".as_slice(), b" \n\t", b"\xef\xbb\xbf"] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(read(&path), Err(Error::Empty { .. })));
        }
        assert!(matches!(read(Path::new("/dev/null")), Err(Error::Empty { .. })));
        for content in [b"\xff\xff".as_slice(), &vec![b'a'; (BYTES_MAX + 1) as usize]] {
            fs::write(&path, content).unwrap();
            assert!(matches!(read(&path), Err(Error::Malformed { .. })));
        }
        fs::write(&path, b"\xff\xfew\0").unwrap();
        assert!(matches!(read(&path), Err(Error::Foreign { .. })));
        assert!(matches!(read(Path::new("/nowhere")), Err(Error::Unusable { .. })));
    }

    #[test]
    fn a_token_is_one_word_with_or_without_a_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write(&path, "").unwrap();
        for content in ["0123456789abcdef", "\u{feff}0123456789abcdef\r\n", " 0123456789abcdef "] {
            fs::write(&path, content).unwrap();
            assert_eq!(read_word(&path, 16).unwrap(), secret("0123456789abcdef"));
        }
        for (content, problem) in [
            ("0123456789abcdef\n0123456789abcdef\n", "more than one line"),
            ("01234567 9abcdef", "a space"),
            ("0123456789\u{a0}abcdef", "a space"),
            ("abc", "shorter"),
        ] {
            fs::write(&path, content).unwrap();
            let said = read_word(&path, 16).unwrap_err().to_string();
            assert!(said.starts_with(path.to_str().unwrap()) && said.contains(problem), "{said}");
        }
    }
}

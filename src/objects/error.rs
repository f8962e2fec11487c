//! Errors of reading, creating and removing objects.

use std::error::Error as StdError;
use std::io;

use rustix::io::Errno;

use super::Key;
use super::redact::{Redacted, no_bucket};
use crate::system::regular;

/// An error of the object store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No object has this key: it was removed, or never created.
    #[error("object {key} does not exist")]
    Missing {
        /// The key of the requested object.
        key: Key,
    },
    /// The object has changed since it was written. A retry does not help.
    #[error("object {key} is damaged: {reason}")]
    Damaged {
        /// The key of the object.
        key: Key,
        /// The fault.
        reason: String,
    },
    /// The disk is full. Try again once there is room.
    #[error("there is no space left for objects")]
    Full(#[source] io::Error),
    /// A store of another provider failed. Try again after a pause; the server's own store works.
    #[error("the object store at {host} cannot be read from: {reason}")]
    Foreign {
        /// The host of that store.
        host: String,
        /// The reason, without secrets.
        reason: String,
    },
    /// The store failed. Try again after a pause.
    #[error("object storage is unavailable")]
    Storage(#[source] Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// Returns true if the same call may succeed after a pause, once the disk or the store works again.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Storage(cause) if !cause.is::<tokio::task::JoinError>())
    }

    /// Converts an error of opening `key`, which may not exist.
    pub(super) fn opening(key: &Key, error: io::Error) -> Self {
        // For example, a file is in place of a directory of the path: a retry does not help.
        let is_misplaced = matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
            || Errno::from_io_error(&error) == Some(Errno::LOOP);
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing { key: key.clone() },
            _ if is_misplaced || regular::is_no_file(&error) => {
                Self::Damaged { key: key.clone(), reason: error.to_string() }
            }
            _ => error.into(),
        }
    }

    /// Converts an error of the store about `key`.
    pub(crate) fn from_store(key: &Key, error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { source, .. } => match no_bucket(&source.to_string()) {
                Some(text) => Self::Storage(text.into()),
                None => Self::Missing { key: key.clone() },
            },
            error => error.into(),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            _ => Self::Storage(Box::new(error)),
        }
    }
}

/// Keeps only the code of a store's error, since its text may repeat access keys and signatures.
impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Self::Storage(Box::new(Redacted::from(error)))
    }
}

/// A blocking task has ended without a result: the process is stopping, or the task panicked.
impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Storage(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::keys;
    use crate::telemetry::chain;

    #[test]
    fn another_file_in_the_place_of_a_directory_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        for path in ["file/matrix", "loop", "loop/matrix"] {
            let error = std::fs::File::open(folder.path().join(path)).unwrap_err();
            let error = Error::opening(&keys::client_file("matrix"), error);
            assert!(matches!(error, Error::Damaged { .. }), "{path}: {error:?}");
        }
    }

    #[test]
    fn a_bucket_that_is_missing_is_not_an_object_that_is() {
        let missing = |code: &str| {
            let source = format!("status code: 404 Not Found: <Error><Code>{code}</Code>").into();
            Error::from_store(
                &keys::client_file("plan"),
                object_store::Error::NotFound { path: String::new(), source },
            )
        };
        assert!(matches!(missing("NoSuchKey"), Error::Missing { .. }));
        let said = "object storage is unavailable: there is no such bucket (NoSuchBucket)";
        assert_eq!(chain(&missing("NoSuchBucket")), said);
    }
}

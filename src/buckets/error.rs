//! Errors of buckets.

use std::io;

use crate::system::sqlite;

/// An error of a bucket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bucket has this name.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// A bucket of this name exists.
    #[error("the bucket exists")]
    BucketExists,
    /// The bucket is not empty.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The bucket has no object with this key.
    #[error("there is no such object")]
    NoSuchKey,
    /// The key has no multipart upload with this id: it was completed, aborted or removed by age, or never begun.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// A part in the request has not arrived, or has another content.
    #[error("part {number} has not arrived, or has other content")]
    InvalidPart {
        /// The part's number.
        number: u32,
    },
    /// The parts in the request are not in ascending order.
    #[error("parts must be in ascending order")]
    PartOrder,
    /// A part that is not the last is smaller than [`PART_BYTES_MIN`](super::PART_BYTES_MIN).
    #[error(
        "part {number} has {size} bytes, and only the last may be smaller than {}",
        super::PART_BYTES_MIN
    )]
    PartTooSmall {
        /// The part's number.
        number: u32,
        /// The size of the part.
        size: u64,
    },
    /// The body is too large.
    #[error("an object or part may have {max} bytes at most")]
    TooLarge {
        /// The maximum size that is accepted.
        max: u64,
    },
    /// The body has another checksum than the request declares.
    #[error("the content does not match the {what} of the request")]
    Mismatch {
        /// The checksum that differs.
        what: &'static str,
    },
    /// The completion declares another type of checksum than the beginning of the upload.
    #[error("the upload was begun with another checksum type")]
    ChecksumType,
    /// The condition of the request does not hold.
    #[error("precondition failed (If-Match or If-None-Match)")]
    Precondition,
    /// The key is empty or longer than [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX).
    #[error("a key has 1 to {} bytes", super::KEY_BYTES_MAX)]
    Key,
    /// The key has a character that a listing cannot contain: XML 1.0 cannot represent it.
    #[error("a key must not have the character U+{:04X}, which XML 1.0 cannot hold", *.character as u32)]
    KeyCharacter {
        /// The character.
        character: char,
    },
    /// The data has changed since it was written. Trying again does not help.
    #[error("the data of the object is damaged: {0}")]
    Damaged(String),
    /// The disk is full. Try again when there is space.
    #[error("there is no space left for objects")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// All readers of the index are in use. Try again after a pause.
    #[error("reduce your request rate")]
    Busy,
    /// Access to the files or to the index failed. Try again after a pause.
    #[error("object storage is unavailable")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The index is missing or empty although files of objects exist. With a new index they would be removed as
    /// leftovers of a crash.
    #[error(
        "the index of the buckets is lost, and {files} files that it should know exist; restore buckets.db \
         from a backup, or move objects/buckets away to start without buckets"
    )]
    Lost {
        /// The number of files.
        files: u64,
    },
    /// The index cannot be opened.
    #[error("cannot open buckets.db, the index of the buckets: {0}")]
    Index(#[source] sqlite::Error),
    /// The index is damaged. Trying again does not help.
    #[error("buckets.db, the index of the buckets, cannot be read: {0}")]
    IndexDamaged(sqlite::Error),
}

impl Error {
    /// Returns true if the same call may succeed after a pause, once the disk works again.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Storage(cause) if !cause.is::<tokio::task::JoinError>())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(Box::new(error))
            }
            _ => Self::Storage(Box::new(error)),
        }
    }
}

impl From<sqlite::Error> for Error {
    fn from(error: sqlite::Error) -> Self {
        match error {
            sqlite::Error::Full(_) => Self::Full(Box::new(error)),
            sqlite::Error::Busy => Self::Busy,
            sqlite::Error::Damaged(_) => Self::IndexDamaged(error),
            error => Self::Storage(Box::new(error)),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        sqlite::Error::from(error).into()
    }
}

/// A blocking task has ended without a result: the process is stopping, or the task panicked.
impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Storage(Box::new(error))
    }
}

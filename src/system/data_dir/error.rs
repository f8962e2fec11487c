//! The errors that make the data directory unusable.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::system::permission::explained;

/// The version of the layout that this program writes.
pub const FORMAT: u32 = 1;

/// An error that makes the data directory unusable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process uses the directory.
    #[error(
        "the data directory {} is in use by process {holder}; stop that process, or give another directory with --data-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The description of the process, from the lock file.
        holder: String,
    },
    /// A newer version of this program wrote it.
    #[error(
        "the data directory {} has format {found}, and this version knows formats up to {FORMAT}; use a newer entityd",
        path.display()
    )]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// The version of the format.
        found: u32,
    },
    /// The directory is not empty, and has no format file.
    #[error(
        "{} is not empty and not a data directory: it holds {stranger:?} and no readable file `format`; give another with \
         --data-dir",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The name of a file or directory that it contains.
        stranger: OsString,
    },
    /// A part of the data directory is a link or a mount of a directory with other content.
    #[error(
        "{} leads to a directory of something else: it holds {stranger:?}; link or mount there what belongs there, or an \
         empty directory",
        path.display()
    )]
    ForeignPart {
        /// The part.
        path: PathBuf,
        /// A file or directory in that directory.
        stranger: OsString,
    },
    /// The file `format` contains no number.
    #[error(
        "{} is damaged: it must contain the number of the directory's format; restore it from a backup, or write \
         {FORMAT} into it if this version has used the directory before",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// The directory, or an entry in it, cannot be read or written.
    #[error("cannot use {}: {cause}", path.display())]
    Unusable {
        /// The directory, or the entry.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}

/// Returns the error for a path that the process may not use.
pub(super) fn unusable(path: &Path) -> impl Fn(io::Error) -> Error {
    move |cause| Error::Unusable { path: path.to_owned(), cause: explained(path, cause) }
}

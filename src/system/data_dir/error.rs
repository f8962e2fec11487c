//! Reasons for which the data directory cannot be used.

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
        /// The process, as it described itself.
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
        /// Its format.
        found: u32,
    },
    /// It is not empty, and has no mark of a data directory.
    #[error(
        "{} is not empty and not a data directory: it holds {stranger:?} and no readable file `format`; give another with \
         --data-dir",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// A file or directory in it.
        stranger: OsString,
    },
    /// The file with its format holds no number.
    #[error(
        "{} is damaged: it says in one number which format the data directory has; restore it from a backup, or write \
         {FORMAT} into it if this version has used the directory before",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// It, or something in it, cannot be read or written.
    #[error("cannot use {}: {cause}", path.display())]
    Unusable {
        /// The directory, or what is in it.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}

/// Makes the error for a path that the system does not let us use.
pub(super) fn unusable(path: &Path) -> impl Fn(io::Error) -> Error {
    move |cause| Error::Unusable { path: path.to_owned(), cause: explained(path, cause) }
}

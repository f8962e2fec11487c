//! The errors that end a job without an outcome.

use std::error::Error as StdError;
use std::io;

use linkage::encoding::layout;
use linkage::{pairs, similarity, solver};

use crate::coordinator;
use crate::external::ExternalStoreError;
use crate::objects::{self, NotOurs};
use crate::telemetry::chain;

type BoxError = Box<dyn StdError + Send + Sync>;

/// An error that ends a job without an outcome. Its text includes the texts of its sources, because clients get only
/// the text.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// An object does not exist. Either the job is obsolete, or stored data was lost.
    #[error("{}", unusable_object(.0))]
    Missing(#[source] objects::Error),
    /// An object is damaged. Another attempt would end the same way.
    #[error("{}", unusable_object(.0))]
    DamagedObject(#[source] objects::Error),
    /// Stored data contradicts itself. Another attempt would end the same way.
    #[error("{}", unusable(&**.0))]
    Damaged(#[source] BoxError),
    /// The job cannot succeed. The text describes a remedy.
    #[error("{0}")]
    Rejected(String),
    /// The object store does not respond.
    #[error("{}", chain(.0))]
    Unavailable(#[source] objects::Error),
    /// The disk is full. Another attempt may succeed once there is space.
    #[error("{}; free some space, then try again", chain(.0))]
    DiskFull(#[source] objects::Error),
    /// The coordinator could not confirm that the job is wanted; the job was not started.
    #[error("{}", chain(.0))]
    Unreachable(#[source] coordinator::Error),
    /// The job panicked.
    #[error("the job panicked: {0}")]
    Panicked(String),
    /// The attempt failed. Another attempt may succeed.
    #[error("{}", chain(&**.0))]
    Failed(#[source] BoxError),
}

impl Error {
    pub(super) fn panicked(text: &str) -> Self {
        Self::Panicked(text.to_owned())
    }

    /// Returns the error for stored data that contradicts itself.
    pub(super) fn damaged(what: impl Into<BoxError>) -> Self {
        Self::Damaged(what.into())
    }

    /// Returns the error for an attempt that may succeed when it is repeated.
    pub(super) fn failed(what: impl Into<BoxError>) -> Self {
        Self::Failed(what.into())
    }
}

fn unusable(what: &(dyn StdError + 'static)) -> String {
    let remedy = "restore it from a backup, or create the project again";
    format!("the stored data cannot be used: {}; {remedy}", chain(what))
}

/// Describes an unusable object and the remedy.
fn unusable_object(error: &objects::Error) -> String {
    match error {
        objects::Error::Missing { key } | objects::Error::Damaged { key, .. }
            if key.as_str().contains("/runs/") =>
        {
            format!("the stored data cannot be used: {}; another run will make it again", chain(error))
        }
        error => unusable(error),
    }
}

impl From<objects::Error> for Error {
    fn from(error: objects::Error) -> Self {
        match error {
            objects::Error::Missing { .. } => Self::Missing(error),
            objects::Error::Damaged { .. } => Self::DamagedObject(error),
            objects::Error::Full(_) => Self::DiskFull(error),
            objects::Error::Foreign { .. } => Self::failed(error),
            objects::Error::Storage(_) => Self::Unavailable(error),
        }
    }
}

/// Converts an I/O error, which may contain an error of the object store.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<objects::Error>() {
            Ok(error) => error.into(),
            Err(error) => objects::Error::from(error).into(),
        }
    }
}

impl From<NotOurs> for Error {
    fn from(error: NotOurs) -> Self {
        match error {
            NotOurs::Unknown(error) => error.into(),
            error => Self::failed(error),
        }
    }
}

impl From<ExternalStoreError> for Error {
    fn from(error: ExternalStoreError) -> Self {
        match error {
            ExternalStoreError::Refused(why) => Self::Rejected(why),
            ExternalStoreError::Unavailable(why) => Self::failed(why),
        }
    }
}

impl From<layout::Error> for Error {
    fn from(error: layout::Error) -> Self {
        match error {
            layout::Error::Damaged(damage) => Self::damaged(damage),
            layout::Error::Source(error) | layout::Error::Scratch(error) | layout::Error::Sink(error) => {
                error.into()
            }
        }
    }
}

impl From<pairs::Error> for Error {
    fn from(error: pairs::Error) -> Self {
        match error {
            pairs::Error::Read(error) | pairs::Error::Write(error) => error.into(),
            pairs::Error::TooMany { .. } => Self::Rejected(error.to_string()),
            pairs::Error::Malformed(_) | pairs::Error::IndexTooLarge(_) => Self::damaged(error),
        }
    }
}

impl From<similarity::Error> for Error {
    fn from(error: similarity::Error) -> Self {
        match error {
            similarity::Error::Cancelled => Self::Cancelled,
            similarity::Error::Pairs(error) => error.into(),
            similarity::Error::NoSuchRecord { .. }
            | similarity::Error::Malformed(_)
            | similarity::Error::Damaged(_) => Self::damaged(error),
        }
    }
}

impl From<solver::Error> for Error {
    fn from(error: solver::Error) -> Self {
        match error {
            solver::Error::Pairs(error) => error.into(),
            solver::Error::NoSuchRecord { .. } => Self::damaged(error),
            solver::Error::TooLarge { .. } => Self::Rejected(error.to_string()),
        }
    }
}

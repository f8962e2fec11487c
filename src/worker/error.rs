//! Why a job has no outcome.

use std::io;

use crate::external::ForeignError;
use crate::linkage::encoding::layout;
use crate::linkage::{pairs, similarity, solver};
use crate::objects::{self, Key, NotOurs};
use crate::telemetry::chain;

/// Why a job has no outcome.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It was told to stop.
    #[error("the job was told to stop")]
    Cancelled,
    /// An object is not there. Either the job is not wanted any more, or something is badly wrong.
    #[error("{0}")]
    Missing(String),
    /// Another try would end the same way. The text is for people, and says what would help.
    #[error("{0}")]
    Rejected(String),
    /// The objects do not answer.
    #[error("{0}")]
    Unavailable(String),
    /// There is no room on the disk. Another try may end better once somebody has made some.
    #[error("{0}")]
    DiskFull(String),
    /// Nobody could be asked whether the job is wanted: it was not begun.
    #[error("{0}")]
    Unreachable(String),
    /// Another try may end better.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    pub(super) fn panicked(text: &str) -> Self {
        Self::Failed(format!("the job panicked: {text}"))
    }

    /// What was stored is not what it was.
    pub(super) fn damaged(what: &dyn std::error::Error) -> Self {
        Self::Rejected(unusable(what))
    }
}

fn unusable(what: &dyn std::error::Error) -> String {
    let remedy = "restore it from a backup, or create the project again";
    format!("the stored data cannot be used: {}; {remedy}", chain(what))
}

/// Of an object: what a run has made on its way, another run makes again.
fn unusable_object(key: &Key, what: &objects::Error) -> String {
    if key.as_str().contains("/runs/") {
        format!("the stored data cannot be used: {}; another run will make it again", chain(what))
    } else {
        unusable(what)
    }
}

impl From<objects::Error> for Error {
    fn from(error: objects::Error) -> Self {
        match &error {
            objects::Error::Missing { key } => Self::Missing(unusable_object(key, &error)),
            objects::Error::Damaged { key, .. } => Self::Rejected(unusable_object(key, &error)),
            objects::Error::Full(_) => {
                Self::DiskFull(format!("{}; free some space, then try again", chain(&error)))
            }
            objects::Error::Foreign { .. } => Self::Failed(chain(&error)),
            objects::Error::Storage(_) => Self::Unavailable(chain(&error)),
        }
    }
}

/// Reads and writes go to objects and their temporary files: an error may be an object's, in disguise.
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
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<ForeignError> for Error {
    fn from(error: ForeignError) -> Self {
        match error {
            ForeignError::Refused(why) => Self::Rejected(why),
            ForeignError::Unavailable(why) => Self::Failed(why),
        }
    }
}

impl From<layout::Error> for Error {
    fn from(error: layout::Error) -> Self {
        match error {
            layout::Error::Damaged(damage) => Self::damaged(&damage),
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
            pairs::Error::Malformed(_) | pairs::Error::IndexTooLarge(_) => Self::damaged(&error),
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
            | similarity::Error::Damaged(_) => Self::damaged(&error),
        }
    }
}

impl From<solver::Error> for Error {
    fn from(error: solver::Error) -> Self {
        match error {
            solver::Error::Pairs(error) => error.into(),
            solver::Error::NoSuchRecord { .. } => Self::damaged(&error),
            solver::Error::TooLarge { .. } => Self::Rejected(error.to_string()),
        }
    }
}

//! Converts errors of the database into errors of the store.

use crate::metadata::store::Error;
use crate::system::sqlite;

impl From<sqlite::Error> for Error {
    fn from(error: sqlite::Error) -> Self {
        match error {
            sqlite::Error::TooNew { found, known } => Self::TooNew { found, known },
            sqlite::Error::Damaged(what) => {
                Self::Damaged(format!("{what}; restore metadata.db from a backup"))
            }
            sqlite::Error::Foreign { .. } | sqlite::Error::ForeignMark { .. } => {
                Self::Unfit(error.to_string())
            }
            sqlite::Error::Lost { .. } => Self::Unfit(format!(
                "{error}. The file holds every project, token and run; nothing else can replace it"
            )),
            sqlite::Error::Full(cause) => Self::Full(cause),
            sqlite::Error::Busy => Self::Busy,
            sqlite::Error::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

/// Converts an error of the database into an error of the store.
pub(super) fn unavailable(error: rusqlite::Error) -> Error {
    sqlite::Error::from(error).into()
}

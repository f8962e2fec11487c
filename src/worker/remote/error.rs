//! Errors of calls to API nodes.

use axum::http::StatusCode;

use crate::coordinator;

/// An error of a call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// No API node answered in time.
    #[error("{0}")]
    Unreachable(String),
    /// An API node rejects the call.
    #[error("{url} answers {status}: {detail}")]
    Rejected {
        /// The API node.
        url: String,
        /// The status of the answer.
        status: StatusCode,
        /// The reason, for the log.
        detail: String,
    },
}

impl From<CallError> for coordinator::Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(why) => Self::Unreachable(why),
            rejected @ CallError::Rejected { .. } => Self::Rejected(rejected.to_string()),
        }
    }
}

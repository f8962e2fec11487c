//! The formats of an upload.

use crate::objects::partial;

/// The format of a body.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// JSON.
    Json {
        /// True if the project uses blocking.
        uses_blocking: bool,
        /// The host name that the caller uses for this server.
        host: Option<String>,
    },
    /// Encodings, one after the other.
    Binary {
        /// The number of records.
        records: u32,
        /// The number of bytes of an encoding.
        encoding_bytes: u32,
    },
}

impl Form {
    /// Returns the name of the format for metrics.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Json { .. } => "json",
            Self::Binary { .. } => "binary",
        }
    }

    /// Estimates the disk space for a body of `bytes` bytes: in JSON, three bytes of an encoding take four.
    pub(super) const fn spooled_bytes(&self, bytes: u64) -> u64 {
        match self {
            Self::Json { .. } => bytes / 4 * 3,
            Self::Binary { .. } => bytes,
        }
    }

    /// Returns the format in the record of a partial upload.
    pub(super) fn of(form: partial::Form, uses_blocking: bool, host: Option<String>) -> Self {
        match form {
            partial::Form::Json => Self::Json { uses_blocking, host },
            partial::Form::Binary { records, encoding_bytes } => Self::Binary { records, encoding_bytes },
        }
    }

    /// Returns the format for the record of a partial upload.
    pub(super) const fn recorded(&self) -> partial::Form {
        match *self {
            Self::Json { .. } => partial::Form::Json,
            Self::Binary { records, encoding_bytes } => partial::Form::Binary { records, encoding_bytes },
        }
    }

    /// Returns the host name that the caller uses for this server, if it was noted.
    pub(super) fn host(&self) -> Option<String> {
        match self {
            Self::Json { host, .. } => host.clone(),
            Self::Binary { .. } => None,
        }
    }
}

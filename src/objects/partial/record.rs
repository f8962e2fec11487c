//! The file that describes a partial upload: its party, its form, and the number of bytes on the disk.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{PartialUploadId, ProjectId};
use crate::system::data_dir::{RECORD, write_durably};
use crate::system::regular;

/// A description of a partial upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The project.
    pub project: ProjectId,
    /// The party.
    pub party: u32,
    /// The form of the whole body.
    pub form: Form,
    /// The value of `Content-Encoding` for the whole body; empty if it has none.
    pub coding: String,
    /// True if the client repeats the upload to replace a lost receipt token.
    pub again: bool,
    /// The length of the whole body, once it is known.
    pub length: Option<u64>,
    /// The number of bytes that are on the disk.
    pub offset: u64,
    /// Set before the whole body is checked: from then on it may have been accepted.
    pub checked: bool,
    /// The number of the upload, once it is accepted. The bytes are then removed.
    pub accepted: Option<u32>,
}

/// The form of the whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// JSON.
    Json,
    /// Raw encodings, one after the other.
    Binary {
        /// The number of records.
        records: u32,
        /// The number of bytes of each encoding.
        encoding_bytes: u32,
    },
}

impl Record {
    /// Writes the record atomically and durably. Blocks.
    pub(super) fn write(&self, folder: &Path, id: PartialUploadId) -> io::Result<()> {
        let text = serde_json::to_string(self).map_err(io::Error::other)?;
        write_durably(folder, &format!("{id}{RECORD}"), &text)
    }

    /// Reads the record of `id`; `None` if its content is invalid.
    pub(super) fn read(folder: &Path, id: PartialUploadId) -> io::Result<Option<Self>> {
        let bytes = regular::read(&path(folder, id))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Removes the record, then the bytes. Blocks.
    pub(super) fn remove(folder: &Path, id: PartialUploadId) -> io::Result<()> {
        for path in [path(folder, id), folder.join(id.to_string())] {
            regular::remove(&path)?;
        }
        Ok(())
    }
}

/// Returns the path of a record.
pub(super) fn path(folder: &Path, id: PartialUploadId) -> PathBuf {
    folder.join(format!("{id}{RECORD}"))
}

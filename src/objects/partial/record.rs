//! The file that describes a partial upload: its owner, its form, and the bytes that are safe.

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
    /// Set if a lost receipt token is to be replaced.
    pub again: bool,
    /// The length of the whole body, once it is known.
    pub length: Option<u64>,
    /// The bytes that are on the disk.
    pub offset: u64,
    /// Set before the whole body is checked for the first time: it may have been accepted.
    pub checked: bool,
    /// The number of the accepted upload. The bytes are removed then.
    pub accepted: Option<u32>,
}

/// The form of the whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One of the JSON shapes.
    Json,
    /// Encodings, one after the other.
    Binary {
        /// The number of records.
        records: u32,
        /// Bytes of each.
        encoding_bytes: u32,
    },
}

impl Record {
    /// Writes the record. It is complete after a power cut. Blocks.
    pub(super) fn write(&self, folder: &Path, id: PartialUploadId) -> io::Result<()> {
        let text = serde_json::to_string(self).map_err(io::Error::other)?;
        write_durably(folder, &format!("{id}{RECORD}"), &text)
    }

    /// Reads the record of `id`; `None` if it is not readable.
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

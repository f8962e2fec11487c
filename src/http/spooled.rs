//! The content of an upload that has arrived, and is not stored as objects yet.

use std::io::Cursor;

use linkage::encoding::entries::Version;
use linkage::encoding::json::{self, Expected, FileRef, Received};
use linkage::encoding::layout;
use linkage::encoding::{Summary, binary};

use super::body_reader::Incoming;
use super::form::Form;
use super::problem::Problem;

use crate::model::Dataset;
use crate::objects::{Objects, Spool, Staged};

/// The maximum size of an upload that is indexed before it is accepted. This takes some milliseconds, which a job would
/// spend on syncs of the disk.
const INDEXED_BYTES_MAX: u64 = 4 << 20;

/// The content that arrived.
pub(super) enum Spooled {
    /// The encodings.
    Inline(Box<Inline>),
    /// The names of files with the encodings and the blocks.
    Files { encodings: FileRef, blocks: Option<FileRef> },
}

/// Received data. It is removed when this value is dropped.
pub(super) struct Inline {
    pub(super) summary: Summary,
    pub(super) matrix: Staged,
    pub(super) entries: Staged,
    /// The index of a small upload. Its block entries are not needed any more.
    pub(super) index: Option<(Dataset, Staged)>,
}

/// Everything that is needed to read a body.
pub(super) struct Spooling {
    pub(super) objects: Objects,
    pub(super) room: Spool,
    pub(super) form: Form,
    /// The version of the block entries.
    pub(super) version: Version,
    /// The number of the upload, if it is indexed once it has arrived and is small.
    pub(super) indexed_as: Option<u32>,
}

impl Spooling {
    /// Reads the body to its end. Blocks.
    pub(super) fn read(&self, incoming: Incoming) -> Result<Spooled, Problem> {
        let stage = || self.objects.stage().within(&self.room);
        let (mut matrix, mut entries) = (stage(), stage());
        let summary = match self.form {
            Form::Binary { records, encoding_bytes } => {
                binary::read(incoming, records, encoding_bytes, &mut matrix)?
            }
            Form::Json { uses_blocking, .. } => {
                let expected = Expected { uses_blocking, records_max: u32::MAX };
                match json::upload(incoming, expected, &mut matrix, &mut entries, self.version)? {
                    Received::Inline(summary) => summary,
                    Received::External { encodings, blocks } => {
                        return Ok(Spooled::Files { encodings, blocks });
                    }
                }
            }
        };
        let index = self.index(&summary, &mut matrix, &mut entries);
        Ok(Spooled::Inline(Box::new(Inline { summary, matrix, entries, index })))
    }

    /// Indexes a small upload. If that fails, a job tries it again, and ends with the reason.
    fn index(
        &self,
        summary: &Summary,
        matrix: &mut Staged,
        entries: &mut Staged,
    ) -> Option<(Dataset, Staged)> {
        let upload = self.indexed_as.filter(|_| matrix.size() + entries.size() <= INDEXED_BYTES_MAX)?;
        let Summary { records, encoding_bytes, has_blocks, .. } = *summary;
        let mut index = self.objects.stage().within(&self.room);
        let mut build = || -> Result<_, layout::Error> {
            let read_back = |staged: &mut Staged| staged.read_back().map_err(layout::Error::Source);
            let entries = has_blocks.then(|| read_back(entries)).transpose()?;
            let matrix = read_back(matrix)?;
            let dataset = layout::Dataset {
                upload,
                records,
                encoding_bytes,
                matrix: matrix.as_slice(),
                entries: entries.map(Cursor::new),
            };
            layout::build(dataset, &self.objects, &mut index)
        };
        match build() {
            Ok(header) => {
                let blocks = header.blocks;
                Some((Dataset { upload, records, encoding_bytes, blocks }, index))
            }
            Err(error) => {
                tracing::info!("a job indexes a small upload: {error}");
                None
            }
        }
    }
}

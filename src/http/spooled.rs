//! The content of an upload that has arrived, and is not stored as objects yet.

use std::io::Cursor;
use std::sync::Arc;

use linkage::encoding::entries::Version;
use linkage::encoding::json::{self, Expected, FileRef, Received};
use linkage::encoding::layout::{self, Header};
use linkage::encoding::{Summary, binary};
use tokio::sync::Semaphore;

use super::body_reader::Incoming;
use super::form::Form;
use super::problem::Problem;
use crate::model::Dataset;
use crate::objects::{self, Objects, Spool, Staged};
use crate::telemetry::chain;

/// The maximum size of the encodings and block entries of an upload that is indexed before it is accepted. This takes some
/// milliseconds, which a job would spend on syncs of the disk.
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
    pub(super) beside: Beside,
}

/// The object that an upload has beside its encodings.
pub(super) enum Beside {
    /// The block entries; absent without blocks. A job indexes the upload.
    Entries(Option<Staged>),
    /// The index of a small upload, with the dataset that it describes.
    Index(Dataset, Staged),
}

/// Indexes small uploads once they have arrived.
pub(super) struct Indexing {
    /// The number of the upload.
    pub(super) upload: u32,
    /// The permits to index, since that takes memory and a core. Without one, a job indexes the upload.
    pub(super) turns: Arc<Semaphore>,
}

/// Everything that is needed to read a body.
pub(super) struct Spooling {
    pub(super) objects: Objects,
    pub(super) room: Spool,
    pub(super) form: Form,
    /// The version of the block entries.
    pub(super) version: Version,
    /// Absent if a job indexes every upload.
    pub(super) indexing: Option<Indexing>,
}

impl Spooling {
    /// Reads the body to its end. Blocks.
    pub(super) fn read(&self, incoming: Incoming) -> Result<Spooled, Problem> {
        let (mut matrix, mut entries) = (self.stage(), self.stage());
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
        let mut entries = summary.has_blocks.then_some(entries);
        let index = self.index(&summary, &mut matrix, &mut entries)?;
        let beside = index.map_or(Beside::Entries(entries), |(dataset, index)| Beside::Index(dataset, index));
        Ok(Spooled::Inline(Box::new(Inline { summary, matrix, beside })))
    }

    fn stage(&self) -> Staged {
        self.objects.stage().within(&self.room)
    }

    /// Indexes a small upload, unless others are being indexed. If it cannot be indexed, a job finds the reason.
    fn index(
        &self,
        summary: &Summary,
        matrix: &mut Staged,
        entries: &mut Option<Staged>,
    ) -> Result<Option<(Dataset, Staged)>, Problem> {
        let bytes = matrix.size() + entries.as_ref().map_or(0, Staged::size);
        let Some(indexing) = self.indexing.as_ref().filter(|_| bytes <= INDEXED_BYTES_MAX) else {
            return Ok(None);
        };
        let Ok(_turn) = indexing.turns.try_acquire() else { return Ok(None) };
        let read_back = |staged: &mut Staged| staged.read_back().map_err(objects::Error::from);
        let (upload, Summary { records, encoding_bytes, .. }) = (indexing.upload, *summary);
        let (matrix, entries) = (read_back(matrix)?, entries.as_mut().map(read_back).transpose()?);
        let (matrix, entries) = (matrix.as_slice(), entries.map(Cursor::new));
        let mut index = self.stage();
        let dataset = layout::Dataset { upload, records, encoding_bytes, matrix, entries };
        match layout::build(dataset, &self.objects, &mut index) {
            Ok(Header { blocks, .. }) => {
                Ok(Some((Dataset { upload, records, encoding_bytes, blocks }, index)))
            }
            Err(error) => {
                tracing::info!("cannot index an upload before it is accepted, a job will: {}", chain(&error));
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use axum::body::Body;
    use tempfile::TempDir;

    use super::super::body::Pieces;
    use super::super::body_reader::receive;
    use super::*;
    use crate::objects::SpoolLimits;

    const JSON: Form = Form::Json { uses_blocking: true, host: None };

    /// Returns what reads a body that is indexed by one of `turns` permits.
    fn spooling(folder: &Path, form: Form, turns: usize) -> Spooling {
        let objects = Objects::open(&folder.join("objects"), &folder.join("spool")).unwrap();
        let limits = SpoolLimits { bytes_max: u64::MAX, disk_free_min: 0 };
        Spooling {
            objects,
            room: Spool::new(vec![folder.to_owned()], limits),
            form,
            version: Version::Numbered,
            indexing: Some(Indexing { upload: 7, turns: Arc::new(Semaphore::new(turns)) }),
        }
    }

    async fn arrived(spooling: Spooling, body: Vec<u8>) -> Inline {
        let pieces = Pieces::new(Body::from(body), u64::MAX).unwrap();
        match receive(pieces, move |incoming| spooling.read(incoming)).await.unwrap().unwrap() {
            Spooled::Inline(inline) => *inline,
            Spooled::Files { .. } => panic!("the encodings are in the body"),
        }
    }

    /// Returns an upload of records that are in two of eleven blocks each.
    fn with_blocks(records: usize) -> Vec<u8> {
        let mut body = String::from("{\"clknblocks\": [");
        for record in 0..records {
            let comma = if record > 0 { "," } else { "" };
            let (first, second) = (record % 7, 7 + record % 4);
            write!(body, "{comma}[\"AQIDBAUGBwg=\", \"{first}\", \"{second}\"]").unwrap();
        }
        (body + "]}").into_bytes()
    }

    #[tokio::test]
    async fn an_index_is_the_same_before_the_upload_is_accepted_and_after() {
        let folder = TempDir::new().unwrap();
        let body = with_blocks(3_000);
        let Inline { beside: Beside::Index(dataset, mut index), .. } =
            arrived(spooling(folder.path(), JSON, 1), body.clone()).await
        else {
            panic!("a small upload is indexed")
        };
        assert_eq!(
            (dataset.upload, dataset.records, dataset.encoding_bytes, dataset.blocks),
            (7, 3_000, 8, 11)
        );
        let Inline { beside: Beside::Entries(Some(mut entries)), mut matrix, .. } =
            arrived(spooling(folder.path(), JSON, 0), body).await
        else {
            panic!("without a permit, a job indexes the upload")
        };
        let mut built = Vec::new();
        let (matrix, entries) = (matrix.read_back().unwrap(), entries.read_back().unwrap());
        let later = layout::Dataset {
            upload: 7,
            records: 3_000,
            encoding_bytes: 8,
            matrix: matrix.as_slice(),
            entries: Some(Cursor::new(entries)),
        };
        layout::build(later, &linkage::scratch::Memory, &mut built).unwrap();
        assert_eq!(index.read_back().unwrap(), built);
    }

    #[tokio::test]
    async fn only_a_small_upload_is_indexed_before_it_is_accepted() {
        let folder = TempDir::new().unwrap();
        let records_max = INDEXED_BYTES_MAX as u32 / 64;
        for (records, is_small) in [(1, true), (records_max, true), (records_max + 1, false)] {
            let form = Form::Binary { records, encoding_bytes: 64 };
            let inline = arrived(spooling(folder.path(), form, 1), vec![5; 64 * records as usize]).await;
            assert_eq!(matches!(inline.beside, Beside::Index(..)), is_small, "{records}");
            assert_eq!(matches!(inline.beside, Beside::Entries(None)), !is_small, "{records}");
        }
    }
}

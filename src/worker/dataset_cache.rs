//! A cache of datasets that are open for comparison.
//!
//! When this process first uses a dataset, it verifies the checksums of the whole index and matrix, once for all parts
//! of all runs. At some gigabytes per second, that takes little time compared with a comparison. A dataset in the
//! cache stays mapped, and is verified again only if its files have changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use linkage::encoding::layout::{CHUNK_BYTES, Damage, Header, Index};
use linkage::similarity::plan::Stored;

use super::Error;
use super::active_jobs::ActiveJob;
use super::open_cache::{Mapped, OpenCache};
use crate::model::ProjectId;
use crate::objects::{Blob, Key, Objects, keys};
use crate::runtime::compute;

/// The maximum number of datasets in the cache. They take address space, not memory, and verifying one again is cheap.
const DATASETS_MAX: usize = 64;

/// The datasets of a job, by dataset index.
pub(super) type OpenDatasets = BTreeMap<u32, Arc<OpenDataset>>;

/// A verified dataset.
#[derive(Debug)]
pub(super) struct OpenDataset {
    header: Header,
    index: Blob,
    matrix: Blob,
}

impl OpenDataset {
    /// Returns the matrix and the block index.
    pub(super) fn stored(&self) -> Result<Stored<'_>, Error> {
        let index =
            Index::reopen(self.header, &self.index).map_err(|damage| damaged(&self.index, &damage))?;
        Ok(Stored { index, matrix: &self.matrix })
    }

    fn verify(index: Blob, matrix: Blob, upload: u32, active: &ActiveJob) -> Result<Self, Error> {
        let sums = Index::parse(&index).map_err(|damage| damaged(&index, &damage))?;
        sums.header().check_upload(upload).map_err(|damage| damaged(&index, &damage))?;
        let (expected, found) = (sums.header().matrix_bytes(), matrix.len() as u64);
        if expected != found {
            return Err(damaged(&matrix, &Damage::Length { object: "matrix", expected, found }));
        }
        for (number, chunk) in (0..).zip(matrix.chunks(CHUNK_BYTES as usize)) {
            if active.cause().is_some() {
                return Err(Error::Cancelled);
            }
            sums.verify_chunk(number, chunk).map_err(|damage| damaged(&matrix, &damage))?;
        }
        let header = *sums.header();
        Ok(Self { header, index, matrix })
    }
}

impl Mapped for OpenDataset {
    fn blobs(&self) -> Vec<&Blob> {
        vec![&self.index, &self.matrix]
    }
}

fn damaged(blob: &Blob, damage: &Damage) -> Error {
    blob.damaged(damage.to_string()).into()
}

/// Caches open datasets by the key of their matrix.
#[derive(Debug)]
pub(super) struct DatasetCache {
    objects: Objects,
    open: OpenCache<OpenDataset>,
}

impl DatasetCache {
    pub(super) fn new(objects: Objects) -> Self {
        Self { open: OpenCache::new(objects.clone(), DATASETS_MAX), objects }
    }

    /// Returns the dataset of an upload. Waits while another job verifies it.
    pub(super) async fn dataset(
        &self,
        project: ProjectId,
        party: u32,
        upload: u32,
        active: &Arc<ActiveJob>,
    ) -> Result<Arc<OpenDataset>, Error> {
        let key = keys::matrix(project, party, upload);
        let index_key = keys::index(project, party, upload);
        let open = async {
            let (matrix, index) = futures::try_join!(self.objects.blob(&key), self.objects.blob(&index_key))?;
            let active = Arc::clone(active);
            let verify = move || OpenDataset::verify(index, matrix, upload, &active);
            let verified = compute::run_blocking(verify).await;
            verified.map_err(|text| Error::panicked(&text))?
        };
        self.open.get_or_open(&key, open).await
    }

    /// Drops the datasets whose matrix has a matching key.
    pub(super) fn forget(&self, matches: impl Fn(&Key) -> bool) {
        self.open.forget(matches);
    }
}

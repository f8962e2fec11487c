//! Datasets that are being compared, open and checked.
//!
//! A dataset is checked as a whole, index and matrix against their checksums, when it is first used in
//! this process: once for all parts of all runs, and before anything is found in it. At some gigabytes a second
//! that is little beside comparing it once. As long as it is kept it stays mapped, and is only checked again if its
//! files were touched.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use super::Error;
use super::active_jobs::ActiveJob;
use crate::linkage::encoding::layout::{CHUNK_BYTES, Damage, Header, Index};
use crate::linkage::similarity::tile::Stored;
use crate::model::ProjectId;
use crate::objects::{self, Blob, Key, Objects, keys};
use crate::runtime::compute;

/// Datasets kept open. More cost address space, not memory; but checking one again is cheap, too.
const DATASETS_MAX: usize = 64;

/// By index, datasets that are compared.
pub(super) type OpenDatasets = BTreeMap<u32, Arc<OpenDataset>>;

/// A dataset, checked.
#[derive(Debug)]
pub(super) struct OpenDataset {
    header: Header,
    index: Blob,
    matrix: Blob,
}

impl OpenDataset {
    /// The rows, and which of them are in which block.
    pub(super) fn stored(&self) -> Result<Stored<'_>, Error> {
        let index =
            Index::reopen(self.header, &self.index).map_err(|damage| damaged(&self.index, &damage))?;
        Ok(Stored { index, matrix: &self.matrix })
    }

    /// Whether all that was read of it could be read.
    fn is_whole(&self) -> bool {
        self.index.check().and_then(|()| self.matrix.check()).is_ok()
    }

    /// Fails if what was read of it since it was checked may not be the dataset.
    pub(super) async fn confirm(&self, objects: &Objects) -> Result<(), objects::Error> {
        futures::try_join!(objects.confirm(&self.index), objects.confirm(&self.matrix)).map(drop)
    }

    fn check(index: Blob, matrix: Blob, active: &ActiveJob) -> Result<Self, Error> {
        let sums = Index::parse(&index).map_err(|damage| damaged(&index, &damage))?;
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

fn damaged(blob: &Blob, damage: &Damage) -> Error {
    blob.damaged(damage.to_string()).into()
}

/// The datasets that are open.
pub(super) struct DatasetCache {
    objects: Objects,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    /// By the key of the matrix: the volume, and when it was last asked for.
    by_key: HashMap<Key, Entry>,
    last_used: u64,
}

struct Entry {
    dataset: Arc<OnceCell<Arc<OpenDataset>>>,
    last_used: u64,
}

impl DatasetCache {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects, entries: Mutex::default() }
    }

    /// The dataset that an upload became. Who asks first waits until it is checked, and so does who asks
    /// meanwhile.
    pub(super) async fn dataset(
        &self,
        project: ProjectId,
        party: u32,
        upload: u32,
        active: &Arc<ActiveJob>,
    ) -> Result<Arc<OpenDataset>, Error> {
        let key = keys::matrix(project, party, upload);
        let index_key = keys::index(project, party, upload);
        self.forget_touched(&key).await?;
        let entry = self.lock().entry(&key);
        let open = async {
            let (matrix, index) = futures::try_join!(self.objects.blob(&key), self.objects.blob(&index_key))?;
            let active = Arc::clone(active);
            let checked = compute::run_blocking(move || OpenDataset::check(index, matrix, &active)).await;
            checked.map_err(|text| Error::panicked(&text))?.map(Arc::new)
        };
        entry.get_or_try_init(|| open).await.cloned()
    }

    /// Closes the dataset with this matrix if somebody has touched its files since it was checked, or they could not be read.
    async fn forget_touched(&self, key: &Key) -> Result<(), Error> {
        let kept = self.lock().by_key.get(key).and_then(|entry| entry.dataset.get().cloned());
        let Some(dataset) = kept else { return Ok(()) };
        let untouched = futures::try_join!(
            self.objects.is_untouched(&dataset.matrix),
            self.objects.is_untouched(&dataset.index)
        );
        if !matches!(untouched, Ok((true, true))) || !dataset.is_whole() {
            self.forget(|kept| kept == key);
        }
        untouched?;
        Ok(())
    }

    /// Closes datasets whose matrices go, so that the disk gets its room back.
    pub(super) fn forget(&self, these: impl Fn(&Key) -> bool) {
        self.lock().by_key.retain(|key, _| !these(key));
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock()
    }
}

impl Entries {
    fn entry(&mut self, key: &Key) -> Arc<OnceCell<Arc<OpenDataset>>> {
        self.last_used += 1;
        let last_used = self.last_used;
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.last_used = last_used;
            return Arc::clone(&entry.dataset);
        }
        if self.by_key.len() >= DATASETS_MAX {
            let oldest =
                self.by_key.iter().min_by_key(|(_, entry)| entry.last_used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.by_key.remove(&oldest));
        }
        let dataset = Arc::default();
        self.by_key.insert(key.clone(), Entry { dataset: Arc::clone(&dataset), last_used });
        dataset
    }
}

impl fmt::Debug for DatasetCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetCache").field("open", &self.lock().by_key.len()).finish_non_exhaustive()
    }
}

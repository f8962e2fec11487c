//! Datasets that are being compared, open and checked.
//!
//! A dataset is checked as a whole, index and matrix against their checksums, when it is first used in
//! this process: once for all parts of all runs, and before anything is found in it. At some gigabytes a second
//! that is little beside comparing it once. As long as it is kept it stays mapped, and is only checked again if its
//! files were touched.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::Error;
use super::active_jobs::Hold;
use crate::linkage::encoding::layout::{CHUNK_BYTES, Damage, Header, Index};
use crate::linkage::similarity::tile::Stored;
use crate::model::ProjectId;
use crate::objects::{self, Blob, Key, Objects, keys};
use crate::runtime::compute;

/// Datasets kept open. More cost address space, not memory; but checking one again is cheap, too.
const DATASETS_MAX: usize = 64;

/// By index, datasets that are compared.
pub(super) type Volumes = BTreeMap<u32, Arc<Volume>>;

/// A dataset, checked.
#[derive(Debug)]
pub(super) struct Volume {
    header: Header,
    index: Blob,
    matrix: Blob,
}

impl Volume {
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

    fn check(index: Blob, matrix: Blob, hold: &Hold) -> Result<Self, Error> {
        let sums = Index::parse(&index).map_err(|damage| damaged(&index, &damage))?;
        let (expected, found) = (sums.header().matrix_bytes(), matrix.len() as u64);
        if expected != found {
            return Err(damaged(&matrix, &Damage::Length { object: "matrix", expected, found }));
        }
        for (number, chunk) in (0..).zip(matrix.chunks(CHUNK_BYTES as usize)) {
            if hold.cause().is_some() {
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
pub(super) struct Library {
    objects: Objects,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// By the key of the matrix: the volume, and when it was last asked for.
    places: HashMap<Key, Place>,
    asked: u64,
}

struct Place {
    volume: Arc<OnceCell<Arc<Volume>>>,
    asked: u64,
}

impl Library {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects, shelf: Mutex::default() }
    }

    /// The dataset that an upload became. Who asks first waits until it is checked, and so does who asks
    /// meanwhile.
    pub(super) async fn volume(
        &self,
        project: ProjectId,
        party: u32,
        upload: u32,
        hold: &Arc<Hold>,
    ) -> Result<Arc<Volume>, Error> {
        let key = keys::matrix(project, party, upload);
        let index_key = keys::index(project, party, upload);
        self.forget_touched(&key).await?;
        let place = self.lock().place(&key);
        let open = async {
            let (matrix, index) = futures::try_join!(self.objects.blob(&key), self.objects.blob(&index_key))?;
            let hold = Arc::clone(hold);
            let checked = compute::aside(move || Volume::check(index, matrix, &hold)).await;
            checked.map_err(|text| Error::panicked(&text))?.map(Arc::new)
        };
        place.get_or_try_init(|| open).await.cloned()
    }

    /// Closes the dataset with this matrix if somebody has touched its files since it was checked, or they could not be read.
    async fn forget_touched(&self, key: &Key) -> Result<(), Error> {
        let kept = self.lock().places.get(key).and_then(|place| place.volume.get().cloned());
        let Some(volume) = kept else { return Ok(()) };
        let untouched = futures::try_join!(
            self.objects.is_untouched(&volume.matrix),
            self.objects.is_untouched(&volume.index)
        );
        if !matches!(untouched, Ok((true, true))) || !volume.is_whole() {
            self.forget(|kept| kept == key);
        }
        untouched?;
        Ok(())
    }

    /// Closes datasets whose matrices go, so that the disk gets its room back.
    pub(super) fn forget(&self, these: impl Fn(&Key) -> bool) {
        self.lock().places.retain(|key, _| !these(key));
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn place(&mut self, key: &Key) -> Arc<OnceCell<Arc<Volume>>> {
        self.asked += 1;
        let asked = self.asked;
        if let Some(place) = self.places.get_mut(key) {
            place.asked = asked;
            return Arc::clone(&place.volume);
        }
        if self.places.len() >= DATASETS_MAX {
            let oldest = self.places.iter().min_by_key(|(_, place)| place.asked).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.places.remove(&oldest));
        }
        let volume = Arc::default();
        self.places.insert(key.clone(), Place { volume: Arc::clone(&volume), asked });
        volume
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("open", &self.lock().places.len()).finish_non_exhaustive()
    }
}

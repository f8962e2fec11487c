//! The handle for creating, reading and removing objects.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkage::scratch::{Scratch, ScratchFile};
use object_store::ObjectStore;
use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::backend::directory::make_private_directory;
use super::backend::{Backend, Chunks, Found, Local, Metered, Remote};
use super::cache::Cached;
use super::temporary::Temporary;
use super::{Blob, Cache, Error, Key, NotOurs, ObjectFile, Owner, Prefix, Removed, Staged, Usage, keys};
use crate::model::job::Holding;
use crate::model::{ProjectId, RunId};
use crate::runtime::clock::Timestamp;
use crate::runtime::outage::OutageTimer;
use crate::system::data_dir::{MOMENTARY, STAGED, is_spooled};
use crate::system::disk;
use crate::system::open_files::{self, patiently};
use crate::system::place::Place;

/// All objects, and the staging directory with the files that will become objects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects(Arc<Inner>, Option<Owner>);

#[derive(Debug)]
struct Inner {
    backend: Box<dyn Backend>,
    staging: PathBuf,
    /// The file system of the staging directory.
    staged_at: Place,
    outage: OutageTimer,
}

impl Objects {
    /// Opens objects as files below `root`. Creates missing directories. Only this process may use them, so files in
    /// `staging` were left by a crash and are removed. If the two directories are on different file systems, files are
    /// copied to become objects.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn open(root: &Path, staging: &Path) -> Result<Self, Error> {
        let objects = Self::with_backend(Metered(Local::open(root)?), staging)?;
        if fs::metadata(root)?.dev() != fs::metadata(staging)?.dev() {
            tracing::info!(
                "{} and {} are on different file systems: each upload is copied once more; with both on one it is renamed",
                staging.display(),
                root.display()
            );
        }
        Ok(objects)
    }

    /// Returns the objects in any store, with an optional cache. Creates `staging` if it is missing. Only this process
    /// may use it, so files in it were left by a crash and are removed.
    ///
    /// # Errors
    /// [`Error::Storage`], for the staging directory.
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub fn over(store: Arc<dyn ObjectStore>, staging: &Path, cache: Option<Cache>) -> Result<Self, Error> {
        let runtime = Handle::current();
        let remote = Remote::new(store, runtime.clone(), staging);
        match cache {
            None => Self::with_backend(Metered(remote), staging),
            Some(cache) => Self::with_backend(Metered(Cached::new(remote, cache, runtime, staging)), staging),
        }
    }

    fn with_backend(backend: impl Backend + 'static, staging: &Path) -> Result<Self, Error> {
        make_private_directory(staging)?;
        remove_left_behind(staging)?;
        let (staged_at, staging) = (Place::on_file_system(staging)?, staging.to_owned());
        let inner = Inner { backend: Box::new(backend), staging, staged_at, outage: OutageTimer::default() };
        Ok(Self(Arc::new(inner), None))
    }

    /// Sets the claim to the store, which is confirmed before each clean-up.
    #[must_use]
    pub fn with_owner(self, owner: Owner) -> Self {
        Self(self.0, Some(owner))
    }

    /// Checks that the store still belongs to this server, before a clean-up removes objects.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub async fn confirm_owner(&self) -> Result<(), NotOurs> {
        match &self.1 {
            Some(owner) => owner.confirm().await,
            None => Ok(()),
        }
    }

    /// Records that the store failed, and returns how long it has been failing. Returns `None` for local files on a
    /// disk that accepts writes: there a retry does not help.
    pub async fn silence(&self) -> Option<Duration> {
        let disk_works = self.0.backend.directory().is_some() && self.check_writable().await.is_ok();
        (!disk_works).then(|| self.0.outage.record_failure())
    }

    /// Records that a write failed.
    pub(super) fn has_failed(&self, error: &Error) {
        if error.may_pass() {
            self.0.outage.record_failure();
        }
    }

    /// Records that the store has answered.
    pub fn has_answered(&self) {
        if self.0.outage.record_success() {
            tracing::info!("the object store is available again");
        }
    }

    /// Returns true if the store is failing.
    pub fn is_away(&self) -> bool {
        self.0.outage.is_failing()
    }

    /// Returns empty content that may become an object. Writing to it may block.
    pub fn stage(&self) -> Staged {
        Staged::new(self.clone())
    }

    /// Creates an empty file in the staging directory, which is created again if it was removed.
    pub(super) fn staging_file(&self) -> io::Result<NamedTempFile> {
        let (place, staging) = (&self.0.staged_at, &self.0.staging);
        let make = || {
            place.check()?;
            tempfile::Builder::new().prefix(STAGED).tempfile_in(staging)
        };
        patiently(|| match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o700).create(staging)?;
                make()
            }
            made => made,
        })
    }

    pub(super) async fn adopt(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        let published = self.0.backend.publish(file, key).await;
        published.inspect_err(|error| self.has_failed(error)).inspect(|()| self.has_answered())
    }

    /// Returns the object's bytes as one slice: maps its file, or a downloaded copy.
    ///
    /// # Errors
    /// [`Error::Missing`]; for a download also [`Error::Full`], [`Error::Damaged`] and [`Error::Storage`].
    pub async fn blob(&self, key: &Key) -> Result<Blob, Error> {
        let (objects, key) = (self.clone(), key.clone());
        spawn_blocking(move || Blob::map(&key, objects.read(&key)?)).await?
    }

    /// Returns true if the mapped file was neither replaced nor written to, judging by its attributes. Always true for
    /// a file without a name, which only this process can access.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn is_untouched(&self, blob: &Blob) -> Result<bool, Error> {
        self.0.backend.is_untouched(blob).await
    }

    /// Fails if the bytes read from `blob` so far may differ from the object's, because its file was truncated or
    /// written to, or could not be read.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Storage`].
    pub async fn confirm(&self, blob: &Blob) -> Result<(), Error> {
        blob.check()?;
        match self.is_untouched(blob).await {
            // A file without a name does not change.
            Ok(true) | Err(Error::Missing { .. }) => Ok(()),
            Ok(false) => Err(blob.damaged("it was changed while it was read")),
            Err(error) => Err(error),
        }
    }

    /// Opens the object as a file, to be read from its start. Blocks, so it must not be called on a thread of the async
    /// runtime.
    ///
    /// # Errors
    /// Like [`Objects::blob`].
    pub fn read(&self, key: &Key) -> Result<ObjectFile, Error> {
        self.0.backend.read(key)
    }

    /// Returns the object's size and its bytes as a stream that holds one chunk at a time. If the object is removed
    /// meanwhile, the stream continues to its end if the store permits that.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`]; the latter may also come out of the stream.
    pub async fn stream(&self, key: &Key) -> Result<(u64, Chunks), Error> {
        let (found, chunks) = self.0.backend.get(key, None).await?;
        Ok((found.size, chunks))
    }

    /// Returns the attributes of an object without reading it; its ETag without quotes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn find(&self, key: &Key) -> Result<Found, Error> {
        let found = self.0.backend.head(key).await?;
        Ok(Found { etag: found.etag.trim_matches('"').to_owned(), ..found })
    }

    /// Returns a range of the object's bytes as a stream, like [`stream`](Self::stream).
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`]; the latter may also come out of the stream.
    pub async fn range(&self, key: &Key, range: Range<u64>) -> Result<Chunks, Error> {
        Ok(self.0.backend.get(key, Some(range)).await?.1)
    }

    /// Returns the object's size in bytes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn size(&self, key: &Key) -> Result<u64, Error> {
        Ok(self.0.backend.head(key).await?.size)
    }

    /// Returns true if the object exists.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn exists(&self, key: &Key) -> Result<bool, Error> {
        match self.size(key).await {
            Ok(_) => Ok(true),
            Err(Error::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes an object permanently; returns false if there was none.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn delete(&self, key: &Key) -> Result<bool, Error> {
        self.0.backend.delete(key).await
    }

    /// Removes every object below `prefix` permanently, and returns their count. Checks with another listing that none
    /// is left.
    ///
    /// # Errors
    /// [`Error::Storage`], also if objects were added in the meantime.
    pub async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error> {
        self.0.backend.delete_prefix(prefix).await
    }

    /// Returns the usage of the cache, if there is one.
    pub fn cache_use(&self) -> Option<Usage> {
        self.0.backend.cache_use()
    }

    /// Drops the cached copies of objects that other processes have removed; returns their keys.
    pub async fn sweep_copies(&self) -> Vec<Key> {
        self.0.backend.sweep_copies().await
    }

    /// Returns the projects that have objects, in no particular order.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn projects(&self) -> Result<Vec<ProjectId>, Error> {
        Ok(self.children(&keys::projects()).await?.iter().filter_map(|name| ProjectId::parse(name)).collect())
    }

    /// Returns the objects of a project.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn holding(&self, project: ProjectId) -> Result<Holding, Error> {
        let mut holding = Holding { project, uploads: Vec::new(), runs: Vec::new() };
        for party in self.children(&keys::parties(project)).await?.iter().filter_map(|name| name.parse().ok())
        {
            let uploads = self.children(&keys::party(project, party)).await?;
            holding.uploads.extend(uploads.iter().filter_map(|name| Some((party, name.parse().ok()?))));
        }
        for run in self.children(&keys::runs(project)).await?.iter().filter_map(|name| RunId::parse(name)) {
            let pairs = self.children(&keys::run(project, run)).await?.iter().any(|name| name == "pairs");
            holding.runs.push((run, pairs || self.exists(&keys::plan(project, run)).await?));
        }
        Ok(holding)
    }

    /// Removes files in the staging directory that have not been written to for longer than `age`, and returns their
    /// count. A file in use is never that old.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn remove_stale(&self, now: Timestamp, age: Duration) -> Result<u64, Error> {
        let staging = self.0.staging.clone();
        Ok(spawn_blocking(move || remove_stale(&staging, now, age)).await??)
    }

    /// Returns the "directories" directly below a prefix: names that have further names below them.
    async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error> {
        self.0.backend.children(prefix).await
    }

    /// Returns true if objects are local files.
    pub fn are_local(&self) -> bool {
        self.0.backend.directory().is_some()
    }

    /// Returns the local directories of objects and of staged files.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = vec![self.0.staging.clone()];
        directories.extend(self.0.backend.directory().map(Path::to_owned));
        directories
    }

    /// Checks that the store answers, accepts the credentials, and has the bucket. Cheap.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn probe(&self) -> Result<(), Error> {
        self.0.backend.probe().await?;
        if self.0.backend.directory().is_none() {
            return Ok(());
        }
        let staged_at = self.0.staged_at.clone();
        spawn_blocking(move || staged_at.check()).await??;
        self.confirm_owner().await.map_err(io::Error::other)?;
        if self.is_away() { self.check_writable().await } else { Ok(()) }
    }

    /// Returns the displayed location of the store; `None` if objects are local files.
    pub fn describe(&self) -> Option<String> {
        let owner = self.1.as_ref().filter(|_| self.0.backend.directory().is_none())?;
        Some(owner.place().to_owned())
    }

    /// Checks that the disks of objects and of staged files accept writes.
    async fn check_writable(&self) -> Result<(), Error> {
        let staging = self.0.staging.clone();
        spawn_blocking(move || disk::takes_writes(&staging)).await??;
        self.0.backend.check_writable().await?;
        self.has_answered();
        Ok(())
    }
}

/// Provides temporary files without a name: none of them outlives the process.
impl Scratch for Objects {
    fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(Temporary::in_directory(&self.0.staging)))
    }

    fn merged_at_once(&self) -> usize {
        open_files::merged_at_once()
    }
}

fn remove_stale(staging: &Path, now: Timestamp, age: Duration) -> io::Result<u64> {
    // The file system may use another clock, which is behind.
    let now = file_system_time(staging).map_or(now, |theirs| now.min(theirs));
    let mut count = 0;
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        // The file may have been published or removed in the meantime.
        let Ok(metadata) = entry.metadata() else { continue };
        if !is_ours(&entry.file_name(), &metadata) {
            continue;
        }
        let written = written_at(&metadata);
        if now.since(written) > age && fs::remove_file(entry.path()).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

/// Returns the present time by the clock of a directory's file system.
fn file_system_time(directory: &Path) -> io::Result<Timestamp> {
    let probe = tempfile::Builder::new().tempfile_in(directory)?;
    Ok(written_at(&probe.as_file().metadata()?))
}

fn written_at(file: &fs::Metadata) -> Timestamp {
    Timestamp::from_micros(file.mtime().saturating_mul(1_000_000))
}

fn remove_left_behind(staging: &Path) -> io::Result<()> {
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        if is_ours(&entry.file_name(), &entry.metadata()?) {
            fs::remove_file(entry.path())?;
        } else {
            tracing::warn!(path = %entry.path().display(), "an unknown file in the spool directory is kept");
        }
    }
    Ok(())
}

/// Returns true if this program made a file in the staging directory: a staged file, a probe, or a temporary file that
/// a crash has left before it was written and unlinked.
fn is_ours(name: &OsStr, found: &fs::Metadata) -> bool {
    let is_named = |name: &str| is_spooled(name) && (found.len() == 0 || !name.starts_with(MOMENTARY));
    found.is_file() && name.to_str().is_some_and(is_named)
}

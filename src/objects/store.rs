//! The one handle through which objects are made, read and removed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt};
use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use super::blob::Stamp;
use super::local::{Local, make_private_directory};
use super::location::files;
use super::metered::{metered, metered_here};
use super::{Blob, Cache, Error, Key, NotOurs, ObjectFile, Owner, Prefix, Removed, Staged, keys, remote};
use crate::linkage::scratch::{Scratch, ScratchFile};
use crate::model::job::Holding;
use crate::model::{ProjectId, RunId};
use crate::runtime::clock::Timestamp;
use crate::runtime::outage::OutageTimer;
use crate::system::disk;
use crate::system::open_files::{self, patiently, patiently_async};
use crate::system::place::Place;

/// Bytes of a piece of a streamed file.
const CHUNK_BYTES: usize = 256 << 10;

/// Prefix of the names of staged files.
const STAGED: &str = "staged-";

/// An object's bytes, piece by piece.
pub type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// Attributes of an object.
#[derive(Clone, Debug)]
pub struct Found {
    /// Bytes in it.
    pub size: u64,
    /// The time of creation.
    pub modified: Timestamp,
    /// The store's own name for this content, without quotes.
    pub etag: String,
}

/// All objects, and the directory in which files wait to become objects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects(Arc<Inner>, Option<Owner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    form: Form,
    staging: PathBuf,
    /// The file system of the staging directory.
    staged_at: Place,
    outage: OutageTimer,
}

/// The two forms of a store.
#[derive(Debug)]
enum Form {
    /// Files of this machine, which need not be copied.
    Local(Arc<Local>),
    /// A store to which threads that may block reach through the runtime; and copies of what was read from it.
    Remote(Handle, Option<Arc<Cache>>),
}

impl Objects {
    /// Objects as files below `root`. Both directories are made if they are missing and belong to this process: whatever
    /// lies in `staging` was left by a crash and is removed. If they are on different file systems, files are copied to
    /// become objects.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn open(root: &Path, staging: &Path) -> Result<Self, Error> {
        let local = Local::open(root)?;
        let objects = Self::new(files(root)?, Form::Local(Arc::new(local)), staging)?;
        if fs::metadata(root)?.dev() != fs::metadata(staging)?.dev() {
            tracing::info!(
                "{} and {} are on different file systems: each upload is copied once more; with both on one it is renamed",
                staging.display(),
                root.display()
            );
        }
        Ok(objects)
    }

    /// Objects in any store, and copies of what was read from it. `staging` is made if it is missing and belongs to
    /// this process: whatever lies in it was left by a crash and is removed.
    ///
    /// # Errors
    /// [`Error::Storage`], for the staging directory.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn over(store: Arc<dyn ObjectStore>, staging: &Path, cache: Option<Cache>) -> Result<Self, Error> {
        Self::new(store, Form::Remote(Handle::current(), cache.map(Arc::new)), staging)
    }

    fn new(store: Arc<dyn ObjectStore>, form: Form, staging: &Path) -> Result<Self, Error> {
        make_private_directory(staging)?;
        remove_left_behind(staging)?;
        let (staged_at, staging) = (Place::on_file_system(staging)?, staging.to_owned());
        let inner = Inner { store, form, staging, staged_at, outage: OutageTimer::default() };
        Ok(Self(Arc::new(inner), None))
    }

    /// The same, for an owner who has to be the store's at each clean-up.
    #[must_use]
    pub fn with_owner(self, owner: Owner) -> Self {
        Self(self.0, Some(owner))
    }

    /// Makes sure that the store is ours, before objects are removed that no one has named.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub async fn confirm_owner(&self) -> Result<(), NotOurs> {
        match &self.1 {
            Some(owner) => owner.confirm().await,
            None => Ok(()),
        }
    }

    /// Records that the store failed, and returns for how long it has. Nothing where objects are files of this
    /// machine and its disk takes what is written: a file that cannot be read does not come back by waiting.
    pub async fn silence(&self) -> Option<Duration> {
        match &self.0.form {
            Form::Remote(..) => Some(self.0.outage.record_failure()),
            Form::Local(_) => self.takes_writes().await.is_err().then(|| self.0.outage.record_failure()),
        }
    }

    /// Notes that something could not be written.
    pub(super) fn has_failed(&self, error: &Error) {
        if error.may_pass() {
            self.0.outage.record_failure();
        }
    }

    /// Notes that the store has answered.
    pub fn has_answered(&self) {
        if self.0.outage.record_success() {
            tracing::info!("the object store answers again");
        }
    }

    /// Returns true if the store did not answer the latest call.
    pub fn is_away(&self) -> bool {
        self.0.outage.is_failing()
    }

    /// An empty file that may become an object. Blocks for the moment that takes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`].
    pub fn stage(&self) -> Result<Staged, Error> {
        let file = patiently(|| self.0.staging_file());
        let file = file.map_err(Error::from).inspect_err(|error| self.has_failed(error))?;
        Ok(Staged::new(self.clone(), file))
    }

    pub(super) async fn adopt(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        let published = metered("publish", async {
            match &self.0.form {
                Form::Local(local) => {
                    let (local, key) = (Arc::clone(local), key.clone());
                    spawn_blocking(move || local.place(file, &key)).await?
                }
                Form::Remote(..) => remote::upload(&*self.0.store, file, key).await,
            }
        })
        .await;
        published.inspect_err(|error| self.has_failed(error)).inspect(|()| self.has_answered())
    }

    /// The object's bytes as one slice: its file mapped, or a copy of it fetched and mapped.
    ///
    /// # Errors
    /// [`Error::Missing`]; for a copy also [`Error::Full`], [`Error::Damaged`] and [`Error::Storage`].
    pub async fn blob(&self, key: &Key) -> Result<Blob, Error> {
        let (objects, key) = (self.clone(), key.clone());
        spawn_blocking(move || Blob::map(&key, objects.read(&key)?)).await?
    }

    /// Returns true if the object is still the one that was mapped, by its file's attributes: it was neither
    /// replaced nor written to. Always true for a copy that only this process can reach.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn is_untouched(&self, blob: &Blob) -> Result<bool, Error> {
        let (key, stamp) = (blob.key().clone(), blob.stamp());
        match (&self.0.form, blob.copy().map(Path::to_owned)) {
            (Form::Local(local), _) => {
                let local = Arc::clone(local);
                Ok(spawn_blocking(move || local.stamp(&key)).await?? == stamp)
            }
            (Form::Remote(..), None) => Ok(true),
            (Form::Remote(..), Some(path)) => {
                let found = spawn_blocking(move || fs::metadata(path)).await?;
                // What has lost its name stays what it was.
                Ok(found.map_or(true, |found| Stamp::of(&found) == stamp))
            }
        }
    }

    /// Fails if what was read of `blob` so far may not be the object: its file was cut or written to, or could not be read.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Storage`].
    pub async fn confirm(&self, blob: &Blob) -> Result<(), Error> {
        blob.check()?;
        match self.is_untouched(blob).await {
            // A file that has lost its name stays what it was.
            Ok(true) | Err(Error::Missing { .. }) => Ok(()),
            Ok(false) => Err(blob.damaged("it was changed while it was read")),
            Err(error) => Err(error),
        }
    }

    /// The object as a file to read from its start, for what is too much to be mapped.
    /// Blocks: for threads that compute, not for those of the runtime.
    ///
    /// # Errors
    /// As [`Objects::blob`].
    pub fn read(&self, key: &Key) -> Result<ObjectFile, Error> {
        let Inner { store, form, staging, .. } = &*self.0;
        metered_here("read", || match form {
            Form::Local(local) => Ok(ObjectFile::whole(local.file(key)?)?),
            Form::Remote(runtime, Some(cache)) => runtime.block_on(cache.read(&**store, key, staging)),
            Form::Remote(runtime, None) => {
                let copy = patiently(|| tempfile::tempfile_in(staging))?;
                runtime.block_on(remote::download(&**store, key, copy))
            }
        })
    }

    /// The object's size and its bytes as a stream that holds one piece at a time. A stream that has begun
    /// ends well even if the object is removed meanwhile, where the store allows it.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`]; the latter may also come out of the stream.
    pub async fn stream(&self, key: &Key) -> Result<(u64, Chunks), Error> {
        metered("stream", async {
            let path = key.path();
            let missing = |error| Error::from_store(key, error);
            self.can_open(key).await?;
            let found = patiently_async(|| self.0.store.get(&path)).await.map_err(missing);
            let found = self.in_place(found).await?;
            let size = found.meta.size;
            let chunks = match found.payload {
                GetResultPayload::File(file, _) => {
                    let file = tokio::fs::File::from_std(file);
                    ReaderStream::with_capacity(file, CHUNK_BYTES).map_err(Error::from).boxed()
                }
                GetResultPayload::Stream(stream) => stream.map_err(Error::from).boxed(),
            };
            Ok((size, chunks))
        })
        .await
    }

    /// Returns the attributes of an object without reading it.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn find(&self, key: &Key) -> Result<Found, Error> {
        let found = self.0.store.head(&key.path()).await.map_err(|error| Error::from_store(key, error));
        let found = self.in_place(found).await?;
        let etag = found.e_tag.unwrap_or_default().trim_matches('"').to_owned();
        let modified = Timestamp::from_micros(found.last_modified.timestamp_micros());
        Ok(Found { size: found.size, modified, etag })
    }

    /// Some of the object's bytes as a stream, as [`stream`](Self::stream) gives all.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`]; the latter may also come out of the stream.
    pub async fn range(&self, key: &Key, range: Range<u64>) -> Result<Chunks, Error> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let path = key.path();
        let open = || self.0.store.get_opts(&path, options.clone());
        self.can_open(key).await?;
        let found = patiently_async(open).await.map_err(|error| Error::from_store(key, error));
        let found = self.in_place(found).await?;
        Ok(found.into_stream().map_err(Error::from).boxed())
    }

    /// The object's size in bytes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn size(&self, key: &Key) -> Result<u64, Error> {
        metered("size", async {
            let found = self.0.store.head(&key.path()).await;
            let found = found.map(|meta| meta.size).map_err(|error| Error::from_store(key, error));
            self.in_place(found).await
        })
        .await
    }

    /// Makes sure that an object that is a file can be opened without waiting for another process.
    async fn can_open(&self, key: &Key) -> Result<(), Error> {
        let Form::Local(local) = &self.0.form else { return Ok(()) };
        let (local, key) = (Arc::clone(local), key.clone());
        spawn_blocking(move || local.can_open(&key)).await?
    }

    /// Returns `found`. An object is missing only if the directory is the one that was opened.
    async fn in_place<T>(&self, found: Result<T, Error>) -> Result<T, Error> {
        if let (Form::Local(local), Err(Error::Missing { .. })) = (&self.0.form, &found) {
            let local = Arc::clone(local);
            spawn_blocking(move || local.is_in_place()).await??;
        }
        found
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

    /// Removes an object, for good when this answers; false if there was none.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn delete(&self, key: &Key) -> Result<bool, Error> {
        let deleted = metered("delete", async {
            match &self.0.form {
                Form::Local(local) => {
                    let (local, key) = (Arc::clone(local), key.clone());
                    spawn_blocking(move || local.remove(&key)).await?
                }
                Form::Remote(..) => {
                    let existed = self.exists(key).await?;
                    match self.0.store.delete(&key.path()).await {
                        Ok(()) => Ok(existed),
                        Err(object_store::Error::NotFound { .. }) => Ok(false),
                        Err(error) => Err(error.into()),
                    }
                }
            }
        })
        .await;
        let key = key.clone();
        self.forget_copies(move |kept| *kept == key).await?;
        deleted
    }

    /// Removes every object below `prefix`, for good when this answers, and says what there was. Looks
    /// again afterwards: the answer means that nothing is left.
    ///
    /// # Errors
    /// [`Error::Storage`], also if objects were added meanwhile.
    pub async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error> {
        let deleted = metered("delete_prefix", async {
            let removed = match &self.0.form {
                Form::Local(local) => {
                    let (local, prefix) = (Arc::clone(local), prefix.clone());
                    spawn_blocking(move || local.remove_all(&prefix)).await??
                }
                Form::Remote(..) => self.delete_listed(prefix).await?,
            };
            match self.0.store.list(Some(&prefix.path())).try_next().await? {
                None => Ok(removed),
                Some(left) => {
                    Err(io::Error::other(format!("{} appeared while {prefix} was removed", left.location))
                        .into())
                }
            }
        })
        .await;
        let prefix = prefix.clone();
        self.forget_copies(move |kept| prefix.holds(kept)).await?;
        deleted
    }

    /// Drops the copies of objects that go, whether the store has removed them already or does so at another try.
    async fn forget_copies(&self, these: impl Fn(&Key) -> bool + Send + 'static) -> Result<(), Error> {
        if let Form::Remote(_, Some(cache)) = &self.0.form {
            let cache = Arc::clone(cache);
            spawn_blocking(move || cache.forget(these)).await?;
        }
        Ok(())
    }

    /// Drops the copies of objects that others have removed from a store beyond this machine, and says which.
    pub async fn sweep_copies(&self) -> Vec<Key> {
        match &self.0.form {
            Form::Remote(_, Some(cache)) => cache.sweep(&*self.0.store).await,
            _ => Vec::new(),
        }
    }

    /// The projects of which there are objects, in no particular order.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn projects(&self) -> Result<Vec<ProjectId>, Error> {
        Ok(self.children(&keys::projects()).await?.iter().filter_map(|name| ProjectId::parse(name)).collect())
    }

    /// Returns the objects that exist of a project.
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

    /// Removes files that have been waiting to become objects for longer than `age` without being written to, and counts
    /// them. A file that is in use is not that old; one of a crash is removed at the next start.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn remove_stale(&self, now: Timestamp, age: Duration) -> Result<u64, Error> {
        let staging = self.0.staging.clone();
        Ok(spawn_blocking(move || remove_stale(&staging, now, age)).await??)
    }

    /// The names just below a prefix that have something below themselves.
    async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error> {
        let found = self.0.store.list_with_delimiter(Some(&prefix.path())).await?;
        let names = found.common_prefixes.iter().filter_map(|prefix| prefix.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// The directories of this machine in which there are objects, or files that wait to become some.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = vec![self.0.staging.clone()];
        if let Form::Local(local) = &self.0.form {
            directories.push(local.root().to_owned());
        }
        directories
    }

    /// Checks that the store answers, accepts the credentials, and has the bucket. Cheap.
    ///
    /// # Errors
    /// [`Error::Storage`], if it does not.
    pub async fn probe(&self) -> Result<(), Error> {
        match &self.0.form {
            Form::Local(local) => {
                let (local, staged_at) = (Arc::clone(local), self.0.staged_at.clone());
                spawn_blocking(move || local.is_in_place().and_then(|()| staged_at.check())).await??;
                self.confirm_owner().await.map_err(io::Error::other)?;
                if self.is_away() { self.takes_writes().await } else { Ok(()) }
            }
            // A missing bucket looks like a missing object, except in a listing.
            Form::Remote(..) => {
                metered("probe", async {
                    let found = self.0.store.list_with_delimiter(Some(&keys::probe().path())).await;
                    Ok(found.map(drop)?)
                })
                .await
            }
        }
    }

    /// Checks that the disks accept writes, of objects and of staged files.
    async fn takes_writes(&self) -> Result<(), Error> {
        let Form::Local(local) = &self.0.form else { return Ok(()) };
        let (local, staging) = (Arc::clone(local), self.0.staging.clone());
        spawn_blocking(move || disk::takes_writes(&staging).and_then(|()| local.takes_writes())).await??;
        self.has_answered();
        Ok(())
    }

    async fn delete_listed(&self, prefix: &Prefix) -> Result<Removed, Error> {
        let bytes = Arc::new(AtomicU64::new(0));
        let listed = Arc::clone(&bytes);
        let found = self.0.store.list(Some(&prefix.path())).map_ok(move |object| {
            listed.fetch_add(object.size, Ordering::Relaxed);
            object.location
        });
        let deleted = self.0.store.delete_stream(found.boxed());
        let objects = deleted.try_fold(0, |count, _| async move { Ok(count + 1) }).await?;
        Ok(Removed { objects, bytes: bytes.load(Ordering::Relaxed) })
    }
}

impl Inner {
    /// An empty file in the staging directory, which is made again if it was removed.
    fn staging_file(&self) -> io::Result<NamedTempFile> {
        let make = || {
            self.staged_at.check()?;
            tempfile::Builder::new().prefix(STAGED).tempfile_in(&self.staging)
        };
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o700).create(&self.staging)?;
                make()
            }
            made => made,
        }
    }
}

/// Temporary files without a name: nothing of them outlives the process.
impl Scratch for Objects {
    fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(patiently(|| tempfile::tempfile_in(&self.0.staging))?))
    }

    fn merged_at_once(&self) -> usize {
        open_files::merged_at_once()
    }
}

fn remove_stale(staging: &Path, now: Timestamp, age: Duration) -> io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        if !is_ours(&entry.file_name()) {
            continue;
        }
        // It may be gone by now: its owner has used it.
        let Ok(metadata) = entry.metadata() else { continue };
        let written = Timestamp::from_micros(metadata.mtime().saturating_mul(1_000_000));
        if metadata.is_file() && now.since(written) > age && fs::remove_file(entry.path()).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

fn remove_left_behind(staging: &Path) -> io::Result<()> {
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        if is_ours(&entry.file_name()) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        } else {
            tracing::warn!(path = %entry.path().display(), "a file that is not ours lies in the spool, and stays");
        }
    }
    Ok(())
}

/// Returns true if a name in the staging directory is one that staged files get.
fn is_ours(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| [STAGED, ".tmp"].iter().any(|start| name.starts_with(start)))
}

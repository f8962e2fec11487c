//! Partial uploads, which arrive in several requests. Their bytes are stored on this node until the upload is complete,
//! cancelled or expired.

mod record;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::spawn_blocking;

pub use record::{Form, Record};

use super::Error;
use super::backend::directory::make_private_directory;
use super::spool::{Share, Spool};
use crate::model::{PartialUploadId, ProjectId};
use crate::runtime::clock::{Clock, Stopwatch, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::{RECORD, write_durably};
use crate::system::open_files::patiently;
use crate::system::regular;
use crate::telemetry::chain;

/// The maximum number of open uploads of one party.
pub const OF_PARTY_MAX: usize = 16;
/// The name of the file with the beginning of the identifiers of this node.
const NODE: &str = "node";
/// The number of bytes after which the file is synced and the offset recorded while an upload continues.
const STEP_BYTES: u64 = 8 << 20;
/// The number of bytes that are written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Limits on partial uploads.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number of open uploads, with the records of accepted ones.
    pub open_max: usize,
    /// The time without a request after which an upload is removed.
    pub expiry: Duration,
}

/// The reason why no upload is opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// The party has reached its limit.
    #[error("this party has {OF_PARTY_MAX} open uploads")]
    OfParty,
    /// This node has reached its limit.
    #[error("this node has reached its limit of open uploads (--partial-uploads-max)")]
    OfNode,
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// The reason why an upload is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The upload was completed or cancelled, has expired, or never existed.
    Gone,
    /// Another node has the upload.
    Elsewhere,
}

/// The partial uploads of this node. Cheap to clone.
#[derive(Clone)]
pub struct PartialUploads(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    /// The beginning of each identifier of this node.
    node: [u8; 4],
    spool: Spool,
    limits: Limits,
    clock: Clock,
    entropy: Entropy,
    open: Mutex<HashMap<PartialUploadId, Arc<Partial>>>,
}

impl fmt::Debug for PartialUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartialUploads").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

/// One partial upload.
pub struct Partial {
    id: PartialUploadId,
    /// The project.
    pub project: ProjectId,
    /// The party.
    pub party: u32,
    /// The number of requests so far. A new request ends the previous one.
    requests: watch::Sender<u64>,
    state: Arc<tokio::sync::Mutex<State>>,
    used: Mutex<Used>,
}

/// The time since the last use of an upload.
#[derive(Clone, Copy)]
struct Used {
    since: Stopwatch,
    /// The share of the time before this process started.
    before: Duration,
}

struct State {
    record: Record,
    share: Share,
    is_removed: bool,
}

impl PartialUploads {
    /// Opens the uploads in `folder`, which is created if it is missing. Cuts off bytes beyond the recorded offset,
    /// which may not be on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn open(
        folder: &Path,
        spool: Spool,
        limits: Limits,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, Error> {
        make_private_directory(folder)?;
        let node = node(folder, &entropy)?;
        let mut open: HashMap<_, Arc<Partial>> = HashMap::new();
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        for name in names {
            let Some(id) = PartialUploadId::parse(name.get(..48).unwrap_or_default()) else { continue };
            match name.get(48..).unwrap_or_default() {
                RECORD => {
                    if let Some(partial) = restored(folder, id, &spool, clock.now())? {
                        open.insert(id, Arc::new(partial));
                    }
                }
                "" if record::path(folder, id).exists() => {}
                // A crash has left this file. It may have been removed already, with a damaged record.
                _ => {
                    regular::remove(&folder.join(&name))?;
                }
            }
        }
        let resumable = open.values().filter(|partial| !partial.is_accepted()).count();
        if resumable > 0 {
            tracing::info!(uploads = resumable, "partial uploads can be resumed");
        }
        let open = Mutex::new(open);
        let inner = Inner { folder: folder.to_owned(), node, spool, limits, clock, entropy, open };
        Ok(Self(Arc::new(inner)))
    }

    /// Returns the spool space, which partial uploads share with other uploads.
    pub fn spool(&self) -> &Spool {
        &self.0.spool
    }

    /// Returns the time without a request after which an upload is removed.
    pub fn expiry(&self) -> Duration {
        self.0.limits.expiry
    }

    /// Opens an upload without any bytes. If the party has reached its limit, removes its oldest upload without bytes. If
    /// this node has, removes the oldest record of an accepted upload.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub async fn begin(&self, record: Record) -> Result<Arc<Partial>, NotOpened> {
        let (project, party) = (record.project, record.party);
        let mine = self.these(|partial| (partial.project, partial.party) == (project, party));
        if mine.len() >= OF_PARTY_MAX {
            let empty = mine.into_iter().filter(|partial| partial.is_idle_and_empty());
            let oldest = empty.max_by_key(|partial| partial.idle()).ok_or(NotOpened::OfParty)?;
            self.remove(&oldest).await?;
        }
        let mut bytes: [u8; 24] = self.0.entropy.bytes();
        bytes[..4].copy_from_slice(&self.0.node);
        let id = PartialUploadId::from_bytes(bytes);
        let share = self.0.spool.share();
        let partial = Arc::new(Partial::new(id, record.clone(), share, Duration::ZERO));
        while !self.insert(&partial) {
            let accepted = self.these(Partial::is_accepted);
            let oldest =
                accepted.into_iter().max_by_key(|partial| partial.idle()).ok_or(NotOpened::OfNode)?;
            self.remove(&oldest).await?;
        }
        let folder = self.0.folder.clone();
        let create = move || {
            patiently(|| open_file(&folder, id))?;
            record.write(&folder, id)
        };
        if let Err(error) = spawn_blocking(create).await.map_err(io::Error::other).flatten() {
            let _ = self.remove(&partial).await;
            return Err(NotOpened::Storage(error.into()));
        }
        Ok(partial)
    }

    /// Adds an upload, and returns true, unless this node has reached its limit.
    fn insert(&self, partial: &Arc<Partial>) -> bool {
        let mut open = self.open_ones();
        let has_room = open.len() < self.0.limits.open_max;
        if has_room {
            open.insert(partial.id, Arc::clone(partial));
        }
        has_room
    }

    /// Returns an upload of a party.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn find(
        &self,
        project: ProjectId,
        party: u32,
        id: Option<PartialUploadId>,
    ) -> Result<Arc<Partial>, Unknown> {
        let id = id.ok_or(Unknown::Gone)?;
        if id.as_bytes()[..4] != self.0.node {
            return Err(Unknown::Elsewhere);
        }
        let found = self.open_ones().get(&id).cloned();
        found.filter(|partial| (partial.project, partial.party) == (project, party)).ok_or(Unknown::Gone)
    }

    /// Starts a request about an upload: ends the previous one, and waits for its end.
    ///
    /// # Errors
    /// [`Unknown::Gone`], if the upload was removed in the meantime.
    pub async fn enter(&self, partial: &Arc<Partial>) -> Result<Request, Unknown> {
        let mut number = 0;
        partial.requests.send_modify(|requests| {
            *requests += 1;
            number = *requests;
        });
        let requests = partial.requests.subscribe();
        let state = Arc::clone(&partial.state).lock_owned().await;
        partial.touch();
        if state.is_removed {
            return Err(Unknown::Gone);
        }
        // Stores the time of the last use for the next start.
        let path = record::path(&self.0.folder, partial.id);
        let now = Timestamp::default().max(self.0.clock.now()).since(Timestamp::default());
        let _ = spawn_blocking(move || File::open(path)?.set_modified(UNIX_EPOCH + now)).await;
        Ok(Request { uploads: self.clone(), partial: Arc::clone(partial), state, number, requests })
    }

    /// Removes an upload, and ends its request.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn remove(&self, partial: &Arc<Partial>) -> Result<(), Error> {
        match self.enter(partial).await {
            Ok(request) => request.remove().await,
            Err(_) => Ok(()),
        }
    }

    /// Removes the uploads of a project. The next clean-up removes those that cannot be removed now.
    pub async fn remove_project(&self, project: ProjectId) {
        for partial in self.these(|partial| partial.project == project) {
            self.remove_or_warn(&partial).await;
        }
    }

    /// Removes an upload, and logs a failure. Returns true if it is removed.
    pub async fn remove_or_warn(&self, partial: &Arc<Partial>) -> bool {
        let removed = self.remove(partial).await;
        if let Err(error) = &removed {
            tracing::warn!("cannot remove a partial upload: {}", chain(error));
        }
        removed.is_ok()
    }

    /// Returns the number of open uploads, and its limit.
    pub fn count(&self) -> (usize, usize) {
        (self.these(|partial| !partial.is_accepted()).len(), self.0.limits.open_max)
    }

    /// Returns all open uploads.
    pub fn all(&self) -> Vec<Arc<Partial>> {
        self.these(|_| true)
    }

    fn these(&self, which: impl Fn(&Partial) -> bool) -> Vec<Arc<Partial>> {
        self.open_ones().values().filter(|partial| which(partial)).cloned().collect()
    }

    fn open_ones(&self) -> MutexGuard<'_, HashMap<PartialUploadId, Arc<Partial>>> {
        self.0.open.lock()
    }
}

impl Partial {
    fn new(id: PartialUploadId, record: Record, share: Share, before: Duration) -> Self {
        Self {
            id,
            project: record.project,
            party: record.party,
            requests: watch::Sender::new(0),
            state: Arc::new(tokio::sync::Mutex::new(State { record, share, is_removed: false })),
            used: Mutex::new(Used { since: Stopwatch::start(), before }),
        }
    }

    /// Returns the identifier of the upload.
    pub const fn id(&self) -> PartialUploadId {
        self.id
    }

    /// Returns the time since the last use of the upload.
    pub fn idle(&self) -> Duration {
        let used = *self.used.lock();
        used.since.elapsed().saturating_add(used.before)
    }

    /// Returns true if the upload was accepted, or may have been: its check has begun. `None` while a request runs.
    pub fn is_settled(&self) -> Option<bool> {
        let state = self.state.try_lock().ok()?;
        Some(state.record.checked || state.record.accepted.is_some())
    }

    /// Returns true if the upload was accepted and no request about it runs.
    fn is_accepted(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| state.record.accepted.is_some())
    }

    fn is_idle_and_empty(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| state.record.offset == 0 && state.record.accepted.is_none())
    }

    fn touch(&self) {
        let now = Used { since: Stopwatch::start(), before: Duration::ZERO };
        *self.used.lock() = now;
    }
}

/// A request about an upload. Only one runs at a time.
pub struct Request {
    uploads: PartialUploads,
    partial: Arc<Partial>,
    state: OwnedMutexGuard<State>,
    number: u64,
    requests: watch::Receiver<u64>,
}

impl Request {
    /// Returns the description of the upload.
    pub fn record(&self) -> &Record {
        &self.state.record
    }

    /// Returns the path of the bytes.
    pub fn path(&self) -> PathBuf {
        self.uploads.0.folder.join(self.partial.id.to_string())
    }

    /// Waits until another request about this upload arrives.
    pub async fn superseded(&mut self) {
        let number = self.number;
        // The channel cannot be closed: its sender lives as long as the upload.
        let _ = self.requests.wait_for(|latest| *latest > number).await;
    }

    /// Opens the file to append bytes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`].
    pub async fn append(mut self) -> Result<Append, Error> {
        let (folder, id, offset) = (self.uploads.0.folder.clone(), self.partial.id, self.state.record.offset);
        let open = move || {
            let file = patiently(|| open_file(&folder, id))?;
            // A failed request may have left bytes beyond the recorded offset.
            file.set_len(offset).map(|()| file)
        };
        let file = Arc::new(spawn_blocking(open).await??);
        if self.state.share.used() != offset {
            self.state.share = self.uploads.0.spool.share();
            self.state.share.restore(offset);
        }
        Ok(Append { request: self, file, buffer: Vec::new(), written: offset, has_failed: false })
    }

    /// Changes the description and writes it.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`]. After an error the description is unchanged.
    pub async fn change(&mut self, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
        let mut record = self.state.record.clone();
        change(&mut record);
        if record == self.state.record {
            return Ok(());
        }
        let (folder, id, written) = (self.uploads.0.folder.clone(), self.partial.id, record.clone());
        spawn_blocking(move || written.write(&folder, id)).await??;
        self.state.record = record;
        self.partial.touch();
        Ok(())
    }

    /// Records that the upload was accepted under `number`, and removes its bytes. The record stays until it expires, so
    /// that a lost receipt token can be replaced.
    ///
    /// # Errors
    /// Like [`change`](Self::change).
    pub async fn accepted(&mut self, number: u32) -> Result<(), Error> {
        self.change(|record| record.accepted = Some(number)).await?;
        let path = self.path();
        spawn_blocking(move || File::create(path)).await??;
        self.state.share = self.uploads.0.spool.share();
        Ok(())
    }

    /// Removes the upload.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn remove(mut self) -> Result<(), Error> {
        let (folder, id) = (self.uploads.0.folder.clone(), self.partial.id);
        spawn_blocking(move || Record::remove(&folder, id)).await??;
        self.state.is_removed = true;
        self.state.share = self.uploads.0.spool.share();
        self.uploads.open_ones().remove(&id);
        Ok(())
    }
}

/// A request that adds bytes.
pub struct Append {
    request: Request,
    file: Arc<File>,
    buffer: Vec<u8>,
    /// The offset after the bytes in the buffer.
    written: u64,
    /// True during a write, and after a failed one: the file may lack bytes.
    has_failed: bool,
}

impl Append {
    /// Returns the offset after the bytes that were added.
    pub const fn offset(&self) -> u64 {
        self.written
    }

    /// Waits until another request about this upload arrives.
    pub async fn superseded(&mut self) {
        self.request.superseded().await;
    }

    /// Adds bytes. Syncs the file and records the offset from time to time.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`].
    pub async fn add(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.request.state.share.grow(piece.len() as u64).map_err(io::Error::from)?;
        self.buffer.extend_from_slice(piece);
        self.written += piece.len() as u64;
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.write().await?;
        if self.written - self.request.state.record.offset >= STEP_BYTES {
            self.save().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        let (file, buffer) = (Arc::clone(&self.file), std::mem::take(&mut self.buffer));
        self.has_failed = true;
        let written = spawn_blocking(move || (&*file).write_all(&buffer).map(|()| buffer)).await?;
        self.buffer = written?;
        self.buffer.clear();
        self.has_failed = false;
        Ok(())
    }

    async fn save(&mut self) -> Result<(), Error> {
        self.write().await?;
        let file = Arc::clone(&self.file);
        spawn_blocking(move || file.sync_data()).await??;
        let offset = self.written;
        self.request.change(|record| record.offset = offset).await
    }

    /// Syncs the file and records the offset. After a failed write, the upload ends at the last recorded offset.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`].
    pub async fn end(mut self) -> Result<Request, Error> {
        if !self.has_failed {
            self.save().await?;
        }
        Ok(self.request)
    }
}

/// Returns the beginning of the identifiers of this node, which is random and generated only once.
fn node(folder: &Path, entropy: &Entropy) -> Result<[u8; 4], Error> {
    let path = folder.join(NODE);
    let mut node = [0; 4];
    match regular::read(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(text) if hex::decode_to_slice(text.trim_ascii(), &mut node).is_ok() => return Ok(node),
        _ => {}
    }
    node = entropy.bytes();
    write_durably(folder, NODE, &hex::encode(node))?;
    Ok(node)
}

/// Opens the bytes of an upload for appending.
fn open_file(folder: &Path, id: PartialUploadId) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join(id.to_string()))
}

/// Restores an upload after a start. Removes it and returns `None` if it is damaged.
fn restored(
    folder: &Path,
    id: PartialUploadId,
    spool: &Spool,
    now: Timestamp,
) -> Result<Option<Partial>, Error> {
    let damaged = |why: &str| {
        tracing::warn!(upload = %id.to_string().split_at(8).0, "a partial upload is removed: {why}");
        Record::remove(folder, id).map(|()| None)
    };
    let Some(record) = Record::read(folder, id)? else { return Ok(damaged("its record is damaged")?) };
    let file = match open_file(folder, id) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        file => Some(file?),
    };
    let bytes = file.as_ref().map(File::metadata).transpose()?.map_or(0, |found| found.len());
    let kept = if record.accepted.is_some() { 0 } else { record.offset };
    if bytes < kept {
        return Ok(damaged("its file is shorter than what was recorded")?);
    }
    if let Some(file) = file.filter(|_| bytes > kept) {
        file.set_len(kept)?;
    }
    let written = fs::metadata(record::path(folder, id))?.modified().ok();
    let since_epoch = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let written = Timestamp::default().after(since_epoch);
    let mut share = spool.share();
    share.restore(kept);
    Ok(Some(Partial::new(id, record, share, now.since(written))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::SpoolLimits;

    fn opened(folder: &Path) -> PartialUploads {
        let spool = Spool::new(vec![], SpoolLimits { bytes_max: 1 << 20, disk_free_min: 0 });
        let limits = Limits { open_max: 9, expiry: Duration::from_hours(1) };
        PartialUploads::open(folder, spool, limits, Clock::system(), Entropy::system()).unwrap()
    }

    fn record() -> Record {
        Record {
            project: ProjectId::from_bytes([1; 24]),
            party: 0,
            form: Form::Json,
            coding: String::new(),
            again: false,
            length: None,
            offset: 0,
            checked: false,
            accepted: None,
        }
    }

    #[tokio::test]
    async fn a_start_cuts_off_what_was_not_recorded_and_removes_what_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let partial = uploads.begin(record()).await.unwrap();
        let mut append = uploads.enter(&partial).await.ok().unwrap().append().await.unwrap();
        append.add(b"0123456789").await.unwrap();
        drop(append.end().await.unwrap());
        let damaged = uploads.begin(record()).await.unwrap();
        let path = |partial: &Partial| folder.path().join(partial.id().to_string());
        fs::write(record::path(folder.path(), damaged.id()), "{").unwrap();
        OpenOptions::new().append(true).open(path(&partial)).unwrap().write_all(b"lost").unwrap();
        fs::write(folder.path().join("0f".repeat(24)), "no record").unwrap();
        drop(uploads);

        let uploads = opened(folder.path());
        let found = uploads.find(partial.project, 0, Some(partial.id())).ok().unwrap();
        let request = uploads.enter(&found).await.ok().unwrap();
        assert_eq!(
            (request.record().offset, fs::read(request.path()).unwrap()),
            (10, b"0123456789".to_vec())
        );
        assert_eq!((uploads.count().0, uploads.spool().usage().bytes), (1, 10));
        request.remove().await.unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [NODE]);
        assert_eq!((uploads.count().0, uploads.spool().usage().bytes), (0, 0));
    }

    #[tokio::test]
    async fn the_oldest_record_of_an_accepted_upload_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let of = |party| Record { party, ..record() };
        let accept = async |partial: &Arc<Partial>| {
            uploads.enter(partial).await.ok().unwrap().accepted(1).await.unwrap();
        };
        let mut all = Vec::new();
        for party in 0..9 {
            all.push(uploads.begin(of(party)).await.unwrap());
        }
        assert!(matches!(uploads.begin(of(9)).await, Err(NotOpened::OfNode)));
        for partial in [&all[4], &all[2]] {
            accept(partial).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(uploads.count(), (7, 9));
        uploads.begin(of(9)).await.unwrap();
        let is_known =
            |party: usize| uploads.find(all[party].project, party as u32, Some(all[party].id())).is_ok();
        assert!(!is_known(4) && is_known(2), "the oldest went");
        uploads.begin(of(10)).await.unwrap();
        assert!(matches!(uploads.begin(of(11)).await, Err(NotOpened::OfNode)));
        assert_eq!(uploads.count(), (9, 9));
    }

    #[tokio::test]
    async fn another_request_ends_the_one_that_waits_for_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let partial = uploads.begin(record()).await.unwrap();
        let mut append = uploads.enter(&partial).await.ok().unwrap().append().await.unwrap();
        append.add(b"12").await.unwrap();
        let (ended, offset) = tokio::join!(
            async {
                append.superseded().await;
                append.end().await.is_ok()
            },
            async { uploads.enter(&partial).await.ok().unwrap().record().offset }
        );
        assert!(ended && offset == 2);
    }

    #[tokio::test]
    async fn an_identifier_of_another_node_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = opened(folder.path());
        let partial = uploads.begin(record()).await.unwrap();
        let mut bytes = *partial.id().as_bytes();
        let found = |bytes| {
            let id = Some(PartialUploadId::from_bytes(bytes));
            uploads.find(partial.project, 0, id).err()
        };
        assert_eq!(found(bytes), None);
        bytes[23] ^= 1;
        assert_eq!(found(bytes), Some(Unknown::Gone));
        bytes[0] ^= 1;
        assert_eq!(found(bytes), Some(Unknown::Elsewhere));
        let other = uploads.find(partial.project, 1, Some(partial.id()));
        assert_eq!(other.err(), Some(Unknown::Gone));
    }
}

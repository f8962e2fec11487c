//! The owner's mark: an object that names the data directory to which a store belongs.
//!
//! ```text
//! entityd/owner    {"identity": "8c1f…", "nonce": "52d0…", "host": "db1", "process": 4711,
//!                   "renewed": 1795891200000000, "until": 1795891230000000, "commits": 1204}
//! ```
//!
//! A server creates the mark if it is absent, reads it before each clean-up, and replaces the mark of another identity
//! only if the operator demands it. If other machines can access the store, the mark is a lease, which is renewed with
//! a new nonce each time. The data directory remembers the last two nonces in `objects.lease`. A server on a copy of
//! the data directory has the identity but not the nonce: it is rejected while the lease lasts. A server that finds an
//! unknown nonce stops. The mark also contains the count of commits of the metadata, because an older copy of the
//! metadata does not know all objects.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::backend::directory::sync_directory;
use super::{Error, keys};
use crate::runtime::clock::{Clock, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::system::identity::Identity;
use crate::system::regular;
use crate::telemetry::chain;

/// The maximum number of attempts to read a mark while another server creates it.
const ATTEMPTS: usize = 3;
/// The pause before an unavailable store is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// The reason why a store is not used.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// The objects belong to another data directory.
    #[error(
        "the objects at {place} belong to the data directory with the identity {found} (host {host}, seen {seen}), and \
         this one has {expected}: give this server a bucket, prefix or directory of its own; or, if the other is gone for \
         good, take its objects over with --take-over-objects {found}"
    )]
    Foreign {
        /// The location of the objects.
        place: String,
        /// The owner.
        found: String,
        /// The identity of this data directory.
        expected: Identity,
        /// The host of the owner.
        host: String,
        /// The time of the owner's last renewal.
        seen: Timestamp,
    },
    /// Another process with the same identity uses the objects.
    #[error(
        "the objects at {place} are used by another process with the identity of this data directory (host {host}, process \
         {process}, seen {seen}): one of the two is a copy. Stop the other and try again after {until}, or start once with \
         --take-over-objects {identity}"
    )]
    Copied {
        /// The location of the objects.
        place: String,
        /// The identity that both servers have.
        identity: Identity,
        /// The host of the other server.
        host: String,
        /// The process id on that host.
        process: u32,
        /// The time at which the mark was last renewed.
        seen: Timestamp,
        /// The time at which the lease of the mark ends.
        until: Timestamp,
    },
    /// The mark existed before, and is missing or damaged.
    #[error(
        "the owner's mark (entityd/owner) of the objects at {place} is {how}, and existed before: is the right volume mounted? Restore the objects; to continue with the present ones, start once with \
         --take-over-objects {identity}"
    )]
    Unmarked {
        /// The location of the objects.
        place: String,
        /// The fault in the mark.
        how: &'static str,
        /// The identity of this data directory.
        identity: Identity,
    },
    /// The objects of this data directory are in another place, and this place has none of them.
    #[error(
        "the objects of this data directory are at {known}, and the settings name {place}, where there are none (no \
         entityd/owner): give --objects as before, or copy all objects to the new place; to continue without them, start \
         once with --take-over-objects {identity}"
    )]
    Elsewhere {
        /// The location of the objects in the settings, as displayed.
        place: String,
        /// The locations that this data directory has used before.
        known: String,
        /// The identity of this data directory.
        identity: Identity,
    },
    /// The metadata is older than the objects.
    #[error(
        "the metadata has {found} commits, and the objects at {place} know of {written}: it is an older copy. Restore the latest; to continue with this one, start once with --accept-loss metadata.db:{written}"
    )]
    Ahead {
        /// The location of the objects.
        place: String,
        /// The count of commits in the metadata.
        found: u64,
        /// The count of commits in the mark.
        written: u64,
    },
    /// The store did not answer. A retry may help.
    #[error("cannot determine the owner of the objects: {0}")]
    Unknown(#[from] Error),
}

/// A server that claims a store.
#[derive(Debug)]
pub struct Claimant {
    /// The location of the objects, as displayed.
    pub place: String,
    /// The identity of the data directory.
    pub identity: Identity,
    /// True if this data directory has claimed the store before.
    pub before: bool,
    /// The other stores that this data directory has claimed before, if it has not claimed this one.
    pub elsewhere: Option<String>,
    /// The owner whose objects the operator permits this server to take over.
    pub take_over: Option<Identity>,
    /// The length of the lease, and the file in the data directory with its nonces; `None` if no other machine can
    /// access the store.
    pub lease: Option<(Duration, PathBuf)>,
    /// True if other processes with the same identity use the store, too.
    pub shared: bool,
    /// The directory of the store, if the store is a directory.
    pub directory: Option<PathBuf>,
    /// The source of random nonces.
    pub entropy: Entropy,
}

/// The claim of this process to a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Owner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    claimant: Claimant,
    clock: Clock,
    /// The last two nonces, the latest last. A mark that this server wrote has one of them.
    nonces: Mutex<[String; 2]>,
    claimed: AtomicBool,
    /// The count of commits of the metadata; 0 before the metadata is opened.
    commits: Arc<AtomicU64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mark {
    identity: String,
    nonce: String,
    host: String,
    process: u32,
    renewed: Timestamp,
    until: Timestamp,
    /// The count of commits of the metadata; 0 in marks of earlier versions.
    #[serde(default)]
    commits: u64,
}

enum Found {
    Nothing,
    Garbage,
    Mark(Mark),
}

impl Owner {
    /// Prepares a claim, without accessing the store.
    pub fn new(store: Arc<dyn ObjectStore>, claimant: Claimant) -> Self {
        let nonces = Mutex::new(claimant.remembered());
        let (clock, claimed, commits) = (Clock::system(), AtomicBool::new(false), Arc::default());
        Self(Arc::new(Inner { store, claimant, clock, nonces, claimed, commits }))
    }

    /// Returns the count of commits that is written into the mark. The metadata updates it.
    pub fn commits(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.commits)
    }

    /// Claims the store if it has no owner, belongs to this data directory, or may be taken over.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub async fn claim(&self) -> Result<(), NotOurs> {
        for _ in 0..ATTEMPTS {
            let found = self.read().await?;
            self.0.claimant.check(&found, |mark| self.is_own(mark) || mark.until <= self.0.clock.now())?;
            self.compare_commits(&found)?;
            if self.0.claimant.needs_no_word(&found) || self.write(matches!(found, Found::Nothing)).await? {
                self.0.claimed.store(true, Ordering::Release);
                return Ok(());
            }
        }
        Err(self.unmarked("changing"))
    }

    /// Checks that the metadata is not older than the mark. Before the metadata is opened, takes the count of commits
    /// from the mark instead.
    fn compare_commits(&self, found: &Found) -> Result<(), NotOurs> {
        let Found::Mark(mark) = found else { return Ok(()) };
        let is_ours = Identity::parse(&mark.identity) == Some(self.0.claimant.identity);
        let known = self.0.commits.load(Ordering::Acquire);
        // Another node that shares the store may have seen later commits.
        if !is_ours || mark.commits <= known || self.0.claimant.shared && known > 0 {
            return Ok(());
        }
        if known > 0 {
            let place = self.0.claimant.place.clone();
            return Err(NotOurs::Ahead { place, found: known, written: mark.commits });
        }
        self.0.commits.fetch_max(mark.commits, Ordering::AcqRel);
        Ok(())
    }

    /// Returns the location of the objects, as displayed.
    pub fn place(&self) -> &str {
        &self.0.claimant.place
    }

    /// Returns true if the store was claimed.
    pub fn has_claimed(&self) -> bool {
        self.0.claimed.load(Ordering::Acquire)
    }

    /// Checks that the store still belongs to this server.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub async fn confirm(&self) -> Result<(), NotOurs> {
        if !self.has_claimed() {
            return Err(self.unmarked("not ours yet"));
        }
        match self.read().await? {
            Found::Nothing => Err(self.unmarked("missing")),
            found => self.0.claimant.check(&found, |mark| self.is_own(mark)),
        }
    }

    /// Claims the store when it becomes available, and renews the claim. Returns only when the store no longer belongs
    /// to this server, with the reason.
    pub async fn keep(self) -> NotOurs {
        let Some((lease, _)) = &self.0.claimant.lease else { return std::future::pending().await };
        loop {
            sleep(if self.has_claimed() { *lease / 3 } else { PAUSE.min(*lease) }).await;
            let done = if self.has_claimed() { self.renew().await } else { self.claim().await };
            match done {
                Ok(()) => {}
                Err(NotOurs::Unknown(error)) => tracing::debug!(
                    "cannot claim the object store yet, or renew the claim; retrying: {}",
                    chain(&error)
                ),
                Err(NotOurs::Unmarked { how, .. }) if self.has_claimed() => {
                    tracing::error!(
                        "the owner's mark of the objects at {} is {how}; no clean-up is done",
                        self.0.claimant.place
                    );
                }
                Err(lost) => return lost,
            }
        }
    }

    async fn renew(&self) -> Result<(), NotOurs> {
        self.confirm().await?;
        Ok(self.write(false).await.map(drop)?)
    }

    /// Releases the claim, so that a server on a copy of the data directory need not wait for the end of the lease.
    pub async fn release(&self) {
        let Claimant { lease, shared, .. } = &self.0.claimant;
        if lease.is_none() || *shared || self.confirm().await.is_err() {
            return;
        }
        let mut mark = self.mark();
        mark.until = mark.renewed;
        if let Err(error) = self.put(&mark, PutMode::Overwrite).await {
            tracing::debug!("the owner's mark stays until its lease ends: {error}");
        }
    }

    async fn read(&self) -> Result<Found, Error> {
        let key = keys::owner();
        if let Some(directory) = &self.0.claimant.directory {
            regular::check(&directory.join(key.as_str()))?;
        }
        let found = match self.0.store.get(&key.path()).await {
            Ok(found) => found.bytes().await?,
            Err(error) => match Error::from_store(&key, error) {
                Error::Missing { .. } => return Ok(Found::Nothing),
                error => return Err(error),
            },
        };
        let mark = serde_json::from_slice::<Mark>(&found).ok();
        let mark = mark.filter(|mark| Identity::parse(&mark.identity).is_some());
        Ok(mark.map_or(Found::Garbage, Found::Mark))
    }

    /// Writes the mark with the next nonce; returns false if another server was faster.
    async fn write(&self, creates: bool) -> Result<bool, Error> {
        self.next_nonce()?;
        let mark = self.mark();
        let mode = if creates { PutMode::Create } else { PutMode::Overwrite };
        match self.put(&mark, mode).await {
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(false),
            // The store supports no conditions, so the mark is overwritten, and then read back.
            Err(object_store::Error::NotImplemented { .. }) => self.put(&mark, PutMode::Overwrite).await?,
            done => done?,
        }
        if let (true, Some(directory)) = (creates, &self.0.claimant.directory) {
            sync_directory(&directory.join("entityd"))?;
            sync_directory(directory)?;
        }
        Ok(!creates || matches!(self.read().await?, Found::Mark(found) if found.nonce == mark.nonce))
    }

    async fn put(&self, mark: &Mark, mode: PutMode) -> Result<(), object_store::Error> {
        let text = serde_json::to_vec(mark).expect("a mark is plain data");
        self.0.store.put_opts(&keys::owner().path(), PutPayload::from(text), mode.into()).await.map(drop)
    }

    /// Returns a mark with the present time and the latest nonce.
    fn mark(&self) -> Mark {
        let Claimant { identity, lease, .. } = &self.0.claimant;
        let renewed = self.0.clock.now();
        Mark {
            identity: identity.to_string(),
            nonce: self.nonces()[1].clone(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            process: std::process::id(),
            renewed,
            until: lease.as_ref().map_or(renewed, |(lease, _)| renewed.after(*lease)),
            commits: self.0.commits.load(Ordering::Acquire),
        }
    }

    /// Draws the next nonce, and stores it in the data directory before its first use.
    fn next_nonce(&self) -> io::Result<()> {
        let Claimant { entropy, lease, .. } = &self.0.claimant;
        let mut nonces = self.0.nonces.lock();
        let next = [nonces[1].clone(), hex::encode(entropy.bytes::<16>())];
        if let Some((_, path)) = lease {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = regular::open_with(path, &mut options)?;
            file.write_all_at(format!("{:32} {:32}\n", next[0], next[1]).as_bytes(), 0)?;
            File::sync_data(&file)?;
        }
        *nonces = next;
        Ok(())
    }

    fn nonces(&self) -> [String; 2] {
        self.0.nonces.lock().clone()
    }

    fn is_own(&self, mark: &Mark) -> bool {
        self.nonces().contains(&mark.nonce)
    }

    fn unmarked(&self, how: &'static str) -> NotOurs {
        self.0.claimant.unmarked(how)
    }
}

impl Claimant {
    /// Returns an error unless the mark permits this server to use the store. `is_free` decides about a mark with the
    /// identity of this server.
    fn check(&self, found: &Found, is_free: impl FnOnce(&Mark) -> bool) -> Result<(), NotOurs> {
        let forced = self.take_over == Some(self.identity);
        match found {
            Found::Nothing if self.before && !forced => Err(self.unmarked("missing")),
            Found::Nothing if !forced && let Some(known) = &self.elsewhere => {
                let (place, known) = (self.place.clone(), known.clone());
                Err(NotOurs::Elsewhere { place, known, identity: self.identity })
            }
            Found::Garbage if !self.before && !forced => Err(self.unmarked("damaged")),
            Found::Nothing => Ok(()),
            Found::Garbage => {
                tracing::warn!(
                    "the owner's mark of the objects at {} is damaged and is written again",
                    self.place
                );
                Ok(())
            }
            Found::Mark(mark) if Identity::parse(&mark.identity) != Some(self.identity) => {
                let taken = self.take_over.is_some_and(|owner| owner.to_string() == mark.identity);
                if taken { Ok(()) } else { Err(self.foreign(mark)) }
            }
            Found::Mark(mark) if self.lease.is_none() || self.shared || forced || is_free(mark) => Ok(()),
            Found::Mark(mark) => Err(self.copied(mark)),
        }
    }

    /// Returns true if the mark needs no update.
    fn needs_no_word(&self, found: &Found) -> bool {
        let is_own = |mark: &Mark| Identity::parse(&mark.identity) == Some(self.identity);
        self.lease.is_none() && matches!(found, Found::Mark(mark) if is_own(mark))
    }

    /// Returns the nonces that an earlier process has stored in the data directory.
    fn remembered(&self) -> [String; 2] {
        let text =
            self.lease.as_ref().and_then(|(_, path)| String::from_utf8(regular::read(path).ok()?).ok());
        let mut words = text.as_deref().unwrap_or_default().split_whitespace().map(str::to_owned);
        let (first, second) = (words.next(), words.next());
        // If the file has only one nonce, it is the latest.
        second.map_or_else(
            || [String::new(), first.clone().unwrap_or_default()],
            |second| [first.clone().unwrap_or_default(), second],
        )
    }

    fn unmarked(&self, how: &'static str) -> NotOurs {
        NotOurs::Unmarked { place: self.place.clone(), how, identity: self.identity }
    }

    fn foreign(&self, mark: &Mark) -> NotOurs {
        NotOurs::Foreign {
            place: self.place.clone(),
            found: mark.identity.clone(),
            expected: self.identity,
            host: mark.host.clone(),
            seen: mark.renewed,
        }
    }

    fn copied(&self, mark: &Mark) -> NotOurs {
        NotOurs::Copied {
            place: self.place.clone(),
            identity: self.identity,
            host: mark.host.clone(),
            process: mark.process,
            seen: mark.renewed,
            until: mark.until,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use object_store::memory::InMemory;

    use super::*;

    struct Place {
        store: Arc<dyn ObjectStore>,
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { store: Arc::new(InMemory::new()), folder: tempfile::tempdir().unwrap() }
        }

        fn server(&self, identity: u64, before: bool, take_over: Option<u64>, memory: &str) -> Owner {
            self.moved(identity, before, take_over, memory, None)
        }

        fn moved(
            &self,
            identity: u64,
            before: bool,
            take_over: Option<u64>,
            memory: &str,
            elsewhere: Option<&str>,
        ) -> Owner {
            let named = |seed| Identity::random(&Entropy::seeded(seed));
            let claimant = Claimant {
                place: "s3://bucket".to_owned(),
                identity: named(identity),
                before,
                elsewhere: elsewhere.map(str::to_owned),
                take_over: take_over.map(named),
                lease: Some((Duration::from_secs(30), self.path(memory))),
                shared: false,
                directory: None,
                entropy: Entropy::system(),
            };
            Owner::new(Arc::clone(&self.store), claimant)
        }

        fn path(&self, memory: &str) -> PathBuf {
            Path::join(self.folder.path(), memory)
        }
    }

    #[tokio::test]
    async fn a_store_belongs_to_one_identity_until_it_is_taken_over() {
        let place = Place::new();
        let first = place.server(1, false, None, "first");
        first.claim().await.unwrap();
        first.confirm().await.unwrap();
        let second = place.server(2, false, None, "second");
        let refused = second.claim().await.unwrap_err();
        assert!(matches!(refused, NotOurs::Foreign { .. }), "{refused}");
        assert!(second.confirm().await.is_err());
        // Permission to replace one owner does not permit replacing another.
        assert!(place.server(2, false, Some(3), "second").claim().await.is_err());
        place.server(2, false, Some(1), "second").claim().await.unwrap();
        assert!(matches!(first.confirm().await, Err(NotOurs::Foreign { .. })));
    }

    #[tokio::test]
    async fn a_process_follows_itself_at_once_and_a_copy_only_when_the_lease_is_over() {
        let place = Place::new();
        let original = place.server(1, false, None, "original");
        original.claim().await.unwrap();
        // The server is killed and started again.
        let again = place.server(1, true, None, "original");
        again.claim().await.unwrap();
        again.renew().await.unwrap();
        std::fs::copy(place.path("original"), place.path("copy")).unwrap();
        again.renew().await.unwrap();
        again.renew().await.unwrap();
        let copy = place.server(1, true, None, "copy");
        assert!(matches!(copy.claim().await, Err(NotOurs::Copied { .. })));
        again.release().await;
        copy.claim().await.unwrap();
        assert!(matches!(again.renew().await, Err(NotOurs::Copied { .. })));
    }

    #[tokio::test]
    async fn a_mark_that_was_there_is_missed() {
        let place = Place::new();
        let claimed = place.server(1, true, None, "it");
        assert!(matches!(claimed.claim().await, Err(NotOurs::Unmarked { .. })));
        place.server(1, true, Some(1), "it").claim().await.unwrap();
        place.store.put(&keys::owner().path(), PutPayload::from_static(b"?")).await.unwrap();
        assert!(matches!(place.server(1, false, None, "it").claim().await, Err(NotOurs::Unmarked { .. })));
        place.server(1, true, None, "it").claim().await.unwrap();
        place.store.delete(&keys::owner().path()).await.unwrap();
        assert!(place.server(1, false, None, "it").claim().await.is_ok());
    }

    #[tokio::test]
    async fn objects_that_are_elsewhere_are_missed() {
        let place = Place::new();
        let refused = place.moved(1, false, None, "it", Some("s3://old")).claim().await.unwrap_err();
        assert!(matches!(refused, NotOurs::Elsewhere { .. }), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("are at s3://old") && said.contains("--take-over-objects"), "{said}");
        // Nothing is written, and permission for another identity does not count.
        assert!(place.moved(1, false, Some(2), "it", Some("s3://old")).claim().await.is_err());
        place.moved(1, false, Some(1), "it", Some("s3://old")).claim().await.unwrap();
        // Objects that were copied have the mark.
        place.moved(1, false, None, "it", Some("s3://old")).claim().await.unwrap();
    }
}

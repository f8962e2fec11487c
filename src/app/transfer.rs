//! Copies all data of a server to other engines: for example from a data directory to `PostgreSQL` and a bucket, or
//! back.
//!
//! The target has its own data directory, with the identity of the source. Until the copy is complete, a file marks
//! that directory: servers do not start with it, and another attempt continues. The queue is not copied, since the
//! first start fills it from the metadata.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;

use super::sharing::Sharing;
use super::snapshot::{self, Snapshot};
use super::{Error, database, identity, objects, queue, stores, versions};
use crate::config::Settings;
use crate::http::{admin, workers};
use crate::metadata::{self, Commit, Commons, Migrate, Runs, Store};
use crate::model::{ProjectId, ProjectState};
use crate::objects::{Copied, Location, Objects, copy_all};
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::{self, DataDir};
use crate::system::identity::{Identity, Register};
use crate::system::{audit, regular};

/// The file that marks a data directory as the target of a transfer that is not complete.
const MARKER: &str = "transferring";

/// The reason why a transfer fails.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The source or the target cannot be opened.
    #[error(transparent)]
    Unopened(#[from] Error),
    /// The source has no data directory.
    #[error("{} is not a data directory: it has no file `format`", path.display())]
    NoSource {
        /// The path.
        path: PathBuf,
    },
    /// The source and the target have the same data directory.
    #[error("the target has the data directory {} of the source; give it a new one (data_dir)", path.display())]
    OneDirectory {
        /// The path.
        path: PathBuf,
    },
    /// The source and the target have the same database, which cannot belong to two data directories.
    #[error("source and target have one database, {place}; the target needs another one (database)")]
    OneDatabase {
        /// The database.
        place: String,
    },
    /// The target is in use.
    #[error("{} holds the data of another server; give a new data directory (data_dir)", path.display())]
    Occupied {
        /// The data directory.
        path: PathBuf,
    },
    /// The target has the identity of the source, and its transfer has ended.
    #[error(
        "{} holds a complete copy of the source already: start the server with the settings of the target, or give a new data \
         directory (data_dir)",
        path.display()
    )]
    Complete {
        /// The data directory.
        path: PathBuf,
    },
    /// The target is in the data directory of the source, which a transfer does not change.
    #[error("the target {} is in the data directory of the source; give another one (data_dir)", path.display())]
    Inside {
        /// The data directory of the target.
        path: PathBuf,
    },
    /// The metadata of the target has other projects.
    #[error("the metadata of the target has projects that the source does not have; give an empty database")]
    Strangers,
    /// A node is using the database of the source or the target.
    #[error(
        "a node on {name} uses the database {place}; stop all nodes first; one that was killed counts as ended after 15 s"
    )]
    Serving {
        /// The name of its machine.
        name: String,
        /// The database.
        place: String,
    },
    /// The copy of a project differs.
    #[error("the copy of the project {0} differs from the source")]
    Differs(ProjectId),
    /// The metadata of the source or the target does not answer.
    #[error("cannot copy the metadata")]
    Metadata(#[from] metadata::Error),
    /// The store for the objects does not answer.
    #[error("the object store {place} of the target cannot be used")]
    Unavailable {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        cause: crate::objects::Error,
    },
    /// An object cannot be copied.
    #[error("cannot copy the objects")]
    Objects(#[from] crate::objects::Error),
    /// The data directory of the source cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A file cannot be read or written.
    #[error("cannot copy {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
}

/// The content of a complete copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The number of projects.
    pub projects: usize,
    /// The copied objects; none if the source and the target have the same store.
    pub objects: Copied,
}

/// Fails if the data directory is the target of an incomplete transfer.
pub(super) fn refuse_incomplete(data_dir: &DataDir) -> Result<(), Error> {
    if data_dir.path().join(MARKER).exists() {
        return Err(Error::Incomplete { path: data_dir.path().to_owned() });
    }
    Ok(())
}

/// Copies all projects, runs, objects, buckets and keys from the stores of the settings `from` to those of `to`.
/// Changes no data in the source. After an error or a kill, another call continues. `show` is called with the share of
/// copied objects.
///
/// # Errors
/// [`Fault`].
pub async fn transfer(
    from: &Settings,
    to: &Settings,
    show: &mut (dyn FnMut(f64) + Send),
) -> Result<Transferred, Fault> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // The operator must migrate a source of an older version first: a copy must not change it.
    let from = &Settings { migrate: Migrate::Never, ..from.clone() };
    check(from, to)?;
    let source_dir = DataDir::open(&from.data_dir).map_err(Error::from)?;
    refuse_incomplete(&source_dir)?;
    let source = Opened::open(from, &source_dir).await?;
    if is_one_bucket(from, to) {
        // The target claims the same objects.
        source.owner.release().await;
    }
    let opened = match target(to, source.register.identity()) {
        Ok(data_dir) => Opened::open(to, &data_dir).await.map(|target| (data_dir, target)),
        Err(fault) => Err(fault),
    };
    let (target_dir, mut target) = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            source.close().await?;
            return Err(fault);
        }
    };
    let copied = async {
        // A remote store that did not answer is claimed later by a server. A copy needs it at once, even an empty one.
        target.require_objects().await?;
        copy((from, &source_dir, &source), (to, &target_dir, &target), show).await
    };
    let copied = copied.await;
    let noted = match &copied {
        Ok(_) => target.note(to, &target_dir),
        Err(_) => Ok(()),
    };
    // Both are closed also after an error; the first error is returned.
    let closed = (source.close().await, target.close().await);
    let copied = copied?;
    noted?;
    closed.0?;
    closed.1?;
    publish(&target_dir)?;
    Ok(copied)
}

/// Makes the checks that do not need open stores.
fn check(from: &Settings, to: &Settings) -> Result<(), Fault> {
    if !from.data_dir.join("format").is_file() {
        return Err(Fault::NoSource { path: from.data_dir.clone() });
    }
    if let (Ok(one), Ok(other)) = (from.data_dir.canonicalize(), to.data_dir.canonicalize())
        && one == other
    {
        return Err(Fault::OneDirectory { path: one });
    }
    let target = std::path::absolute(&to.data_dir).unwrap_or_else(|_| to.data_dir.clone());
    let existing = target.ancestors().find_map(|folder| folder.canonicalize().ok());
    if let (Some(existing), Ok(source)) = (existing, from.data_dir.canonicalize())
        && existing.starts_with(source)
    {
        return Err(Fault::Inside { path: to.data_dir.clone() });
    }
    if !from.database.is_embedded() && from.database == to.database {
        return Err(Fault::OneDatabase { place: from.database.to_string() });
    }
    Ok(())
}

/// Returns true if the source and the target have the same object store.
fn is_one_bucket(from: &Settings, to: &Settings) -> bool {
    matches!(from.objects, Location::Bucket { .. }) && from.objects == to.objects
}

/// Locks the data directory of the target, which is new or from an incomplete transfer, and writes the identity of the
/// source to it.
fn target(to: &Settings, expected: Identity) -> Result<DataDir, Fault> {
    let path = &to.data_dir;
    let occupied = || Fault::Occupied { path: path.clone() };
    let data_dir = DataDir::open(path).map_err(Error::from)?;
    let path = data_dir.path();
    let unusable = |cause| Fault::Unopened(identity::unusable(path, cause));
    let found = Register::read(path).map_err(unusable)?;
    let is_ours = match regular::read(&path.join(MARKER)) {
        Ok(identity) => identity == expected.to_string().as_bytes(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => found.is_none(),
        Err(cause) => return Err(Fault::File { path: path.join(MARKER), cause }),
    };
    if !is_ours && found.as_ref().is_some_and(|found| found.identity() == expected) {
        return Err(Fault::Complete { path: path.to_owned() });
    }
    if !is_ours || found.as_ref().is_some_and(|found| found.identity() != expected) {
        return Err(occupied());
    }
    data_dir::write_durably(path, MARKER, &expected.to_string())
        .map_err(|cause| Fault::File { path: path.join(MARKER), cause })?;
    if found.is_none() {
        Register::make(path, expected).map_err(unusable)?;
    }
    Ok(data_dir)
}

/// The open stores of a server that is not running.
struct Opened {
    register: Register,
    sharing: Sharing,
    metadata: Arc<dyn Store>,
    store: Arc<dyn ObjectStore>,
    objects: Objects,
    /// The claim on the objects.
    owner: crate::objects::Owner,
}

impl Opened {
    async fn open(settings: &Settings, data_dir: &DataDir) -> Result<Self, Fault> {
        let entropy = Entropy::system();
        let sharing = Sharing::enter(settings, data_dir, &entropy).await?;
        let opened = Self::open_alone(settings, data_dir, &entropy, sharing.clone()).await;
        if opened.is_err() {
            sharing.leave().await;
        }
        opened
    }

    async fn open_alone(
        settings: &Settings,
        data_dir: &DataDir,
        entropy: &Entropy,
        sharing: Sharing,
    ) -> Result<Self, Fault> {
        if let Some(commons) = &sharing.commons {
            let listed = commons.beat(&sharing.own, &[]).await?;
            let other =
                listed.into_iter().find(|node| node.is_serving() && node.node.node != sharing.own.node);
            if let Some(other) = other {
                return Err(Fault::Serving { name: other.node.name, place: settings.database.to_string() });
            }
        }
        let register = identity::open(data_dir, entropy)?;
        versions::permit(settings, data_dir.path())?;
        database::check(settings, data_dir, &register)?;
        let claimed = objects::claim(settings, data_dir, &register).await?;
        let (store, commits) = (Arc::clone(&claimed.0), claimed.1.commits());
        let metadata = database::open(settings, data_dir, &register, commits, sharing.name()).await?;
        let objects::Opened { objects, owner, .. } = objects::open(settings, data_dir, claimed)?;
        Ok(Self { register, sharing, metadata, store, objects, owner })
    }

    /// Fails unless the objects are claimed and their store answers.
    async fn require_objects(&self) -> Result<(), Fault> {
        if !self.owner.has_claimed() {
            self.owner.claim().await.map_err(Error::from)?;
        }
        self.objects
            .probe()
            .await
            .map_err(|cause| Fault::Unavailable { place: self.owner.place().to_owned(), cause })
    }

    /// Records the stores that exist now.
    fn note(&mut self, settings: &Settings, data_dir: &DataDir) -> Result<(), Fault> {
        let has_buckets = data_dir.path().join(identity::BUCKETS).exists();
        Ok(stores::note(settings, data_dir, &mut self.register, (&self.owner, has_buckets))?)
    }

    async fn close(self) -> Result<(), Fault> {
        let closed = self.metadata.close().await;
        self.sharing.leave().await;
        self.owner.release().await;
        Ok(closed?)
    }
}

async fn copy(
    (from, source_dir, source): (&Settings, &DataDir, &Opened),
    (to, target_dir, target): (&Settings, &DataDir, &Opened),
    show: &mut (dyn FnMut(f64) + Send),
) -> Result<Transferred, Fault> {
    copy_files(from, source_dir, target_dir)?;
    if let Some(commons) = source.sharing.together() {
        copy_words(&*commons, target_dir).await?;
    }
    let objects = if is_one_bucket(from, to) {
        Copied::default()
    } else {
        copy_all(&source.store, (&target.objects, &target.store), show).await?
    };
    let projects = copy_metadata(&*source.metadata, &*target.metadata).await?;
    Ok(Transferred { projects, objects })
}

/// Copies the projects with their parties and runs, in their order, and all other metadata.
async fn copy_metadata(from: &dyn Store, to: &dyn Store) -> Result<usize, Fault> {
    let projects = from.projects().await?;
    let known: HashSet<ProjectId> = projects.iter().map(|project| project.id).collect();
    if to.projects().await?.iter().any(|project| !known.contains(&project.id)) {
        return Err(Fault::Strangers);
    }
    for project in &projects {
        let Some(state) = from.project(project.id, Runs::All).await? else { continue };
        put(to, state.clone()).await?;
        if to.project(project.id, Runs::All).await?.as_ref() != Some(&state) {
            return Err(Fault::Differs(project.id));
        }
    }
    for (job, attempts) in from.attempts().await? {
        let project = job.split('/').next().and_then(ProjectId::parse);
        if let Some(project) = project {
            to.note_attempts(project, &job, attempts).await?;
        }
    }
    to.note_deleted(from.deleted().await?).await?;
    if let Some(mark) = from.mark().await? {
        to.keep_mark(mark).await?;
    }
    let outbox: Vec<String> = from.outbox(u32::MAX).await?.into_iter().map(|message| message.body).collect();
    let duties = from.duties().await?;
    if (!outbox.is_empty() || !duties.is_empty()) && !to.has_messages().await? {
        // Messages and duties are committed without a project. Those that an earlier attempt has copied are left out.
        let rest = Commit { state: None, outbox, duties };
        let absent = ProjectId::from_bytes(Entropy::system().bytes());
        to.update(absent, Runs::None, Box::new(move |_| Some(rest.clone()))).await?;
    }
    Ok(projects.len())
}

async fn put(to: &dyn Store, state: ProjectState) -> Result<(), metadata::Error> {
    let id = state.id;
    let change = move |before: Option<ProjectState>| {
        let commit = Commit { state: Some(state.clone()), ..Commit::default() };
        (before.as_ref() != Some(&state)).then_some(commit)
    };
    to.update(id, Runs::All, Box::new(change)).await
}

/// Copies the buckets, the keys and the record of administrative actions.
fn copy_files(from: &Settings, source: &DataDir, target: &DataDir) -> Result<(), Fault> {
    let snapshot = Snapshot::take(source.path(), &from.objects, true)?;
    let listing =
        snapshot.listing().map_err(|cause| Fault::File { path: source.path().to_owned(), cause })?;
    for line in io::BufRead::lines(io::BufReader::new(listing)) {
        let failed = |cause| Fault::File { path: source.path().to_owned(), cause };
        let listed: snapshot::Listed =
            serde_json::from_str(&line.map_err(failed)?).map_err(|error| failed(error.into()))?;
        if snapshot::is_beside_projects(&listed.path) {
            let mut file = snapshot.open(&listed.path).map_err(failed)?;
            write(&target.path().join(&listed.path), &mut file)?;
        }
    }
    for name in [workers::JOIN_TOKENS, audit::FILE] {
        let path = source.path().join(name);
        match regular::open(&path) {
            Ok(mut file) => write(&target.path().join(name), &mut file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(Fault::File { path, cause }),
        }
    }
    Ok(())
}

/// Writes the tokens that nodes share to the files that a single node reads.
async fn copy_words(commons: &dyn Commons, target: &DataDir) -> Result<(), Fault> {
    for name in [admin::ADMIN_TOKEN, workers::JOIN_TOKENS] {
        if let Some(word) = commons.word(name).await? {
            write(&target.path().join(name), &mut word.as_bytes())?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &mut dyn io::Read) -> Result<(), Fault> {
    let mut write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::copy(content, &mut file)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|cause| Fault::File { path: path.to_owned(), cause })
}

/// Removes the marker, so that servers can use the target.
fn publish(target: &DataDir) -> Result<(), Fault> {
    let publish = || {
        fs::File::create(target.path().join(queue::RESTORED))?;
        let folder = fs::File::open(target.path())?;
        rustix::fs::syncfs(&folder)?;
        fs::remove_file(target.path().join(MARKER))?;
        folder.sync_all()
    };
    publish().map_err(|cause| Fault::File { path: target.path().to_owned(), cause })
}

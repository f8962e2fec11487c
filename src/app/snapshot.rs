//! Snapshots of a data directory, for backups: copies of the databases, and links to the files that they name.
//!
//! While removals are delayed ([`removals`]), the databases are copied first and the files are linked afterwards. So
//! the snapshot has every file that a copied database names. Files that were created between the two steps are in it
//! without a reference, as after a kill. Remaining files of deleted projects are left out. Hard links take no space,
//! and keep the content when a file is removed later.
//!
//! The queue is not copied: its jobs follow from the metadata, including earlier attempts and duties, and the next
//! start enqueues them again. Pauses of queues and dead letters are lost.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{S3_CREDENTIALS, identity};
use crate::buckets;
use crate::http::admin;
use crate::metadata::sqlite::copied;
use crate::model::ProjectId;
use crate::objects::Location;
use crate::system::identity::Register;
use crate::system::sqlite::{self, copy};
use crate::system::{data_dir, disk, folder, regular, removals};
use crate::telemetry::chain;

/// The name of the folder of a snapshot, in the folder of the objects or else in the data directory. It is removed at
/// each start, so that operators must not use this name.
const FOLDER: &str = "snapshot-being-read";
/// The name of the list of a snapshot's files, in its folder.
const LISTING: &str = "listing";
/// The name of the directory tree of a snapshot's files, in its folder.
const TREE: &str = "tree";
/// The small files that are copied unchanged.
const PLAIN: [&str; 3] = ["format", "identity", "objects/entityd/owner"];
/// The files with keys.
const KEYS: [&str; 4] = ["admin-token", S3_CREDENTIALS, "tls/self-signed.pem", "tls/certificate.pem"];

/// Returns true if the file with this path in a data directory holds keys.
pub fn is_key(path: &str) -> bool {
    KEYS.contains(&path)
}

/// Returns true if the file with this path in a data directory holds an object of a client's bucket.
pub fn is_in_bucket(path: &str) -> bool {
    path.starts_with("objects/buckets/")
}

/// An error in taking a snapshot. After it, nothing of the snapshot is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A database cannot be copied.
    #[error("cannot copy {file}: {}", chain(cause))]
    Database {
        /// The name of the database file.
        file: &'static str,
        /// The cause.
        cause: sqlite::Error,
    },
    /// A database of this data directory does not exist.
    #[error("cannot copy {file}: it is missing, and this data directory had one; restore it from a backup")]
    Missing {
        /// The name of the database file.
        file: &'static str,
    },
    /// The copies of the databases do not fit on the disk.
    #[error("the copies of the databases need {needed} bytes, and {free} bytes are free at {}", path.display())]
    NoRoom {
        /// The bytes that are needed.
        needed: u64,
        /// The bytes that are free.
        free: u64,
        /// The folder.
        path: PathBuf,
    },
    /// The directory has no identity.
    #[error("{} has no file `identity`: no server has used it yet", path.display())]
    Unused {
        /// The data directory.
        path: PathBuf,
    },
    /// An earlier snapshot cannot be removed.
    #[error(transparent)]
    LeftBehind(#[from] data_dir::Error),
    /// A file cannot be linked, copied or listed.
    #[error("cannot take {} into the snapshot: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}

/// The description of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of the program.
    pub version: String,
    /// The identity of the data directory.
    pub identity: String,
    /// The location of the objects; empty if they are in the data directory and in the snapshot.
    pub objects: String,
    /// The versions of the databases.
    pub databases: Vec<(String, u32)>,
    /// Files with keys that exist and are left out.
    pub keys_left_out: Vec<String>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The path of the file in the data directory.
    pub path: String,
    /// The size of the file.
    pub bytes: u64,
}

/// A snapshot. It is removed when this value is dropped.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
    about: About,
}

impl Snapshot {
    /// Takes a snapshot of the data directory at `data_dir`, which belongs to this process. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn take(data_dir: &Path, objects: &Location, with_keys: bool) -> Result<Self, Error> {
        let register = Register::read(data_dir).map_err(at(data_dir))?;
        let register = register.ok_or_else(|| Error::Unused { path: data_dir.to_owned() })?;
        remove_left_behind(data_dir)?;
        let folder = folder(data_dir);
        make(&folder.join(TREE))?;
        let about = About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: register.identity().to_string(),
            objects: objects.to_string(),
            databases: Vec::new(),
            keys_left_out: Vec::new(),
        };
        // From here on, the folder is removed after an error.
        let mut snapshot = Self { folder, about };
        snapshot.fill(data_dir, &register, with_keys)?;
        Ok(snapshot)
    }

    /// Returns the description of the snapshot.
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// Opens the list of its files: a JSON object [`Listed`] in each line, in the order of the paths.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn listing(&self) -> io::Result<File> {
        File::open(self.folder.join(LISTING))
    }

    /// Opens the file with this path in the data directory.
    ///
    /// # Errors
    /// The operating system's error; [`io::ErrorKind::NotFound`] also if the path is outside of the snapshot.
    pub fn open(&self, path: &str) -> io::Result<File> {
        let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
        if !Path::new(path).components().all(plain) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = self.folder.join(TREE).join(path);
        // Folders and invalid names are reported as not found too.
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        regular::open(&path)
    }

    fn fill(&mut self, data_dir: &Path, register: &Register, with_keys: bool) -> Result<(), Error> {
        let tree = self.folder.join(TREE);
        has_room(data_dir, &tree)?;
        // The owner's mark may have a higher number of commits than the copied database.
        for name in PLAIN {
            take(data_dir, &tree, name)?;
        }
        let held = removals::hold();
        for file in [identity::METADATA, identity::BUCKETS] {
            if register.has(file) && !data_dir.join(file).exists() {
                return Err(Error::Missing { file });
            }
        }
        let metadata = self.copy(data_dir, identity::METADATA, "objects/entityd/metadata.mark")?;
        let index = self.copy(data_dir, identity::BUCKETS, "objects/buckets/mark")?;
        let projects = match &metadata {
            Some(copy) => copied::projects(copy).map_err(in_database(identity::METADATA))?,
            None => BTreeSet::new(),
        };
        let files = match &index {
            Some(copy) => buckets::files_of_copy(copy).map_err(in_database(identity::BUCKETS))?,
            None => BTreeSet::new(),
        };
        let [from, to] = [data_dir, &tree].map(|home| home.join("objects"));
        link_below(&from.join("projects"), &to.join("projects"), &|name| {
            ProjectId::parse(name).is_some_and(|project| projects.contains(&project))
        })?;
        link_below(&from.join("similarity-scores"), &to.join("similarity-scores"), &|_| true)?;
        for file in &files {
            let [from, to] = [&from, &to].map(|home| home.join("buckets").join(file));
            link(&from, &to)?;
        }
        drop(held);
        for name in KEYS {
            if with_keys {
                take(data_dir, &tree, name)?;
            } else if data_dir.join(name).exists() {
                self.about.keys_left_out.push(name.to_owned());
            }
        }
        self.list(&tree)
    }

    /// Copies a database, and writes the marks of the copy to the same paths as those of the database.
    fn copy(
        &mut self,
        data_dir: &Path,
        file: &'static str,
        companion: &str,
    ) -> Result<Option<PathBuf>, Error> {
        let from = data_dir.join(file);
        if !from.exists() {
            return Ok(None);
        }
        let tree = self.folder.join(TREE);
        let to = tree.join(file);
        let copied = copy::copy(&from, &to).map_err(in_database(file))?;
        let mut marks = Vec::new();
        if data_dir.join(companion).exists() {
            let mark = tree.join(companion);
            make(mark.parent().unwrap_or(&tree))?;
            marks.push(mark);
        }
        marks.push(to.with_extension("mark"));
        copy::mark(copied, &marks);
        self.about.databases.push((file.to_owned(), copied.version));
        Ok(Some(to))
    }

    fn list(&self, tree: &Path) -> Result<(), Error> {
        let path = self.folder.join(LISTING);
        let mut files = Vec::new();
        walk(tree, tree, &mut files)?;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut listing = BufWriter::new(File::create(&path).map_err(at(&path))?);
        for file in files {
            let line = serde_json::to_string(&file).expect("a path and a number");
            writeln!(listing, "{line}").map_err(at(&path))?;
        }
        listing.flush().map_err(at(&path))
    }
}

impl admin::Snapshot for Snapshot {
    fn about(&self) -> serde_json::Value {
        serde_json::to_value(&self.about).expect("a description is plain data")
    }

    fn listing(&self) -> io::Result<File> {
        self.listing()
    }

    fn open(&self, path: &str) -> io::Result<File> {
        self.open(path)
    }
}

/// Takes snapshots of the data directory of a running server.
pub(super) struct Source {
    data_dir: PathBuf,
    objects: Location,
}

impl Source {
    pub(super) fn new(data_dir: &Path, objects: &Location) -> Self {
        Self { data_dir: data_dir.to_owned(), objects: objects.clone() }
    }
}

impl admin::Snapshots for Source {
    fn take(&self, with_keys: bool) -> Result<Box<dyn admin::Snapshot>, String> {
        let taken = Snapshot::take(&self.data_dir, &self.objects, with_keys);
        taken.map(|snapshot| Box::new(snapshot) as _).map_err(|error| error.to_string())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            let path = self.folder.display();
            tracing::warn!("cannot remove the snapshot {path}: {error}; the next start removes it");
        }
    }
}

/// Returns whether a file of a snapshot belongs to the buckets or holds keys.
pub(super) fn is_beside_projects(path: &str) -> bool {
    path.starts_with(identity::BUCKETS)
        || path.starts_with("buckets.mark")
        || is_in_bucket(path)
        || KEYS.contains(&path)
}

/// Removes a snapshot that a killed process has left.
///
/// # Errors
/// The operating system's error, with the path.
pub fn remove_left_behind(data_dir: &Path) -> Result<(), data_dir::Error> {
    let folder = folder(data_dir);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(data_dir::Error::Unusable { path: folder, cause }),
        Ok(()) => Ok(()),
    }
}

/// Returns the folder of the snapshot. If the objects are in the data directory, it is beside them, since hard links
/// work only within a file system.
fn folder(data_dir: &Path) -> PathBuf {
    let objects = data_dir.join("objects");
    if objects.is_dir() { objects.join("entityd").join(FOLDER) } else { data_dir.join(FOLDER) }
}

/// Checks that `tree` has room for a copy of the databases. A copy is at most as large as the database with its log.
fn has_room(data_dir: &Path, tree: &Path) -> Result<(), Error> {
    let files = [identity::METADATA, identity::BUCKETS].into_iter();
    let sizes = files.flat_map(|file| [file.to_owned(), format!("{file}-wal")]);
    let needed = sizes.map(|name| fs::metadata(data_dir.join(name)).map_or(0, |found| found.len())).sum();
    let free = disk::room(tree).map_err(at(tree))?.free_bytes;
    if free < needed { Err(Error::NoRoom { needed, free, path: tree.to_owned() }) } else { Ok(()) }
}

/// Links all files below `from`. At the top, only the entries that `wanted` accepts are included.
fn link_below(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<(), Error> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(at(from))?,
    };
    for entry in entries {
        let entry = entry.map_err(at(from))?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(wanted) {
            continue;
        }
        let kind = entry.file_type().map_err(at(&entry.path()))?;
        let target = to.join(&name);
        if kind.is_dir() {
            link_below(&entry.path(), &target, &|_| true)?;
        } else if kind.is_file() {
            link(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn link(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(folder) = to.parent() {
        make(folder)?;
    }
    match fs::hard_link(from, to) {
        // The file is missing in the server too, so that the snapshot is complete without it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(path = %from.display(), "a file that the database names is missing");
            Ok(())
        }
        // The file system does not support hard links, or the snapshot is on another file system.
        Err(error) if [io::ErrorKind::CrossesDevices, io::ErrorKind::Unsupported].contains(&error.kind()) => {
            fs::copy(from, to).map(drop).map_err(at(from))
        }
        linked => linked.map_err(at(from)),
    }
}

/// Copies a small file, unless it is missing.
fn take(data_dir: &Path, tree: &Path, name: &str) -> Result<(), Error> {
    let (from, to) = (data_dir.join(name), tree.join(name));
    let bytes = match regular::read(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        bytes => bytes.map_err(at(&from))?,
    };
    make(to.parent().unwrap_or(tree))?;
    fs::write(&to, bytes).map_err(at(&to))
}

fn walk(tree: &Path, folder: &Path, files: &mut Vec<Listed>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let (path, found) = (entry.path(), entry.metadata().map_err(at(folder))?);
        if found.is_dir() {
            walk(tree, &path, files)?;
        } else if let Some(name) = path.strip_prefix(tree).ok().and_then(Path::to_str) {
            files.push(Listed { path: name.to_owned(), bytes: found.len() });
        }
    }
    Ok(())
}

fn make(path: &Path) -> Result<(), Error> {
    folder::create(path, folder::PRIVATE).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    move |cause| Error::File { path: path.to_owned(), cause }
}

const fn in_database(file: &'static str) -> impl Fn(sqlite::Error) -> Error {
    move |cause| Error::Database { file, cause }
}

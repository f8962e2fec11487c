//! A repository of backups in a directory or a bucket: a manifest for each backup, and files named by their SHA-256.
//!
//! ```text
//! backups/{name}.json       a manifest; written last, so that a backup is complete or absent
//! blobs/{xx}/{sha256}       the content of one or more files
//! new/                      in a directory: unfinished files, which the next backup removes; in a bucket: `new/probe`
//!                           while a backup is made
//! lock                      in a directory only: locked while a backup writes
//! ```

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, path};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use super::manifest::Manifest;
use crate::cli::Failure;
use crate::objects::redact::described;
use crate::objects::{Location, S3Access, connect, keys};
use crate::runtime::entropy::Entropy;
use crate::system::{disk, folder, permission, regular};
use crate::telemetry::chain;

pub(super) const BACKUPS: &str = "backups";
const BLOBS: &str = "blobs";
const NEW: &str = "new";
const LOCK: &str = "lock";
/// The prefix of the names of temporary files.
const UNFINISHED: &str = ".tmp";
/// The time limit for a store to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The key of the probe: an object that a server has in its data directory if the bucket is its own.
const PROBE: &str = "new/probe";
/// The size of the probe. A server keeps smaller objects in its database.
const PROBE_BYTES: usize = 32 << 10;
/// The number of bytes in a part of an upload.
const PART_BYTES: usize = 8 << 20;

/// A stream of bytes.
pub(in crate::cli) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// A repository of backups.
#[derive(Clone)]
pub(in crate::cli) enum Repository {
    Directory(PathBuf),
    Bucket { store: Arc<dyn ObjectStore>, name: String },
}

/// The right to write to a repository. For a directory, it holds the lock.
pub(super) struct Writing {
    _lock: Option<File>,
    /// True if this backup created the directory.
    made: bool,
    /// For a bucket, the content of the probe.
    probe: Option<Vec<u8>>,
}

impl Writing {
    /// Returns the content of the probe, if there is one.
    pub(super) fn probe(&self) -> Option<&[u8]> {
        self.probe.as_deref()
    }
}

impl Repository {
    /// Returns the bucket that `text` names, if it names one.
    pub(in crate::cli) fn bucket(text: &str) -> Result<Option<Self>, Failure> {
        if !text.contains("://") {
            return Ok(None);
        }
        let Some(Location::Bucket { kind, bucket, prefix }) = Location::parse(text) else {
            let forms = "give a directory, a file that ends in .tar, or s3://, az:// or gs:// with a bucket";
            return Err(Failure::Usage(format!("{text}: {forms}")));
        };
        let store = connect(kind, &bucket, &prefix, &S3Access::default(), ANSWER_TIMEOUT);
        let store = store.map_err(|error| Failure::Failed(format!("{text}: {}", chain(&error))))?;
        Ok(Some(Self::Bucket { store, name: text.trim_end_matches('/').to_owned() }))
    }

    /// Fails if `to` names a bucket with the objects of a server, or a prefix below them, where the backup would be lost
    /// together with them. A place that these keys may not read is not checked.
    pub(super) async fn check_no_objects(to: &str) -> Result<(), Failure> {
        let Some(Location::Bucket { kind, bucket, prefix }) = Location::parse(to) else { return Ok(()) };
        let Ok(store) = connect(kind, &bucket, "", &S3Access::default(), ANSWER_TIMEOUT) else {
            return Ok(());
        };
        let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
        for count in (0..=parts.len()).rev() {
            let place = parts[..count].join("/");
            let mark = format!("{place}/{}", keys::OWNER);
            match store.head(&path::Path::from(mark)).await {
                Ok(_) => {
                    let scheme = to.split_once("://").map_or("s3", |(scheme, _)| scheme);
                    let found = format!("{scheme}://{bucket}/{place}");
                    return Err(Failure::Usage(format!(
                        "--to {to} is among the objects of a server: {} has an owner's mark ({}); give another bucket or \
                         prefix",
                        found.trim_end_matches('/'),
                        keys::OWNER
                    )));
                }
                Err(
                    object_store::Error::NotFound { .. }
                    | object_store::Error::PermissionDenied { .. }
                    | object_store::Error::Unauthenticated { .. },
                ) => {}
                Err(error) => return Err(no_answer(to, &error)),
            }
        }
        Ok(())
    }

    /// Locks a directory for writing, and removes the files of incomplete backups from it. Also returns the manifests.
    pub(super) async fn write(&self) -> Result<(Writing, Vec<Manifest>), Failure> {
        let home = match self {
            Self::Directory(home) => home,
            Self::Bucket { store, name } => {
                let manifests = self.manifests().await?;
                let probe = Entropy::system().bytes::<32>().repeat(PROBE_BYTES / 32);
                let put = store.put(&path::Path::from(PROBE), PutPayload::from(probe.clone())).await;
                put.map_err(|error| no_answer(name, &error))?;
                return Ok((Writing { _lock: None, made: false, probe: Some(probe) }, manifests));
            }
        };
        let failed = |error: io::Error| cannot_use(home, &error);
        let made = !home.exists();
        folder::create(home, folder::PRIVATE).map_err(failed)?;
        let known = [BACKUPS, BLOBS, NEW, LOCK, "lost+found"];
        let names = fs::read_dir(home).map_err(failed)?.filter_map(Result::ok).map(|entry| entry.file_name());
        if let Some(stranger) = names.into_iter().find(|name| !known.iter().any(|known| name == known)) {
            return Err(Failure::Usage(format!(
                "{} holds \"{}\", which does not belong to a backup; give --to a new or empty directory, or one with backups",
                home.display(),
                stranger.display()
            )));
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = regular::open_with(&home.join(LOCK), &mut options).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Failed(format!(
                    "another backup is writing to {}; wait until it ends",
                    home.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        for name in [BACKUPS, BLOBS, NEW] {
            folder::create(&home.join(name), folder::PRIVATE).map_err(failed)?;
        }
        let manifests = self.manifests().await?;
        clear(home, &manifests).map_err(failed)?;
        Ok((Writing { _lock: Some(lock), made, probe: None }, manifests))
    }

    /// Returns the path of the directory, or the URL of the bucket.
    pub(in crate::cli) fn name(&self) -> String {
        match self {
            Self::Directory(home) => home.display().to_string(),
            Self::Bucket { name, .. } => name.clone(),
        }
    }

    /// Returns the names of all backups, oldest first.
    pub(in crate::cli) async fn backups(&self) -> Result<Vec<String>, Failure> {
        let mut names: Vec<String> = match self {
            Self::Directory(home) => match fs::read_dir(home.join(BACKUPS)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                entries => entries
                    .map_err(|error| cannot_use(home, &error))?
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .collect(),
            },
            Self::Bucket { store, name } => {
                let found: Vec<_> = store
                    .list(Some(&path::Path::from(BACKUPS)))
                    .try_collect()
                    .await
                    .map_err(|error| no_answer(name, &error))?;
                found.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect()
            }
        };
        names = names.iter().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the manifest of the backup with this name, or of the latest.
    pub(in crate::cli) async fn manifest(&self, backup: Option<&str>) -> Result<Manifest, Failure> {
        let names = self.backups().await?;
        let Some(latest) = names.last() else {
            return Err(Failure::Input(format!("{} holds no backup", self.name())));
        };
        let name = backup.unwrap_or(latest);
        if !names.iter().any(|known| known == name) {
            let known = names.join(", ");
            return Err(Failure::Input(format!("{} holds no backup {name}; it holds {known}", self.name())));
        }
        let file = format!("{BACKUPS}/{name}.json");
        let mut bytes = Vec::new();
        let mut reader = self.open(&file).await?;
        let read = reader.read_to_end(&mut bytes).await;
        read.map_err(|error| Failure::Failed(format!("cannot read {file} in {}: {error}", self.name())))?;
        Manifest::parse(&bytes, &format!("{}/{file}", self.name()))
    }

    /// Reads all manifests. One that cannot be read is an error: it is unknown which files its backup needs.
    async fn manifests(&self) -> Result<Vec<Manifest>, Failure> {
        let mut manifests = Vec::new();
        for name in self.backups().await? {
            let manifest = self.manifest(Some(&name)).await.map_err(|failure| match failure {
                Failure::Input(why) => Failure::Input(format!(
                    "no backup is added beside one that cannot be read: {}; give another --to, or remove that manifest and with \
                     it the backup",
                    why.trim_end_matches("; use another backup")
                )),
                other => other,
            });
            manifests.push(manifest?);
        }
        Ok(manifests)
    }

    /// Opens the file with this hash.
    pub(in crate::cli) async fn blob(&self, sha256: &str) -> Result<Reader, Failure> {
        self.open(&blob(sha256)).await
    }

    /// Returns the size of the file with this hash; `None` if it is missing.
    pub(in crate::cli) async fn size(&self, sha256: &str) -> Result<Option<u64>, Failure> {
        match self {
            Self::Directory(home) => Ok(fs::metadata(home.join(blob(sha256))).ok().map(|found| found.len())),
            Self::Bucket { store, name } => match store.head(&path::Path::from(blob(sha256))).await {
                Ok(found) => Ok(Some(found.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(no_answer(name, &error)),
            },
        }
    }

    /// Returns the free bytes, if they are known.
    pub(super) fn free(&self) -> Option<u64> {
        match self {
            Self::Directory(home) => disk::room(home).ok().map(|room| room.free_bytes),
            Self::Bucket { .. } => None,
        }
    }

    /// Creates a temporary file for a blob or a manifest.
    pub(super) fn fresh(&self) -> io::Result<NamedTempFile> {
        match self {
            Self::Directory(home) => tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(home.join(NEW)),
            Self::Bucket { .. } => NamedTempFile::new(),
        }
    }

    /// Stores a complete file under its hash.
    pub(super) async fn keep(&self, file: NamedTempFile, sha256: &str) -> Result<(), Failure> {
        match self {
            Self::Directory(home) => {
                let target = home.join(blob(sha256));
                let moved = folder::create(target.parent().unwrap_or(home), folder::PRIVATE)
                    .and_then(|()| file.persist(&target).map(drop).map_err(|error| error.error));
                moved.map_err(|error| cannot_use(home, &error))
            }
            Self::Bucket { store, name } => {
                let sent = send(&**store, file, &blob(sha256)).await;
                sent.map_err(|error| no_answer(name, &error))
            }
        }
    }

    /// Removes the probe, as far as possible: the next backup to this bucket replaces it.
    async fn remove_probe(&self) {
        if let Self::Bucket { store, .. } = self {
            let _ = store.delete(&path::Path::from(PROBE)).await;
        }
    }

    /// Makes all stored files durable, then publishes the manifest.
    pub(super) async fn publish(&self, manifest: &Manifest) -> Result<(), Failure> {
        let file = format!("{BACKUPS}/{}.json", manifest.backup);
        match self {
            Self::Directory(home) => {
                let publish = || {
                    let mut new = self.fresh()?;
                    new.write_all(&manifest.to_bytes())?;
                    rustix::fs::syncfs(new.as_file())?;
                    new.persist(home.join(&file)).map_err(|error| error.error)?;
                    File::open(home.join(BACKUPS))?.sync_all()
                };
                publish().map_err(|error| cannot_use(home, &error))
            }
            Self::Bucket { store, name } => {
                self.remove_probe().await;
                let put = store.put(&path::Path::from(file), PutPayload::from(manifest.to_bytes())).await;
                put.map(drop).map_err(|error| no_answer(name, &error))
            }
        }
    }

    /// Removes the files that an incomplete backup has added, as far as possible: in a directory, the next backup
    /// removes the rest.
    pub(super) async fn forget(&self, added: &[String], writing: Writing) {
        self.remove_probe().await;
        for sha256 in added {
            match self {
                Self::Directory(home) => drop(fs::remove_file(home.join(blob(sha256)))),
                Self::Bucket { store, .. } => drop(store.delete(&path::Path::from(blob(sha256))).await),
            }
        }
        let Self::Directory(home) = self else { return };
        // If there is another backup, its folders are kept.
        if fs::remove_dir(home.join(BACKUPS)).is_ok() {
            let _ = clear_all(home);
            let _ = fs::remove_file(home.join(LOCK));
            if writing.made {
                let _ = fs::remove_dir(home);
            }
        }
    }

    async fn open(&self, file: &str) -> Result<Reader, Failure> {
        match self {
            Self::Directory(home) => {
                let path = home.join(file);
                match regular::open(&path) {
                    Ok(file) => Ok(Box::new(tokio::fs::File::from_std(file))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        Err(Failure::Input(format!("{} is missing", path.display())))
                    }
                    Err(error) => Err(cannot_use(&path, &error)),
                }
            }
            Self::Bucket { store, name } => match store.get(&path::Path::from(file)).await {
                Ok(found) => Ok(Box::new(StreamReader::new(found.into_stream().map_err(io::Error::other)))),
                Err(object_store::Error::NotFound { .. }) => {
                    Err(Failure::Input(format!("{name}/{file} is missing")))
                }
                Err(error) => Err(no_answer(name, &error)),
            },
        }
    }
}

async fn send(store: &dyn ObjectStore, file: NamedTempFile, key: &str) -> object_store::Result<()> {
    let wrong = |error: io::Error| object_store::Error::Generic { store: "file", source: Box::new(error) };
    let key = path::Path::from(key);
    let size = file.as_file().metadata().map_err(wrong)?.len();
    let mut source = tokio::fs::File::open(file.path()).await.map_err(wrong)?;
    if size <= PART_BYTES as u64 {
        let mut bytes = Vec::with_capacity(size as usize);
        source.read_to_end(&mut bytes).await.map_err(wrong)?;
        return store.put(&key, PutPayload::from(bytes)).await.map(drop);
    }
    let mut parts = WriteMultipart::new_with_chunk_size(store.put_multipart(&key).await?, PART_BYTES);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match source.read(&mut buffer).await {
            Ok(0) => return parts.finish().await.map(drop),
            Ok(count) => {
                parts.wait_for_capacity(4).await?;
                parts.write(&buffer[..count]);
            }
            Err(error) => {
                // If this fails, the lifecycle rules of the bucket remove the parts.
                let _ = parts.abort().await;
                return Err(wrong(error));
            }
        }
    }
}

/// Removes temporary files, and blobs that no manifest lists.
fn clear(home: &Path, manifests: &[Manifest]) -> io::Result<()> {
    let entries = manifests.iter().flat_map(|manifest| &manifest.entries);
    let named: HashSet<&str> = entries.map(|entry| entry.sha256.as_str()).collect();
    remove(&home.join(NEW), |name| name.starts_with(UNFINISHED))?;
    for folder in blob_folders(home)? {
        let start = folder.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        remove(&folder, |name| is_blob(name) && name.starts_with(&start) && !named.contains(name))?;
    }
    Ok(())
}

/// Removes everything that backups have written. Called only if no backup is complete.
fn clear_all(home: &Path) -> io::Result<()> {
    clear(home, &[])?;
    for folder in blob_folders(home)? {
        // A folder with other content is kept.
        let _ = fs::remove_dir(folder);
    }
    for folder in [BLOBS, NEW] {
        let _ = fs::remove_dir(home.join(folder));
    }
    Ok(())
}

/// Returns the folders that hold blobs.
fn blob_folders(home: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(home.join(BLOBS))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().len() == 2 {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Removes the files of a folder whose names satisfy `is_such`.
fn remove(folder: &Path, is_such: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name().to_str().is_some_and(&is_such) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_blob(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Fails if `path`, which `flag` names, is in a data directory, with which it would be lost, or in a directory of other
/// backups, which the next backup would refuse because of it.
///
/// # Errors
/// A message for the user.
pub(super) fn check_outside(flag: &str, path: &Path) -> Result<(), Failure> {
    let path = std::path::absolute(path).map_err(|error| cannot_use(path, &error))?;
    // The existing part of the path may contain symbolic links.
    let real = path.ancestors().find_map(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let home = real.ancestors().find(|folder| {
        folder.join("format").is_file() && folder.join("identity").is_file() && folder.join("lock").is_file()
    });
    // The path itself may be a directory of backups.
    let repository = real.ancestors().skip(usize::from(path.exists())).find(|folder| {
        folder.join(BACKUPS).is_dir() && folder.join(BLOBS).is_dir() && folder.join(LOCK).is_file()
    });
    let why = match (home, repository) {
        (Some(home), _) => format!("the data directory {}, with which it would be lost", home.display()),
        (None, Some(other)) => format!(
            "the directory of backups {}, which would accept no more backups because of it",
            other.display()
        ),
        (None, None) => return Ok(()),
    };
    Err(Failure::Usage(format!("{flag} {} is in {why}; give another directory", path.display())))
}

fn blob(sha256: &str) -> String {
    format!("{BLOBS}/{}/{sha256}", &sha256[..2])
}

/// Returns the error for a file or a directory that cannot be used.
pub(in crate::cli) fn cannot_use(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot use {}: {}", path.display(), permission::explanation(path, error)))
}

fn no_answer(name: &str, error: &object_store::Error) -> Failure {
    let why = described(error);
    // Without keys, the client asks the metadata service of a cloud machine.
    let advice = if why.contains("169.254.169.254") {
        "; on other machines, put keys into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    } else {
        ""
    };
    Failure::Failed(format!("{name}: {why}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(first: &str) -> String {
        format!("{first:0<64}")
    }

    #[tokio::test]
    async fn files_that_no_backup_made_stay() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let strangers =
            ["new/photo.jpg", "new/trip/photo.jpg", "blobs/ab/notes.txt", "blobs/sha256/image", "blobs/x"];
        let ours = ["new/.tmpAbCdEf".to_owned(), format!("blobs/ab/{}", hash("ab"))];
        for file in strangers.map(str::to_owned).iter().chain(&ours) {
            fs::create_dir_all(home.join(file).parent().unwrap()).unwrap();
            fs::write(home.join(file), b"x").unwrap();
        }
        let repository = Repository::Directory(home.to_owned());
        let (writing, manifests) = repository.write().await.unwrap();
        assert!(manifests.is_empty());
        assert!(ours.iter().all(|file| !home.join(file).exists()));
        repository.forget(&[], writing).await;
        for file in strangers {
            assert!(home.join(file).exists(), "{file}");
        }
    }

    #[tokio::test]
    async fn a_first_backup_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("made");
        let repository = Repository::Directory(home.clone());
        let (writing, _) = repository.write().await.unwrap();
        repository.keep(repository.fresh().unwrap(), &hash("ab")).await.unwrap();
        repository.forget(&[], writing).await;
        assert!(!home.exists());
    }

    #[tokio::test]
    async fn nothing_is_added_or_removed_beside_a_backup_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let kept = home.join(format!("blobs/ab/{}", hash("ab")));
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::create_dir(home.join(BACKUPS)).unwrap();
        fs::write(&kept, b"x").unwrap();
        for content in ["{", r#"{"format": 99}"#] {
            fs::write(home.join("backups/a.json"), content).unwrap();
            let refused = Repository::Directory(home.to_owned()).write().await.err().unwrap().to_string();
            assert!(refused.contains("backups/a.json") && refused.contains("give another --to"), "{refused}");
            assert!(!refused.contains("use another backup") && kept.exists(), "{refused}");
        }
    }

    #[test]
    fn a_place_in_a_data_directory_or_among_backups_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("objects")).unwrap();
        for file in ["format", "identity", "lock"] {
            fs::write(data.join(file), b"").unwrap();
        }
        std::os::unix::fs::symlink(&data, folder.path().join("link")).unwrap();
        for inside in ["data", "data/backups", "data/objects/a/b", "link/backups.tar"] {
            let refused = check_outside("--to", &folder.path().join(inside)).unwrap_err().to_string();
            assert!(refused.contains("is in the data directory"), "{refused}");
        }
        let shelf = folder.path().join("shelf");
        for part in [BACKUPS, BLOBS] {
            fs::create_dir_all(shelf.join(part)).unwrap();
        }
        fs::write(shelf.join(LOCK), b"").unwrap();
        fs::write(shelf.join("old.tar"), b"").unwrap();
        for inside in ["shelf/restored", "shelf/new.tar", "shelf/old.tar", "shelf/blobs/ab"] {
            let refused = check_outside("--into", &folder.path().join(inside)).unwrap_err().to_string();
            assert!(refused.contains("is in the directory of backups"), "{refused}");
        }
        for outside in ["backups", "shelf", "shelf/"] {
            check_outside("--to", &folder.path().join(outside)).unwrap();
        }
    }
}

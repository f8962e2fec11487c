//! Makes a backup.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::archive;
use super::copy::copy;
use super::keys::{self, Passphrase};
use super::manifest::{Entry, KEYS, Manifest, is_immutable};
use super::repository::{Repository, Writing, check_outside};
use super::source::Source;
use crate::app::snapshot::{Listed, is_in_bucket, is_key};
use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::runtime::clock::{Clock, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::system::disk;

/// The bytes that must be free in addition to the copied ones, for the manifest and the file system itself.
const SPARE_BYTES: u64 = 1 << 20;

/// The destination of a backup.
pub(super) enum Target {
    Repository { repository: Repository, writing: Writing, earlier: Vec<Manifest>, added: Vec<String> },
    File(archive::Writer),
}

/// The result of copying.
pub(super) struct Made {
    pub(super) manifest: Manifest,
    /// The number of copied files, and of their bytes.
    pub(super) copied: (u64, u64),
}

impl Target {
    /// Opens a directory, a bucket, or a file whose name ends in `.tar`.
    pub(super) async fn open(to: &str) -> Result<Self, Failure> {
        let path = Path::new(to);
        let bucket = Repository::bucket(to)?;
        match bucket {
            Some(_) => Repository::check_no_objects(to).await?,
            None => check_outside("--to", path)?,
        }
        let repository = match bucket {
            Some(repository) => repository,
            // A rename would replace a device, a pipe or a socket.
            None if path.exists() && !path.is_dir() && !path.is_file() => {
                return Err(Failure::Usage(format!(
                    "--to {to} is neither a file nor a directory; give a directory, or a name that ends in .tar"
                )));
            }
            None if path.extension().is_some_and(|end| end == "tar") && !path.is_dir() => {
                return archive::Writer::create(path).map(Self::File);
            }
            None if path.is_file() => {
                return Err(Failure::Usage(format!(
                    "--to {to} is a file; give a directory, or a name that ends in .tar"
                )));
            }
            None => Repository::Directory(path.to_owned()),
        };
        let (writing, earlier) = repository.write().await?;
        Ok(Self::Repository { repository, writing, earlier, added: Vec::new() })
    }

    /// Copies the missing files, and the keys if there is a passphrase to encrypt them with.
    pub(super) async fn copy(
        &mut self,
        source: &Source,
        passphrase: Option<&Passphrase>,
        progress: &mut Progress,
    ) -> Result<Made, Failure> {
        let listed = source.listing().await?;
        if let Self::Repository { repository, writing, .. } = self {
            check_probe(source, &listed, writing.probe(), &repository.name()).await?;
        }
        let (keys, listed): (Vec<_>, Vec<_>) = listed.into_iter().partition(|file| is_key(&file.path));
        let known = self.known(&source.about().identity);
        let known = |file: &Listed| {
            let same = |(bytes, sha256): &(u64, String)| (*bytes == file.bytes).then(|| sha256.clone());
            if is_immutable(&file.path) { known.get(&file.path).and_then(same) } else { None }
        };
        let new = listed.iter().filter(|file| known(file).is_none()).map(|file| file.bytes);
        let wanted: u64 = new.sum();
        self.has_room(wanted)?;
        let (mut entries, mut copied) = (Vec::with_capacity(listed.len()), (0, 0));
        for file in listed {
            let sha256 = match known(&file) {
                Some(sha256) if self.has(&sha256, file.bytes).await? => sha256,
                _ => {
                    progress.show("copying", copied.1 as f64 / wanted.max(1) as f64);
                    let reader = source.open(&file.path).await?;
                    copied = (copied.0 + 1, copied.1 + file.bytes);
                    self.add(&file, reader).await?
                }
            };
            entries.push(Entry { path: file.path, bytes: file.bytes, sha256 });
        }
        if let Some(passphrase) = passphrase.filter(|_| !keys.is_empty()) {
            let encrypted = keys::encrypted(source, &keys, passphrase).await?;
            let file = Listed { path: KEYS.to_owned(), bytes: encrypted.len() as u64 };
            let sha256 = self.add(&file, encrypted.as_slice()).await?;
            copied = (copied.0 + 1, copied.1 + file.bytes);
            entries.push(Entry { path: file.path, bytes: file.bytes, sha256 });
            entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        let now = Clock::system().now();
        let name = name(now, u16::from_le_bytes(Entropy::system().bytes()));
        let manifest = Manifest {
            format: 0,
            backup: name,
            made: now.to_string(),
            about: source.about().clone(),
            entries,
            keys_encrypted: keys.into_iter().map(|file| file.path).collect(),
            root: String::new(),
        };
        Ok(Made { manifest: manifest.seal(), copied })
    }

    /// Writes the manifest, which makes the backup complete.
    pub(super) async fn publish(self, manifest: &Manifest) -> Result<(), Failure> {
        match self {
            Self::File(file) => file.publish(manifest),
            Self::Repository { repository, writing, added, .. } => {
                let published = repository.publish(manifest).await;
                if published.is_err() {
                    repository.forget(&added, writing).await;
                }
                published
            }
        }
    }

    /// Removes the files that were written so far.
    pub(super) async fn discard(self) {
        if let Self::Repository { repository, writing, added, .. } = self {
            repository.forget(&added, writing).await;
        }
    }

    /// Returns the size and the hash of the files that never change, by path, from earlier backups of the same data
    /// directory.
    fn known(&self, identity: &str) -> HashMap<String, (u64, String)> {
        let Self::Repository { earlier, .. } = self else { return HashMap::new() };
        let same = earlier.iter().filter(|manifest| manifest.about.identity == identity);
        let entries = same.flat_map(|manifest| &manifest.entries).filter(|entry| is_immutable(&entry.path));
        entries.map(|entry| (entry.path.clone(), (entry.bytes, entry.sha256.clone()))).collect()
    }

    /// Returns true if a file of an earlier backup still has its full size. For a bucket, this is assumed.
    async fn has(&self, sha256: &str, bytes: u64) -> Result<bool, Failure> {
        match self {
            Self::Repository { repository: repository @ Repository::Directory(_), .. } => {
                Ok(repository.size(sha256).await? == Some(bytes))
            }
            Self::Repository { .. } => Ok(true),
            Self::File(_) => Ok(false),
        }
    }

    fn has_room(&self, wanted: u64) -> Result<(), Failure> {
        let (free, name) = match self {
            Self::Repository { repository, .. } => (repository.free(), repository.name()),
            Self::File(file) => (disk::room(file.folder()).ok().map(|room| room.free_bytes), file.name()),
        };
        let needed = wanted.saturating_add(SPARE_BYTES);
        match free {
            Some(free) if free < needed => Err(Failure::Failed(format!(
                "the backup needs {needed} bytes, {SPARE_BYTES} of them to spare, but only {free} bytes are free at {name}"
            ))),
            _ => Ok(()),
        }
    }

    async fn add(&mut self, file: &Listed, reader: impl AsyncRead + Unpin) -> Result<String, Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("cannot copy {}: {error}", file.path));
        match self {
            Self::File(archive) => {
                archive.begin(&file.path, file.bytes).map_err(failed)?;
                let sha256 = copy(reader, archive, file.bytes).await.map_err(failed)?;
                archive.end(file.bytes).map_err(failed)?;
                Ok(sha256)
            }
            Self::Repository { repository, added, .. } => {
                let mut new = repository.fresh().map_err(failed)?;
                let sha256 = copy(reader, &mut new, file.bytes).await.map_err(failed)?;
                if repository.size(&sha256).await? != Some(file.bytes) {
                    repository.keep(new, &sha256).await?;
                    added.push(sha256.clone());
                }
                Ok(sha256)
            }
        }
    }
}

/// Fails if the snapshot, with the files `listed`, has the probe that was written to the target: the backup would be
/// stored in the data directory that it copies, and each backup would contain the one before.
async fn check_probe(
    source: &Source,
    listed: &[Listed],
    probe: Option<&[u8]>,
    to: &str,
) -> Result<(), Failure> {
    let Some(probe) = probe else { return Ok(()) };
    for file in listed.iter().filter(|file| is_in_bucket(&file.path) && file.bytes == probe.len() as u64) {
        let mut found = Vec::with_capacity(probe.len());
        let read = source.open(&file.path).await?.take(file.bytes).read_to_end(&mut found).await;
        read.map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.path)))?;
        if found == probe {
            return Err(Failure::Usage(format!(
                "--to {to} is a bucket of the server that is backed up: the backup would be in its data directory, and \
                 lost with it; give a bucket of another store, or a directory"
            )));
        }
    }
    Ok(())
}

/// Returns a name for a backup made at `now`: the date and the time to the second, the microseconds in five
/// hexadecimal digits, and three random ones. Names sort by time.
fn name(now: Timestamp, chance: u16) -> String {
    format!("{}-{:05x}{:03x}", now.compact(), now.as_micros().rem_euclid(1_000_000), chance & 0xfff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backup_replaces_no_device_pipe_or_socket() {
        let folder = tempfile::tempdir().unwrap();
        let [socket, link] = ["socket.tar", "link.tar"].map(|name| folder.path().join(name));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        for path in [&socket, &link, Path::new("/dev/null")] {
            let refused = Target::open(path.to_str().unwrap()).await.err().unwrap();
            assert!(matches!(refused, Failure::Usage(_)), "{}", path.display());
        }
    }

    #[test]
    fn names_of_backups_sort_by_time_also_within_a_second() {
        let at = |micros: i64, chance| name(Timestamp::from_micros(1_795_000_000_000_000 + micros), chance);
        let names = [at(0, 0xffff), at(1, 0), at(999_999, 0xffff), at(1_000_000, 0)];
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|name| name.len() == names[0].len()));
    }
}

//! An existing backup: in a repository, or in one file.

use std::fs;
use std::io;
use std::path::Path;

use super::archive::Index;
use super::copy::copy;
use super::manifest::{Entry, Manifest};
use super::repository::{BACKUPS, Reader, Repository, cannot_use};
use crate::cli::Failure;

/// One or more existing backups.
pub(in crate::cli) enum Stored {
    Repository(Repository),
    File(Index),
}

impl Stored {
    /// Opens a directory, a bucket, or a file.
    pub(in crate::cli) fn open(from: &str) -> Result<Self, Failure> {
        let path = Path::new(from);
        match Repository::bucket(from)? {
            Some(repository) => Ok(Self::Repository(repository)),
            None => match fs::metadata(path.join(BACKUPS)) {
                Ok(found) if found.is_dir() => Ok(Self::Repository(Repository::Directory(path.to_owned()))),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    Err(cannot_use(path, &error))
                }
                _ if path.is_dir() => Err(Failure::Input(format!("{from} holds no backup"))),
                _ => Index::open(path).map(Self::File),
            },
        }
    }

    /// Returns the names of the backups.
    pub(in crate::cli) async fn backups(&self) -> Result<Vec<String>, Failure> {
        match self {
            Self::Repository(repository) => repository.backups().await,
            Self::File(index) => index.manifest().await.map(|manifest| vec![manifest.backup]),
        }
    }

    /// Returns the manifest of the backup with this name, or of the latest.
    pub(in crate::cli) async fn manifest(&self, backup: Option<&str>) -> Result<Manifest, Failure> {
        match self {
            Self::Repository(repository) => repository.manifest(backup).await,
            Self::File(index) => {
                let manifest = index.manifest().await?;
                match backup.filter(|name| *name != manifest.backup) {
                    Some(name) => Err(Failure::Input(format!(
                        "the file holds the backup {}, not {name}",
                        manifest.backup
                    ))),
                    None => Ok(manifest),
                }
            }
        }
    }

    /// Checks that every entry exists and has the right size.
    pub(in crate::cli) async fn check_sizes(&self, manifest: &Manifest) -> Result<(), Failure> {
        for entry in &manifest.entries {
            let found = match self {
                Self::Repository(repository) => repository.size(&entry.sha256).await?,
                Self::File(index) => index.size(&entry.path),
            };
            match found {
                None => return Err(damaged(entry, "it is missing")),
                Some(bytes) if bytes != entry.bytes => {
                    return Err(damaged(entry, &format!("it has {bytes} of {} bytes", entry.bytes)));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Copies an entry, and verifies its content.
    pub(in crate::cli) async fn copy(
        &self,
        entry: &Entry,
        writer: &mut impl io::Write,
    ) -> Result<(), Failure> {
        let reader: Reader = match self {
            Self::Repository(repository) => repository.blob(&entry.sha256).await?,
            Self::File(index) => index.entry(&entry.path)?,
        };
        let mut sink = Sink { writer, failure: None };
        let copied = copy(reader, &mut sink, entry.bytes).await;
        if let Some(error) = sink.failure {
            return Err(Failure::Failed(format!("cannot write {}: {error}", entry.path)));
        }
        match copied {
            Ok(sha256) if sha256 == entry.sha256 => Ok(()),
            Ok(_) => Err(damaged(entry, "its SHA-256 does not match")),
            Err(error) => Err(damaged(entry, &error.to_string())),
        }
    }
}

/// Passes bytes to a writer, and keeps its error, which tells write errors from read errors.
struct Sink<'a, W> {
    writer: &'a mut W,
    failure: Option<io::Error>,
}

impl<W: io::Write> io::Write for Sink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.failure = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Returns the failure of a damaged entry.
pub(super) fn damaged(entry: &Entry, why: &str) -> Failure {
    Failure::Input(format!("the backup is damaged at the entry {}: {why}; use another backup", entry.path))
}

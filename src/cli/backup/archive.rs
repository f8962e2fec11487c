//! A backup in one file: a tar archive of the data directory, with the manifest as its last entry.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType, Header};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;

use super::manifest::Manifest;
use super::repository::{Reader, cannot_use};
use crate::cli::Failure;
use crate::cli::destination::followed;
use crate::system::regular;

/// The name of the entry with the manifest.
const MANIFEST: &str = "entityd-backup.json";
/// The size of a block in bytes. Each entry of a tar archive is padded to a multiple of it.
const BLOCK: u64 = 512;

/// Writes an archive to a temporary file in the directory of its final path.
pub(super) struct Writer {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl Writer {
    /// Begins an archive, which may replace an earlier backup or an empty file, but no other file.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let is_empty = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
        if !is_empty && Index::open(path).is_err() {
            return Err(Failure::Usage(format!(
                "--to {} is not a complete backup; move it away, or give another name",
                path.display()
            )));
        }
        let path = followed(path).map_err(|error| cannot_use(path, &error))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".entityd-backup-").tempfile_in(folder);
        let file = file.map_err(|error| cannot_use(&path, &error))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), path })
    }

    pub(super) fn folder(&self) -> &Path {
        self.file.get_ref().path().parent().unwrap_or(Path::new("."))
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Begins an entry. The caller then writes its bytes and calls [`Self::end`].
    pub(super) fn begin(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path(path)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_cksum();
        self.file.write_all(header.as_bytes())
    }

    pub(super) fn end(&mut self, bytes: u64) -> io::Result<()> {
        let rest = (BLOCK - bytes % BLOCK) % BLOCK;
        self.file.write_all(&vec![0; rest as usize])
    }

    /// Writes the manifest, and renames the file to its final path.
    pub(super) fn publish(mut self, manifest: &Manifest) -> Result<(), Failure> {
        let bytes = manifest.to_bytes();
        let mut publish = || {
            self.begin(MANIFEST, bytes.len() as u64)?;
            self.file.write_all(&bytes)?;
            self.end(bytes.len() as u64)?;
            self.file.write_all(&[0; 2 * BLOCK as usize])?;
            self.file.flush()?;
            self.file.get_ref().as_file().sync_all()
        };
        publish().map_err(|error| cannot_use(&self.path, &error))?;
        let file = self.file.into_inner().map_err(|error| cannot_use(&self.path, error.error()))?;
        file.persist(&self.path).map(drop).map_err(|error| cannot_use(&self.path, &error.error))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// An existing archive.
pub(in crate::cli) struct Index {
    path: PathBuf,
    /// The offset and the number of bytes of each entry, by path.
    entries: HashMap<String, (u64, u64)>,
}

impl Index {
    /// Lists the entries of the archive at `path`.
    pub(in crate::cli) fn open(path: &Path) -> Result<Self, Failure> {
        let file = regular::open(path).map_err(|error| cannot_use(path, &error))?;
        let size = file.metadata().map_err(|error| cannot_use(path, &error))?.len();
        let mut last = "its beginning".to_owned();
        let cut = |at: &str| {
            Failure::Input(format!(
                "{} is not a complete backup: it is truncated or damaged at {at}",
                path.display()
            ))
        };
        let mut archive = Archive::new(file);
        let mut entries = HashMap::new();
        for entry in archive.entries_with_seek().map_err(|_| cut(&last))? {
            let entry = entry.map_err(|_| cut(&last))?;
            let name = entry.path().ok().and_then(|name| name.to_str().map(str::to_owned));
            last = name.ok_or_else(|| cut(&last))?;
            let (begin, bytes) = (entry.raw_file_position(), entry.size());
            if begin.checked_add(bytes).is_none_or(|end| end > size) {
                return Err(cut(&last));
            }
            entries.insert(last.clone(), (begin, bytes));
        }
        if entries.contains_key(MANIFEST) {
            Ok(Self { path: path.to_owned(), entries })
        } else {
            Err(cut(&last))
        }
    }

    pub(in crate::cli) async fn manifest(&self) -> Result<Manifest, Failure> {
        let mut bytes = Vec::new();
        let read = self.entry(MANIFEST)?.read_to_end(&mut bytes).await;
        read.map_err(|error| cannot_use(&self.path, &error))?;
        Manifest::parse(&bytes, &format!("{MANIFEST} in {}", self.path.display()))
    }

    pub(in crate::cli) fn size(&self, path: &str) -> Option<u64> {
        self.entries.get(path).map(|(_, bytes)| *bytes)
    }

    pub(in crate::cli) fn entry(&self, path: &str) -> Result<Reader, Failure> {
        let missing = || Failure::Input(format!("{} has no entry {path}", self.path.display()));
        let (begin, bytes) = self.entries.get(path).ok_or_else(missing)?;
        let opened = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(*begin))?;
            Ok(file)
        });
        let file = opened.map_err(|error| cannot_use(&self.path, &error))?;
        Ok(Box::new(tokio::fs::File::from_std(file).take(*bytes)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_no_backup_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [strangers, empty, new] =
            ["photos.tar", "empty.tar", "new.tar"].map(|name| folder.path().join(name));
        fs::write(&strangers, b"photos").unwrap();
        fs::write(&empty, b"").unwrap();
        let refused = Writer::create(&strangers).err().unwrap().to_string();
        assert!(refused.ends_with("move it away, or give another name"), "{refused}");
        assert_eq!(fs::read(&strangers).unwrap(), b"photos");
        assert!(Writer::create(&empty).is_ok() && Writer::create(&new).is_ok());
    }
}

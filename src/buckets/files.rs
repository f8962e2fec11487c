//! The files of bucket contents: `objects/buckets/{xx}/{number}`, where `xx` is the last byte of the number, in
//! hexadecimal. The names reveal nothing about the keys; the index maps keys to them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::system::open_files::patiently;
use crate::system::place::Place;
use crate::system::{folder, regular, removals};

/// The number of directories over which the files are spread.
pub(super) const PLACES: i64 = 256;
/// The bits of a number that count the files since the index was opened; the higher bits are the opening.
const NUMBERS: u32 = 40;

/// The number of a file or of an object's data. Never reused.
pub(super) type Number = i64;

/// Returns the place of a number's file, that is its directory: the last byte of the number.
const fn place(number: Number) -> i64 {
    number & (PLACES - 1)
}

/// Returns the opening of the index in which a number was assigned.
pub(super) const fn opening_of(number: Number) -> i64 {
    number >> NUMBERS
}

/// The number of openings in a series. If the count of openings is in doubt, the next series begins.
pub(super) const SERIES: i64 = 1 << 16;

pub(super) const fn series_of(opening: i64) -> i64 {
    opening / SERIES
}

/// The directory of the files. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    place: Place,
    next: AtomicI64,
}

impl Files {
    /// Opens the directory; creates missing subdirectories. `opened` is the current opening of the index. New file
    /// numbers begin with it, so that no number is assigned twice.
    pub(super) fn open(root: &Path, opened: i64) -> io::Result<Self> {
        for place in 0..PLACES {
            let path = root.join(format!("{place:02x}"));
            folder::create(&path, folder::PRIVATE).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display()))
            })?;
        }
        File::open(root)?.sync_all()?;
        if let Some(parent) = root.parent() {
            File::open(parent)?.sync_all()?;
        }
        let (place, next) = (Place::of(root)?, AtomicI64::new(opened << NUMBERS));
        Ok(Self(Arc::new(Inner { root: root.to_owned(), place, next })))
    }

    /// Checks that the directory is still the one that was opened.
    fn is_in_place(&self) -> io::Result<()> {
        self.0.place.check()
    }

    /// Returns the count of files below `root`, which need not exist.
    pub(super) fn count(root: &Path) -> io::Result<u64> {
        (0..PLACES).try_fold(0, |count, place| Ok(count + numbers(root, place)?.len() as u64))
    }

    /// Returns a new number.
    pub(super) fn number(&self) -> Number {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Creates an empty file.
    pub(super) fn create(&self) -> io::Result<Fresh> {
        self.is_in_place()?;
        let number = self.number();
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = patiently(|| options.open(&path))?;
        Ok(Fresh { number, file, files: self.clone(), kept: false })
    }

    /// Copies a file to a new number, with a link if the file system supports that.
    pub(super) fn link(&self, number: Number) -> io::Result<Fresh> {
        let (from, twin) = (self.path(number), self.number());
        let to = self.path(twin);
        if fs::hard_link(&from, &to).is_err() {
            patiently(|| fs::copy(&from, &to))?;
        }
        Ok(Fresh { number: twin, file: patiently(|| File::open(&to))?, files: self.clone(), kept: false })
    }

    pub(super) fn read(&self, number: Number) -> io::Result<File> {
        let path = self.path(number);
        patiently(|| regular::open(&path)).map_err(|error| self.opening(error))
    }

    /// Converts an error of opening a file: if the directory is no longer the same, the file does not count as missing.
    fn opening(&self, error: io::Error) -> io::Error {
        let away = (error.kind() == io::ErrorKind::NotFound).then(|| self.is_in_place().err()).flatten();
        away.unwrap_or(error)
    }

    /// Returns the size of a file in bytes.
    pub(super) fn size(&self, number: Number) -> io::Result<u64> {
        fs::metadata(self.path(number)).map(|file| file.len()).map_err(|error| self.opening(error))
    }

    /// Removes a file; no error if it does not exist.
    pub(super) fn remove(&self, number: Number) -> io::Result<()> {
        let _allowed = removals::allowed();
        self.is_in_place()?;
        regular::remove(&self.path(number)).map(drop)
    }

    /// Returns the path of a file.
    pub(super) fn path(&self, number: Number) -> PathBuf {
        self.0.root.join(format!("{:02x}/{number:016x}", place(number)))
    }
}

/// Returns the numbers of the files at the place `at` below `root`, which need not exist.
pub(super) fn numbers(root: &Path, at: i64) -> io::Result<Vec<Number>> {
    let folder = root.join(format!("{at:02x}"));
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(io::Error::new(error.kind(), format!("cannot list {}: {error}", folder.display())));
        }
        Ok(entries) => entries,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| i64::from_str_radix(name, 16).ok());
        found.extend(number.filter(|&number| place(number) == at));
    }
    Ok(found)
}

/// A file to which the index does not refer yet. Dropping it removes the file, unless [`keep`](Self::keep) was called.
/// A file that a crash leaves is removed at the next start.
#[derive(Debug)]
pub(super) struct Fresh {
    number: Number,
    file: File,
    files: Files,
    kept: bool,
}

impl Fresh {
    pub(super) const fn number(&self) -> Number {
        self.number
    }

    /// Returns the file to write to.
    pub(super) const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes the content and the name of the file durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let directory = self.files.0.root.join(format!("{:02x}", place(self.number)));
        patiently(|| File::open(&directory))?.sync_all()?;
        // The file may be in a file system that was mounted over the directory in the meantime.
        self.files.is_in_place()
    }

    /// Keeps the file, because the index refers to it now.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.files.remove(self.number)
        {
            tracing::warn!("cannot remove an unused file; it stays until the next start: {error}");
        }
    }
}

//! A file that receives the bytes of a new object.

use std::io::Write;
use std::mem;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::checksum::{Digests, Sums};
use super::files::{Files, Fresh};
use super::{Algorithm, Error};

/// The number of bytes that are collected before they are hashed and written. Each upload takes twice this memory.
const GATHER_BYTES: usize = 512 << 10;
/// The maximum size of an object whose bytes are in the index instead of a file.
const SMALL_BYTES: usize = 16 << 10;

/// The bytes of an object that is arriving. Blocking threads hash and write a chunk while the next one arrives.
/// Dropping it removes the bytes.
pub struct Incoming {
    files: Files,
    small_max: usize,
    size: u64,
    size_max: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    progress: Progress,
}

enum Progress {
    /// Nothing has been written.
    Fresh(Sums),
    /// A chunk is being hashed and written.
    Writing(JoinHandle<Result<Written, Error>>),
}

struct Written {
    sums: Sums,
    file: Fresh,
}

/// The bytes of an object or part that has arrived. Dropping it removes them.
#[derive(Debug)]
pub struct Received {
    /// The number of bytes.
    pub size: u64,
    /// The checksums of the bytes.
    pub digests: Digests,
    pub(super) bytes: Stored,
}

/// The location of the bytes.
#[derive(Debug)]
pub(super) enum Stored {
    Small(Vec<u8>),
    /// The bytes are in a file on the disk.
    File(Fresh),
}

impl Incoming {
    pub(super) fn object(files: Files, algorithms: &[Algorithm], size_max: u64) -> Self {
        let progress = Progress::Fresh(Sums::new(algorithms));
        let small_max = SMALL_BYTES;
        Self { files, small_max, size: 0, size_max, gathered: Vec::new(), gathered_bytes: 0, progress }
    }

    pub(super) fn part(files: Files, algorithms: &[Algorithm], size_max: u64) -> Self {
        Self { small_max: 0, ..Self::object(files, algorithms, size_max) }
    }

    /// Adds the next bytes; waits while earlier ones are being written.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Full`], [`Error::Storage`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.size += bytes.len() as u64;
        if self.size > self.size_max {
            return Err(Error::TooLarge { max: self.size_max });
        }
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= GATHER_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Ends the upload. Its bytes are then on the disk, unless they are few enough for the index.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`].
    pub async fn finish(mut self) -> Result<Received, Error> {
        let size = self.size;
        if self.small_max > 0
            && size <= self.small_max as u64
            && let Progress::Fresh(mut sums) = self.progress
        {
            let bytes = self.gathered.concat();
            sums.update(&bytes);
            return Ok(Received { size, digests: sums.finish(), bytes: Stored::Small(bytes) });
        }
        self.flush().await?;
        let Progress::Writing(last) = self.progress else { unreachable!("something was just written") };
        let Written { sums, file } = last.await??;
        let file = spawn_blocking(move || file.sync().map(|()| file)).await??;
        Ok(Received { size, digests: sums.finish(), bytes: Stored::File(file) })
    }

    /// Waits until the previous chunk is written, and begins to hash and write the collected one.
    async fn flush(&mut self) -> Result<(), Error> {
        let piece = mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let before = match &mut self.progress {
            Progress::Writing(before) => Some(before.await??),
            Progress::Fresh(_) => None,
        };
        let writing = match (before, mem::replace(&mut self.progress, Progress::Fresh(Sums::new(&[])))) {
            (Some(written), _) => spawn_blocking(move || written.append(&piece)),
            (None, Progress::Fresh(sums)) => {
                let files = self.files.clone();
                spawn_blocking(move || Written { sums, file: files.create()? }.append(&piece))
            }
            (None, Progress::Writing(_)) => unreachable!("what was being written was waited for"),
        };
        self.progress = Progress::Writing(writing);
        Ok(())
    }
}

impl Written {
    fn append(mut self, piece: &[Bytes]) -> Result<Self, Error> {
        for bytes in piece {
            self.sums.update(bytes);
            self.file.file().write_all(bytes)?;
        }
        Ok(self)
    }
}

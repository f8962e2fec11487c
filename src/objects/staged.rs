//! A staged file, which will become an object.

use std::io::{self, BufWriter, Read, Seek, Write};

use tempfile::NamedTempFile;

use super::spool::{Share, Spool};
use super::{Error, Key, Objects};

const BUFFER_BYTES: usize = 256 << 10;

/// A file in the staging directory. [`publish`](Self::publish) turns it into an object; dropping it removes it. Files
/// that a crash leaves are removed at the next start.
#[derive(Debug)]
pub struct Staged {
    objects: Objects,
    file: BufWriter<NamedTempFile>,
    size: u64,
    /// The share that counts the bytes written.
    share: Option<Share>,
}

impl Staged {
    pub(super) fn new(objects: Objects, file: NamedTempFile) -> Self {
        Self { objects, file: BufWriter::with_capacity(BUFFER_BYTES, file), size: 0, share: None }
    }

    /// Counts the bytes as part of an upload: a write fails if the spool has no space.
    #[must_use]
    pub fn within(self, spool: &Spool) -> Self {
        Self { share: Some(spool.share()), ..self }
    }

    /// Records that a write failed.
    fn note(&self, error: &io::Error) {
        self.objects.has_failed(&io::Error::from(error.kind()).into());
    }

    /// Returns the number of bytes written so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns what was written so far. Nothing may be written afterwards.
    ///
    /// # Errors
    /// The error of the file.
    pub fn read_back(&mut self) -> io::Result<Vec<u8>> {
        self.flush()?;
        let file = self.file.get_mut();
        file.rewind()?;
        let mut bytes = Vec::with_capacity(self.size as usize);
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Turns the file into the object `key` and returns its size once it is on stable storage. An existing object is
    /// kept: the same key means the same content.
    ///
    /// If the future is dropped, the object may or may not be created; it is never incomplete.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`]. After an error the file is removed.
    pub async fn publish(self, key: &Key) -> Result<u64, Error> {
        let Self { objects, file, size, share: _share } = self;
        let finish = move || file.into_inner().map_err(io::IntoInnerError::into_error);
        let file = tokio::task::spawn_blocking(finish).await?;
        let file = file.map_err(Error::from).inspect_err(|error| objects.has_failed(error))?;
        objects.adopt(file, key).await?;
        Ok(size)
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(share) = &mut self.share {
            share.grow(bytes.len() as u64)?;
        }
        let count = self.file.write(bytes).inspect_err(|error| self.note(error))?;
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().inspect_err(|error| self.note(error))
    }
}

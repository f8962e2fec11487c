//! Content that will become an object.

use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::NamedTempFile;

use super::spool::{Share, Spool};
use super::{Error, Key, Objects};

/// The number of bytes that are written to the file at a time. Content of fewer bytes is in memory until it is published.
const BUFFER_BYTES: usize = 256 << 10;

/// Content that is written step by step. [`publish`](Self::publish) turns it into an object; dropping it removes it. Once
/// it is large, it is in a file in the staging directory. Files that a crash leaves are removed at the next start.
#[derive(Debug)]
pub struct Staged {
    objects: Objects,
    /// The end of the content, which is not in the file.
    buffer: Vec<u8>,
    /// Absent while all of the content is in the buffer.
    file: Option<NamedTempFile>,
    size: u64,
    /// The share that counts the bytes written.
    share: Option<Share>,
}

impl Staged {
    pub(super) const fn new(objects: Objects) -> Self {
        Self { objects, buffer: Vec::new(), file: None, size: 0, share: None }
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

    /// Returns a copy of what was written so far.
    ///
    /// # Errors
    /// The error of the file.
    pub fn read_back(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(self.size as usize);
        if let Some(file) = &mut self.file {
            file.rewind()?;
            file.read_to_end(&mut content)?;
        }
        content.extend_from_slice(&self.buffer);
        Ok(content)
    }

    /// Turns the content into the object `key` and returns its size once it is on stable storage. An existing object is
    /// kept: the same key means the same content.
    ///
    /// If the future is dropped, the object may or may not be created; it is never incomplete.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`]. After an error the content is gone.
    pub async fn publish(mut self, key: &Key) -> Result<u64, Error> {
        let finish = move || self.take_file().map(|file| (self, file));
        let (staged, file) = tokio::task::spawn_blocking(finish).await??;
        staged.objects.adopt(file, key).await?;
        Ok(staged.size)
    }

    /// Returns the file, with all of the content.
    fn take_file(&mut self) -> io::Result<NamedTempFile> {
        self.write_buffer().inspect_err(|error| self.note(error))?;
        Ok(self.file.take().expect("it was written to"))
    }

    /// Moves the content of the buffer to the file.
    fn write_buffer(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.objects.staging_file()?),
        };
        // A failed read may have left the position anywhere.
        file.seek(SeekFrom::End(0))?;
        while !self.buffer.is_empty() {
            match file.write(&self.buffer) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.buffer.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer().inspect_err(|error| self.note(error))?;
        }
        let count = bytes.len().min(BUFFER_BYTES - self.buffer.len());
        if let Some(share) = &mut self.share {
            share.grow(count as u64)?;
        }
        self.buffer.extend_from_slice(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    /// Does nothing: [`publish`](Staged::publish) writes the rest.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! A file on its way to becoming an object.

use std::io::{self, BufWriter, Write};

use tempfile::NamedTempFile;

use super::spool::{Share, Spool};
use super::{Error, Key, Objects};

const BUFFER_BYTES: usize = 256 << 10;

/// A file in the staging directory. It becomes an object by [`publish`](Self::publish), or vanishes when
/// dropped; what a crash leaves is removed at the next start.
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

    /// Counts what is written as part of an upload: it is refused where there is no room for it.
    #[must_use]
    pub fn within(self, spool: &Spool) -> Self {
        Self { share: Some(spool.share()), ..self }
    }

    /// Notes that something could not be written.
    fn note(&self, error: &io::Error) {
        self.objects.has_failed(&io::Error::from(error.kind()).into());
    }

    /// Bytes written so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Makes the object `key` of the file and returns its size once it is on stable storage. An object
    /// that exists under that key stays as it is: the same key means the same content.
    ///
    /// Dropping the future half-way leaves open whether the object is made; it is never made in part.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`]; the file is gone then.
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

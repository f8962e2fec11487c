//! A section of a stored object whose length and checksum come before it: it is collected in a temporary file until
//! both are known.

use std::io::{self, BufWriter, Read, Seek, Write};

use super::Error;
use crate::linkage::scratch::{Scratch, ScratchFile};

/// A section that is collected in a temporary file.
pub(in crate::linkage) struct Section {
    file: BufWriter<Box<dyn ScratchFile>>,
    hasher: crc32fast::Hasher,
    items: u64,
}

impl Section {
    /// Creates an empty section.
    pub(in crate::linkage) fn create(scratch: &dyn Scratch) -> Result<Self, Error> {
        let file = BufWriter::with_capacity(64 << 10, scratch.file().map_err(Error::Scratch)?);
        Ok(Self { file, hasher: crc32fast::Hasher::new(), items: 0 })
    }

    /// Appends an item.
    pub(in crate::linkage) fn push(&mut self, item: &[u8]) -> Result<(), Error> {
        self.items += 1;
        self.hasher.update(item);
        self.file.write_all(item).map_err(Error::Scratch)
    }

    /// Returns the number of items so far.
    pub(in crate::linkage) const fn items(&self) -> u64 {
        self.items
    }

    /// Returns the checksum state of the content.
    pub(in crate::linkage) const fn hasher(&self) -> &crc32fast::Hasher {
        &self.hasher
    }

    /// Returns the checksum of the content.
    pub(in crate::linkage) fn crc(&self) -> u32 {
        self.hasher.clone().finalize()
    }

    /// Writes all items to `out`.
    pub(in crate::linkage) fn copy_to(mut self, out: &mut impl Write) -> Result<(), Error> {
        self.file.rewind().map_err(Error::Scratch)?;
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = match self.file.get_mut().read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(Error::Scratch)?,
            };
            if read == 0 {
                return Ok(());
            }
            out.write_all(&piece[..read]).map_err(Error::Sink)?;
        }
    }
}

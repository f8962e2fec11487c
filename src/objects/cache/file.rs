//! The file format of a cached object.
//!
//! ```text
//! n bytes   the object
//! h bytes   its key and its ETag, with a line feed between them
//! 4 bytes   h, little-endian
//! 8 bytes   CRC-64/NVME of everything above, little-endian
//! 4 bytes   "ENC1": the format and its version
//! ```
//!
//! The object comes first, so that it can be mapped; the attributes come last, when all of them are known. Files are
//! not synced: the checksum detects data that a power cut has lost.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crc_fast::{CrcAlgorithm, Digest};

use crate::objects::{Key, keys};

const MAGIC: [u8; 4] = *b"ENC1";
/// The number of bytes after the key and the ETag.
const END_BYTES: u64 = 16;
/// The maximum number of bytes of key and ETag; in practice they have far fewer.
const HEAD_BYTES_MAX: u32 = 1 << 16;
/// The number of bytes that are read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// The attributes of a cached object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The key of the cached object.
    pub(super) key: Key,
    /// The store's identifier of this content.
    pub(super) etag: String,
    /// The size of the object.
    pub(super) size: u64,
}

impl Head {
    /// Returns the size of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.size + self.text().len() as u64 + END_BYTES
    }

    fn text(&self) -> String {
        format!("{}\n{}", self.key, self.etag)
    }

    /// Reads the attributes from a file; returns `None` if it is not a cached object, or is truncated.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let Some(end_at) = length.checked_sub(END_BYTES) else { return Ok(None) };
        let mut end = [0; END_BYTES as usize];
        file.read_exact_at(&mut end, end_at)?;
        let (text_bytes, magic) = (u32::from_le_bytes([end[0], end[1], end[2], end[3]]), &end[12..]);
        let size = end_at.checked_sub(text_bytes.into());
        let Some(size) = size.filter(|_| magic == MAGIC && text_bytes <= HEAD_BYTES_MAX) else {
            return Ok(None);
        };
        let mut text = vec![0; text_bytes as usize];
        file.read_exact_at(&mut text, size)?;
        let text = String::from_utf8(text).ok();
        let parts = text.as_deref().and_then(|text| text.split_once('\n'));
        Ok(parts.map(|(key, etag)| Self { key: keys::noted(key), etag: etag.to_owned(), size }))
    }

    /// Returns true if `file` has these attributes and its checksum is right. Reads the whole file.
    pub(super) fn is_of(&self, file: &File) -> io::Result<bool> {
        if Self::of(file)?.as_ref() != Some(self) {
            return Ok(false);
        }
        let summed = self.bytes() - 12;
        let mut expected = [0; 8];
        file.read_exact_at(&mut expected, summed)?;
        let (mut crc, mut buffer, mut at) = (digest(), vec![0; BUFFER_BYTES], 0);
        while at < summed {
            let wanted = buffer.len().min((summed - at) as usize);
            let count = file.read_at(&mut buffer[..wanted], at)?;
            if count == 0 {
                return Ok(false);
            }
            crc.update(&buffer[..count]);
            at += count as u64;
        }
        Ok(crc.finalize() == u64::from_le_bytes(expected))
    }
}

fn digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Nvme)
}

/// Writes a copy: first the object, then its attributes.
pub(super) struct Writer<W> {
    out: W,
    crc: Digest,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, crc: digest() }
    }

    /// Completes the copy. Exactly `head.size` bytes of the object must have been written.
    pub(super) fn finish(mut self, head: &Head) -> io::Result<W> {
        let text = head.text();
        self.write_all(text.as_bytes())?;
        self.write_all(&(text.len() as u32).to_le_bytes())?;
        let Self { mut out, crc } = self;
        out.write_all(&crc.finalize().to_le_bytes())?;
        out.write_all(&MAGIC)?;
        Ok(out)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.crc.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { key: keys::noted("projects/p/plan"), etag: "\"5d41\"".to_owned(), size: 5 }
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer.write_all(b"hello").unwrap();
        writer.finish(&head()).unwrap()
    }

    #[test]
    fn a_copy_says_what_it_is() {
        let bytes = written();
        assert_eq!(bytes.len() as u64, head().bytes());
        assert_eq!(Head::of(&file(&bytes)).unwrap(), Some(head()));
        assert!(head().is_of(&file(&bytes)).unwrap());
        let another = Head { etag: "\"5d42\"".to_owned(), ..head() };
        assert!(!another.is_of(&file(&bytes)).unwrap());
    }

    #[test]
    fn every_change_of_a_bit_and_every_cut_is_noticed() {
        let whole = written();
        for bit in 0..8 * whole.len() {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!head().is_of(&file(&changed)).unwrap(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(!head().is_of(&file(&whole[..length])).unwrap(), "{length} bytes");
        }
    }
}

//! The header of an index.

use super::Damage;

/// The number of bytes of a block in the directory.
pub(super) const BLOCK_BYTES: usize = 48;

/// The number of bytes of the matrix under each checksum.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// The number of bytes in a header.
pub(super) const HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"entdindx";
const VERSION: u32 = 1;
pub(super) const INDEX: &str = "block index";

/// The header of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number of rows of the matrix.
    pub records: u32,
    /// The number of bytes in each row.
    pub encoding_bytes: u32,
    /// The number of blocks in the directory.
    pub blocks: u64,
    /// The number of record ids after the directory.
    pub ids: u64,
    /// The number of the upload for which the index was built; 0 if none was given.
    pub(super) upload: u32,
    pub(super) sums_crc: u32,
    pub(super) directory_crc: u32,
    pub(super) ids_crc: u32,
}

impl Header {
    /// Returns the number of bytes in the matrix.
    pub const fn matrix_bytes(&self) -> u64 {
        self.records as u64 * self.encoding_bytes as u64
    }

    /// Checks that the index was built for this upload, if it names an upload. The index and matrix of another upload
    /// would give a wrong result.
    ///
    /// # Errors
    /// [`Damage::Contradiction`].
    pub fn check_upload(&self, upload: u32) -> Result<(), Damage> {
        if [0, upload].contains(&self.upload) {
            Ok(())
        } else {
            Err(Damage::Contradiction { object: INDEX, what: "it belongs to another upload" })
        }
    }

    /// Returns the number of checksums that cover the matrix.
    pub const fn chunks(&self) -> u64 {
        self.matrix_bytes().div_ceil(CHUNK_BYTES)
    }

    /// Returns the offset of the directory.
    pub(super) fn directory_at(&self) -> u64 {
        HEADER_BYTES as u64 + self.chunks() * 4
    }

    /// Returns the offset of the record ids; `None` if it overflows.
    pub(super) fn ids_at(&self) -> Option<u64> {
        self.blocks.checked_mul(BLOCK_BYTES as u64)?.checked_add(self.directory_at())
    }

    /// Returns the length of the index; `None` if it overflows.
    pub(super) fn index_bytes(&self) -> Option<u64> {
        self.ids.checked_mul(4)?.checked_add(self.ids_at()?)
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.encoding_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.ids.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.sums_crc.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.directory_crc.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.ids_crc.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.upload.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Damage> {
        if &bytes[..8] != MAGIC {
            return Err(Damage::Kind { object: INDEX });
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Damage::Version { object: INDEX, version });
        }
        if crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(Damage::Sum { object: INDEX, section: "header" });
        }
        let header = Self {
            records: u32_at(bytes, 12),
            encoding_bytes: u32_at(bytes, 16),
            blocks: u64_at(bytes, 24),
            ids: u64_at(bytes, 32),
            upload: u32_at(bytes, 52),
            sums_crc: u32_at(bytes, 40),
            directory_crc: u32_at(bytes, 44),
            ids_crc: u32_at(bytes, 48),
        };
        match header.index_bytes() {
            Some(_) => Ok(header),
            None => Err(Damage::Contradiction { object: INDEX, what: "more blocks than could be stored" }),
        }
    }
}

/// Returns the u32 at `at`, which is inside `bytes`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller keeps within the bytes"))
}

/// Returns the u64 at `at`, which is inside `bytes`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller keeps within the bytes"))
}

//! Blocks: two records are compared only if they share a block.

use blake2::{Blake2b256, Digest as _};

/// The number of bytes in a [`Digest`].
pub const DIGEST_BYTES: usize = 32;
/// The number of bytes in a stored [`Entry`].
pub const ENTRY_BYTES: usize = 4 + DIGEST_BYTES;

/// BLAKE2b-256 of a block's name as UTF-8 text: the names themselves are not stored.
pub type Digest = [u8; DIGEST_BYTES];

/// Returns the digest of the block called `name`. The name of a number is its decimal text.
pub fn digest(name: &str) -> Digest {
    Blake2b256::digest(name.as_bytes()).into()
}

/// Returns the block of all records of an upload without blocks: the block called `1`.
pub fn default_block() -> Digest {
    digest("1")
}

/// The fact that a record is in a block.
///
/// Stored as [`ENTRY_BYTES`] bytes without a separator, in the order of arrival:
///
/// | offset | size | content |
/// |---|---|---|
/// | 0 | 4 | record, u32 little-endian |
/// | 4 | 32 | digest of the block's name |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The block's digest.
    pub block: Digest,
    /// The record's number.
    pub record: u32,
}

impl Entry {
    /// Returns the stored form.
    pub fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.record.to_le_bytes());
        bytes[4..].copy_from_slice(&self.block);
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, block @ ..] = *bytes;
        Self { block, record: u32::from_le_bytes([a, b, c, d]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_reference() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/vectors/block_names.json")).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let name = case["name"].as_str().map_or_else(|| case["name"].to_string(), str::to_owned);
            assert_eq!(hex::encode(digest(&name)), case["blake2b_32_hex"].as_str().unwrap(), "{name}");
        }
    }

    #[test]
    fn an_entry_comes_back_from_its_bytes() {
        let entry = Entry { block: digest("north"), record: 0x0403_0201 };
        assert_eq!(entry.to_bytes()[..4], [1, 2, 3, 4]);
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), entry);
    }
}

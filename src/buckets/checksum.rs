//! The checksums of S3. They are computed over a stream, or combined from the checksums of parts.

use crc_fast::CrcAlgorithm;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32, as in zip files.
    Crc32,
    /// CRC-32C, as in iSCSI.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Returns the name that requests use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Returns the algorithm with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Returns the number of bytes in a checksum.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// Returns true if the checksum of an object can be computed from the checksums of its parts.
    pub const fn combines(self) -> bool {
        self.crc().is_some()
    }
}

/// A checksum of an object or a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The algorithm of the checksum.
    pub algorithm: Algorithm,
    /// The bytes of the checksum.
    pub value: Vec<u8>,
    /// The number of parts, if this is a checksum of the checksums of parts.
    pub parts: Option<u32>,
}

impl Checksum {
    /// Returns the text form of the checksum, which headers contain.
    pub fn text(&self) -> String {
        let value = base64_simd::STANDARD.encode_to_string(&self.value);
        self.parts.map_or_else(|| value.clone(), |parts| format!("{value}-{parts}"))
    }

    /// Returns true if `text` is the text form of this checksum, with or without the number of parts.
    pub fn is(&self, text: &str) -> bool {
        let (value, parts) = text.split_once('-').map_or((text, None), |(value, parts)| (value, Some(parts)));
        let same_parts = parts.is_none_or(|said| self.parts.is_some_and(|parts| said == parts.to_string()));
        same_parts && base64_simd::STANDARD.decode_to_vec(value).is_ok_and(|value| value == self.value)
    }
}

/// Computes the MD5 of bytes, and further checksums.
pub(super) struct Sums {
    md5: Md5,
    others: Vec<(Algorithm, Hasher)>,
}

enum Hasher {
    Crc(crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

/// The digests that [`Sums`] computed.
#[derive(Clone, Debug)]
pub struct Digests {
    /// The MD5.
    pub md5: [u8; 16],
    /// The further checksums, in the requested order.
    pub checksums: Vec<Checksum>,
}

impl Sums {
    pub(super) fn new(algorithms: &[Algorithm]) -> Self {
        let others = algorithms.iter().map(|&algorithm| (algorithm, Hasher::new(algorithm))).collect();
        Self { md5: Md5::new(), others }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        for (_, hasher) in &mut self.others {
            hasher.update(bytes);
        }
    }

    pub(super) fn finish(self) -> Digests {
        let checksum = |(algorithm, hasher): (_, Hasher)| Checksum {
            algorithm,
            value: hasher.finish(algorithm),
            parts: None,
        };
        Digests {
            md5: self.md5.finalize().into(),
            checksums: self.others.into_iter().map(checksum).collect(),
        }
    }
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match (algorithm.crc(), algorithm) {
            (Some(crc), _) => Self::Crc(crc_fast::Digest::new(crc)),
            (None, Algorithm::Sha1) => Self::Sha1(Sha1::new()),
            (None, _) => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    fn finish(self, algorithm: Algorithm) -> Vec<u8> {
        match self {
            Self::Crc(digest) => big_endian(algorithm, digest.finalize()),
            Self::Sha1(digest) => digest.finalize().to_vec(),
            Self::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

/// Returns the checksum in the lowest bytes of `crc`, in big-endian order.
fn big_endian(algorithm: Algorithm, crc: u64) -> Vec<u8> {
    crc.to_be_bytes()[8 - algorithm.bytes()..].to_vec()
}

/// Computes the checksum of an object from the checksums and sizes of its parts: the checksum of all bytes if `whole`
/// is true, otherwise the checksum of the parts' checksums. Returns `None` if a part has no checksum of this algorithm.
pub(super) fn of_parts(
    algorithm: Algorithm,
    whole: bool,
    parts: &[(Option<Checksum>, u64)],
) -> Option<Checksum> {
    let values: Option<Vec<(&[u8], u64)>> = parts
        .iter()
        .map(|(sum, size)| {
            Some((sum.as_ref().filter(|sum| sum.algorithm == algorithm)?.value.as_slice(), *size))
        })
        .collect();
    let values = values?;
    if let Some(crc) = algorithm.crc().filter(|_| whole) {
        let combine =
            |sum, (value, size): &(&[u8], u64)| crc_fast::checksum_combine(crc, sum, number(value), *size);
        let (first, rest) = values.split_first()?;
        let sum = rest.iter().fold(number(first.0), combine);
        return Some(Checksum { algorithm, value: big_endian(algorithm, sum), parts: None });
    }
    let mut sums = Hasher::new(algorithm);
    values.iter().for_each(|(value, _)| sums.update(value));
    Some(Checksum { algorithm, value: sums.finish(algorithm), parts: Some(values.len() as u32) })
}

fn number(value: &[u8]) -> u64 {
    value.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(bytes: &[u8]) -> Digests {
        let mut sums = Sums::new(&Algorithm::ALL);
        bytes.chunks(3).for_each(|chunk| sums.update(chunk));
        sums.finish()
    }

    #[test]
    fn the_check_values_of_the_catalogues() {
        let found = sums(b"123456789");
        let texts: Vec<String> = found.checksums.iter().map(|sum| hex::encode(&sum.value)).collect();
        let expected = [
            "cbf43926",
            "e3069283",
            "ae8b14860a799888",
            "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
        ];
        assert_eq!(texts, expected);
        assert_eq!(hex::encode(found.md5), "25f9e794323b453885f5181f1b624d0b");
        assert!(found.checksums[0].is("y/Q5Jg==") && !found.checksums[0].is("y/Q5Jw=="));
    }

    #[test]
    fn a_whole_has_the_checksum_that_its_parts_combine_to() {
        let (left, right) = (b"123".as_slice(), b"456789".as_slice());
        let whole = sums(b"123456789").checksums;
        for (at, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            let part = |bytes: &[u8]| (Some(sums(bytes).checksums[at].clone()), bytes.len() as u64);
            let found = of_parts(algorithm, true, &[part(left), part(right)]).unwrap();
            assert_eq!(found.value == whole[at].value, algorithm.combines());
            let composite = of_parts(algorithm, false, &[part(left), part(right)]).unwrap();
            assert!(composite.text().ends_with("-2") && composite.is(&composite.text()));
            assert_eq!(of_parts(algorithm, true, &[part(left), (None, 6)]), None);
        }
    }
}

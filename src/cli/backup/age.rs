//! Encryption with a passphrase, in the format age-encryption.org/v1. The program `age` can decrypt such a file, too.
//!
//! A random file key encrypts the content. A key that scrypt derives from the passphrase encrypts the file key.
//! Source: the age file format, version 1 (C2SP), with one scrypt recipient.

use base64_simd::STANDARD_NO_PAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use scrypt::{Params, scrypt};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::runtime::entropy::Entropy;

/// The first line of a file.
const VERSION: &str = "age-encryption.org/v1";
/// The beginning of the line with the salt and the cost.
const RECIPIENT: &str = "-> scrypt ";
/// The beginning of the line with the authentication code of the header.
const CODE: &str = "---";
/// The salt of scrypt begins with this text.
const SALT_LABEL: &str = "age-encryption.org/v1/scrypt";
/// The binary logarithm of the cost: scrypt takes 128 MiB.
const LOG_COST: u8 = 17;
/// The highest cost that is accepted: scrypt takes 1 GiB.
const LOG_COST_MAX: u8 = 20;
/// The length of the salt, and of the payload's nonce.
const RANDOM_BYTES: usize = 16;
/// The length of the file key.
const FILE_KEY_BYTES: usize = 16;
/// The length of keys that are derived.
const KEY_BYTES: usize = 32;
/// The number of content bytes in a full chunk of the payload.
const CHUNK_BYTES: usize = 64 << 10;

/// An error of decryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// The content is not a file of this format with one passphrase.
    #[error("it is not encrypted with a passphrase in age's format")]
    Format,
    /// The passphrase is wrong.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// The header or the payload was altered or cut off.
    #[error("it is damaged")]
    Damaged,
}

/// Encrypts `content`. Blocks for about half a second.
pub(super) fn encrypt(content: &[u8], passphrase: &str, entropy: &Entropy) -> Vec<u8> {
    let file_key: Zeroizing<[u8; FILE_KEY_BYTES]> = Zeroizing::new(entropy.bytes());
    let (salt, nonce): ([u8; RANDOM_BYTES], [u8; RANDOM_BYTES]) = (entropy.bytes(), entropy.bytes());
    let mut wrapped = file_key.to_vec();
    seal(&derived(passphrase, &salt, LOG_COST), [0; NONCE_LEN], &mut wrapped);
    let header = format!(
        "{VERSION}\n{RECIPIENT}{} {LOG_COST}\n{}\n{CODE}",
        STANDARD_NO_PAD.encode_to_string(salt),
        STANDARD_NO_PAD.encode_to_string(&wrapped)
    );
    let code = header_code(file_key.as_slice(), &header).finalize().into_bytes();
    let mut encrypted = format!("{header} {}\n", STANDARD_NO_PAD.encode_to_string(code)).into_bytes();
    encrypted.extend(nonce);
    let key = expanded(file_key.as_slice(), &nonce, b"payload");
    // Empty content is encoded as one empty chunk.
    let mut rest = content;
    for counter in 0_u64.. {
        let (chunk, after) = rest.split_at(rest.len().min(CHUNK_BYTES));
        let mut sealed = chunk.to_vec();
        seal(&key, chunk_nonce(counter, after.is_empty()), &mut sealed);
        encrypted.extend(sealed);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    encrypted
}

/// Decrypts a file that [`encrypt`] or the program `age` has encrypted with a passphrase. Blocks for about half a second.
///
/// # Errors
/// [`Error`].
pub(super) fn decrypt(encrypted: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut lines = Lines { rest: encrypted };
    if lines.next()? != VERSION {
        return Err(Error::Format);
    }
    let recipient = lines.next()?.strip_prefix(RECIPIENT).ok_or(Error::Format)?;
    let (salt, cost) = recipient.split_once(' ').ok_or(Error::Format)?;
    let salt: [u8; RANDOM_BYTES] = decoded(salt)?;
    let cost: u8 = cost.parse().ok().filter(|cost| (1..=LOG_COST_MAX).contains(cost)).ok_or(Error::Format)?;
    let wrapped: [u8; FILE_KEY_BYTES + MAX_TAG_LEN] = decoded(lines.next()?)?;
    let header_bytes = encrypted.len() - lines.rest.len() + CODE.len();
    let code =
        lines.next()?.strip_prefix(CODE).and_then(|line| line.strip_prefix(' ')).ok_or(Error::Format)?;
    let code: [u8; KEY_BYTES] = decoded(code)?;

    let mut file_key = Zeroizing::new(wrapped.to_vec());
    open(&derived(passphrase, &salt, cost), [0; NONCE_LEN], &mut file_key).ok_or(Error::Passphrase)?;
    let header = std::str::from_utf8(&encrypted[..header_bytes]).map_err(|_| Error::Format)?;
    header_code(&file_key, header).verify_slice(&code).map_err(|_| Error::Damaged)?;

    let (nonce, payload) = lines.rest.split_at_checked(RANDOM_BYTES).ok_or(Error::Damaged)?;
    let key = expanded(&file_key, nonce, b"payload");
    let chunks: Vec<&[u8]> = payload.chunks(CHUNK_BYTES + MAX_TAG_LEN).collect();
    let mut content = Zeroizing::new(Vec::with_capacity(payload.len()));
    for (counter, chunk) in chunks.iter().enumerate() {
        let mut opened = Zeroizing::new(chunk.to_vec());
        let is_last = counter + 1 == chunks.len();
        if chunk.len() == MAX_TAG_LEN && counter > 0 {
            return Err(Error::Damaged);
        }
        open(&key, chunk_nonce(counter as u64, is_last), &mut opened).ok_or(Error::Damaged)?;
        content.extend_from_slice(&opened);
    }
    if chunks.is_empty() { Err(Error::Damaged) } else { Ok(content) }
}

/// The lines of a header.
struct Lines<'a> {
    /// The bytes after the last line that was read.
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, Error> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(Error::Format)?;
        let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        std::str::from_utf8(line).map_err(|_| Error::Format)
    }
}

fn decoded<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let bytes = STANDARD_NO_PAD.decode_to_vec(text).map_err(|_| Error::Format)?;
    bytes.try_into().map_err(|_| Error::Format)
}

/// Derives the key that encrypts the file key.
fn derived(passphrase: &str, salt: &[u8], log_cost: u8) -> Zeroizing<[u8; KEY_BYTES]> {
    let params = Params::new(log_cost, 8, 1).expect("the cost is between 1 and its maximum");
    let salt = [SALT_LABEL.as_bytes(), salt].concat();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    scrypt(passphrase.as_bytes(), &salt, &params, key.as_mut_slice())
        .expect("the length of the key is valid");
    key
}

/// Derives a key from the file key.
fn expanded(file_key: &[u8], salt: &[u8], label: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let expanded = Hkdf::<Sha256>::new(Some(salt), file_key).expand(label, key.as_mut_slice());
    expanded.expect("the length of the key is valid");
    key
}

/// Returns the authentication code of a header up to and including [`CODE`].
fn header_code(file_key: &[u8], header: &str) -> Hmac<Sha256> {
    let key = expanded(file_key, &[], b"header");
    let mut code = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_slice()).expect("any length is a key");
    code.update(header.as_bytes());
    code
}

/// Returns the nonce of a chunk: its number in eleven bytes, big-endian, and one byte that marks the last chunk.
fn chunk_nonce(counter: u64, is_last: bool) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[3..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = is_last.into();
    nonce
}

fn aead(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes"))
}

/// Encrypts `bytes` in place, and appends the tag. A key must not be used twice with the same nonce.
fn seal(key: &[u8; KEY_BYTES], nonce: [u8; NONCE_LEN], bytes: &mut Vec<u8>) {
    let nonce = Nonce::assume_unique_for_key(nonce);
    aead(key).seal_in_place_append_tag(nonce, Aad::empty(), bytes).expect("a chunk is short");
}

/// Decrypts `bytes` in place, and removes the tag; `None` if the key is wrong or the bytes were altered.
fn open(key: &[u8; KEY_BYTES], nonce: [u8; NONCE_LEN], bytes: &mut Vec<u8>) -> Option<()> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let count = aead(key).open_in_place(nonce, Aad::empty(), bytes).ok()?.len();
    bytes.truncate(count);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `age` 1.1.1 with the passphrase "correct horse".
    const BY_AGE: &[u8] = include_bytes!("../../../tests/fixtures/backup/by-age.age");

    #[test]
    fn content_of_any_length_is_decrypted_and_a_cut_is_found() {
        let entropy = Entropy::seeded(1);
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES] {
            let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let encrypted = encrypt(&content, "secret", &entropy);
            assert_eq!(decrypt(&encrypted, "secret").unwrap().as_slice(), content, "{length}");
            assert_eq!(decrypt(&encrypted[..encrypted.len() - 1], "secret"), Err(Error::Damaged));
        }
    }

    #[test]
    fn a_wrong_passphrase_and_damage_are_told_apart() {
        let encrypted = encrypt(b"keys", "secret", &Entropy::seeded(2));
        assert_eq!(decrypt(&encrypted, "Secret"), Err(Error::Passphrase));
        assert_eq!(decrypt(b"", "secret"), Err(Error::Format));
        assert_eq!(decrypt(b"PK\x03\x04", "secret"), Err(Error::Format));
        let text = String::from_utf8_lossy(&encrypted).into_owned();
        let expensive = text.replacen(" 17\n", " 63\n", 1);
        assert_eq!(decrypt(expensive.as_bytes(), "secret"), Err(Error::Format));
        let mut damaged = encrypted;
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(decrypt(&damaged, "secret"), Err(Error::Damaged));
    }

    #[test]
    fn a_file_of_the_program_age_is_decrypted() {
        assert_eq!(decrypt(BY_AGE, "correct horse").unwrap().as_slice(), b"admin-token\n");
    }
}

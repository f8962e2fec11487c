//! Keys of columns, derived from the parties' secret.

use hkdf::Hkdf;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

/// Parameters of HKDF.
#[derive(Clone, Debug)]
pub struct KeyDerivation {
    /// SHA-512 instead of SHA-256.
    pub is_sha512: bool,
    pub(super) salt: Option<Vec<u8>>,
    pub(super) info: Vec<u8>,
    /// The size of a key in bytes.
    pub key_bytes: usize,
}

/// The number of keys of a column: one for each hash function of double hashing. Ignored columns have keys too, so
/// that the keys of a column depend only on its position.
const KEYS_EACH: usize = 2;

/// The size in bytes of a key for another purpose.
const SINGLE_BYTES: usize = 32;

/// The two keys of a column.
pub(super) type KeyPair = [Zeroizing<Vec<u8>>; KEYS_EACH];

/// Checks that keys for this many columns can be derived.
///
/// # Errors
/// The rule that the schema breaks.
pub(super) fn check(derivation: &KeyDerivation, features: usize) -> Result<(), String> {
    let most = 255 * if derivation.is_sha512 { 64 } else { 32 };
    let wanted = features * KEYS_EACH * derivation.key_bytes;
    if wanted <= most {
        return Ok(());
    }
    Err(format!(
        "keys for {features} columns take {wanted} bytes, but the key derivation yields at most {most}: lower keySize, or use SHA512"
    ))
}

/// Derives the keys of `features` columns, which [`check`] has accepted.
pub(super) fn derive(derivation: &KeyDerivation, secret: &[u8], features: usize) -> Vec<KeyPair> {
    pairs(derivation, &[], secret, features)
}

/// Derives the keys of `features` columns for records with a salt, as clkhash does for a longer `info`.
pub(super) fn salted(
    derivation: &KeyDerivation,
    secret: &[u8],
    features: usize,
    salt: &[u8],
) -> Vec<KeyPair> {
    pairs(derivation, &[b"\0entityd salt\0", salt], secret, features)
}

/// Derives a key for a purpose other than tokens.
pub(super) fn single(
    derivation: &KeyDerivation,
    secret: &[u8],
    purpose: &[u8],
) -> Zeroizing<[u8; SINGLE_BYTES]> {
    let mut key = Zeroizing::new([0; SINGLE_BYTES]);
    expand(derivation, &[b"\0entityd ", purpose], secret, &mut *key);
    key
}

/// Fills `bytes` with key material. `more` is appended to `info`.
fn expand(derivation: &KeyDerivation, more: &[&[u8]], secret: &[u8], bytes: &mut [u8]) {
    let salt = derivation.salt.as_deref();
    let info = [&[derivation.info.as_slice()], more].concat();
    let expanded = if derivation.is_sha512 {
        Hkdf::<Sha512>::new(salt, secret).expand_multi_info(&info, bytes)
    } else {
        Hkdf::<Sha256>::new(salt, secret).expand_multi_info(&info, bytes)
    };
    expanded.expect("the length was checked with the schema");
}

fn pairs(derivation: &KeyDerivation, more: &[&[u8]], secret: &[u8], features: usize) -> Vec<KeyPair> {
    let size = derivation.key_bytes;
    let mut bytes = Zeroizing::new(vec![0; features * KEYS_EACH * size]);
    expand(derivation, more, secret, &mut bytes);
    let key = |at: usize| Zeroizing::new(bytes[at * size..][..size].to_vec());
    (0..features).map(|feature| [key(feature * KEYS_EACH), key(feature * KEYS_EACH + 1)]).collect()
}

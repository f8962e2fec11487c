//! Keys of salted records: a value of the record is an input of the key derivation.

use zeroize::Zeroizing;

use crate::keys::{self, KeyDerivation, KeyPair};
use crate::schema::{Hashing, Salt, Schema};

/// The maximum number of salts whose keys are cached.
const KNOWN_MAX: usize = 1_024;

/// Derives the keys of each salt, and caches them.
pub(crate) struct Salts {
    salt: Salt,
    /// The hashing of the salt column; `None` if the column is ignored.
    hashing: Option<Hashing>,
    derivation: KeyDerivation,
    secret: Zeroizing<Vec<u8>>,
    features: usize,
    known: Vec<Known>,
}

/// A salt and the keys of all columns.
struct Known {
    salt: Zeroizing<String>,
    keys: Vec<KeyPair>,
}

impl Salts {
    pub(crate) fn new(salt: &Salt, schema: &Schema, secret: &[u8]) -> Self {
        Self {
            salt: salt.clone(),
            hashing: schema.features[salt.column].hashing.clone(),
            derivation: schema.keys.clone(),
            secret: Zeroizing::new(secret.to_vec()),
            features: schema.features.len(),
            known: Vec::new(),
        }
    }

    /// The column with the salts.
    pub(crate) const fn column(&self) -> usize {
        self.salt.column
    }

    /// Makes room for the salts of `rows` rows. Their numbers stay valid until the next call.
    pub(crate) fn reserve(&mut self, rows: usize) {
        if self.known.len() + rows > KNOWN_MAX {
            self.known.clear();
        }
    }

    /// Returns the number of the salt that is made of `value`.
    ///
    /// # Errors
    /// The rule that the value breaks.
    pub(crate) fn number(&mut self, value: &str) -> Result<usize, String> {
        let salt = self.salt(value)?;
        if let Some(number) = self.known.iter().position(|known| *known.salt == *salt) {
            return Ok(number);
        }
        let keys = keys::salted(&self.derivation, &self.secret, self.features, salt.as_bytes());
        self.known.push(Known { salt, keys });
        Ok(self.known.len() - 1)
    }

    /// The keys of a column for salt `number`.
    pub(crate) fn keys(&self, number: usize, column: usize) -> &KeyPair {
        &self.known[number].keys[column]
    }

    /// Returns the salt that is made of `value`.
    fn salt(&self, value: &str) -> Result<Zeroizing<String>, String> {
        if let Some(missing) = self.salt.missing.as_ref().filter(|missing| missing.sentinel == value) {
            return Ok(Zeroizing::new(missing.replacement.clone()));
        }
        let normalized = self.hashing.as_ref().map(|hashing| hashing.normalized(value)).transpose()?;
        let text = normalized.as_deref().unwrap_or(value);
        if text.is_empty() {
            return Err("the value is the salt of the record and must not be empty; \
                        hardening.salt.missingValue replaces it"
                .to_owned());
        }
        let length = match self.salt.characters {
            Some(characters) => text.chars().take(characters).map(char::len_utf8).sum(),
            None => text.len(),
        };
        Ok(Zeroizing::new(text[..length].to_owned()))
    }
}

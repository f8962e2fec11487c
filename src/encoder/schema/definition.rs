//! Compiled schemas.

use std::borrow::Cow;
use std::ops::Deref;

use zeroize::Zeroize;

use super::diagnostic::Diagnostic;
use super::hardening::Hardening;
use super::members::Missing;
use crate::format::Format;
use crate::keys::KeyDerivation;
use crate::tokens::Comparison;

/// A schema in the form that the encoder uses.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Bits of a filter, after folding.
    pub bits: usize,
    /// The number of times that a filter is folded.
    pub folds: u32,
    /// The derivation of keys.
    pub keys: KeyDerivation,
    /// The columns in their order.
    pub features: Vec<Feature>,
    /// Options against attacks.
    pub hardening: Option<Hardening>,
    /// Warnings about settings that have no effect, or not the effect that their name suggests.
    pub notes: Vec<Diagnostic>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Feature {
    /// The name of the column in the header.
    pub identifier: String,
    /// The encoding of the column; `None` if it is ignored.
    pub hashing: Option<Hashing>,
}

/// The encoding of the values of a column.
#[derive(Clone, Debug)]
pub struct Hashing {
    pub(crate) format: Format,
    pub(crate) comparison: Comparison,
    pub(crate) strategy: Strategy,
    pub(crate) charset: Charset,
    pub(crate) function: HashFunction,
    pub(crate) missing: Option<Missing>,
}

/// The number of times that a token is inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    PerToken(u32),
    PerFeature(u32),
}

/// The charset that turns tokens into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Ascii,
    Utf8,
    Utf16,
    Utf32,
}

/// The hash function that selects the bits of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashFunction {
    /// HMAC-SHA1 and HMAC-MD5, combined.
    Double { prevent_singularity: bool },
    /// Keyed `BLAKE2b`.
    Blake,
}

impl Schema {
    /// Bits of an encoding.
    pub fn encoding_bits(&self) -> usize {
        self.hardening.as_ref().map_or(self.bits, |hardening| hardening.encoding_bits(self.bits))
    }

    /// Bytes of an encoding.
    pub fn encoding_bytes(&self) -> usize {
        self.encoding_bits().div_ceil(8)
    }

    /// Describes each option against attacks in words.
    pub fn hardening_in_words(&self) -> Vec<String> {
        let hardening = self.hardening.as_ref();
        hardening.map(|hardening| hardening.in_words(self.bits, self.folds)).unwrap_or_default()
    }
}

impl Feature {
    /// Returns whether a value marks a missing value.
    pub fn is_missing(&self, value: &str) -> bool {
        let missing = self.hashing.as_ref().and_then(|hashing| hashing.missing.as_ref());
        missing.is_some_and(|missing| missing.sentinel == value)
    }

    /// Describes the encoding of the column in words.
    pub fn summary(&self) -> String {
        let Some(hashing) = &self.hashing else { return "ignored".to_owned() };
        let bits = match hashing.strategy {
            Strategy::PerToken(bits) => format!("{bits} bits a token"),
            Strategy::PerFeature(bits) => format!("{bits} bits"),
        };
        let function = match hashing.function {
            HashFunction::Blake => "blakeHash",
            HashFunction::Double { prevent_singularity: true } => "doubleHash with prevent_singularity",
            HashFunction::Double { prevent_singularity: false } => "doubleHash",
        };
        format!("{}, {}, {bits}, {function}", hashing.format.name(), hashing.comparison.name())
    }
}

impl Hashing {
    /// Returns the normalized form of a value, which is then cut into tokens.
    ///
    /// # Errors
    /// The rule that the value breaks.
    pub(crate) fn normalized<'a>(&'a self, value: &'a str) -> Result<Normalized<'a>, String> {
        let text = Normalized(match &self.missing {
            Some(missing) if missing.sentinel == value => Cow::Borrowed(missing.replacement.as_str()),
            _ if !self.charset.can_write(value) => return Err("the value must be ASCII".to_owned()),
            _ => self.format.apply(value)?,
        });
        if !self.charset.can_write(&text) {
            return Err("the replacement of a missing value must be ASCII".to_owned());
        }
        Ok(text)
    }
}

/// The form of a value that is encoded. It is overwritten when it is dropped, unless it is part of the row.
pub(crate) struct Normalized<'a>(Cow<'a, str>);

impl Deref for Normalized<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Normalized<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.0 {
            text.zeroize();
        }
    }
}

impl Strategy {
    /// Returns the number of insertions of each of `tokens` tokens, and the number of leading tokens that are inserted
    /// once more.
    pub(crate) fn insertions(self, tokens: usize) -> (u32, usize) {
        match self {
            Self::PerToken(bits) => (bits, 0),
            Self::PerFeature(bits) => {
                let tokens = tokens.max(1);
                ((bits as usize / tokens) as u32, bits as usize % tokens)
            }
        }
    }
}

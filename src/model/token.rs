//! Tokens: secrets, each of which grants one right. Only their digests are stored.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use super::ids::{ID_BYTES, parse_hex};

/// A secret of 24 bytes. It is never printed; [`Token::reveal`] is only for the response to its owner.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Token([u8; ID_BYTES]);

impl Token {
    /// Returns the token with these bytes, which must be random.
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Parses 48 lower-case hex characters; returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }

    /// Returns the 48 hex characters that the owner receives once.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the digest that is stored.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The SHA-256 of a token's 24 bytes. It verifies a token, and grants no right itself.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns true if this is the digest of `token`. Compares in constant time.
    pub fn is_of(&self, token: &Token) -> bool {
        self.0.ct_eq(&token.hash().0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_and_prints_nothing() {
        let token = Token::from_bytes([7; ID_BYTES]);
        assert!(token.hash().is_of(&Token::parse(&token.reveal()).unwrap()));
        assert!(!token.hash().is_of(&Token::from_bytes([8; ID_BYTES])));
        assert_eq!(format!("{token:?} {:?}", token.hash()), "Token(***) TokenHash(***)");
    }
}

//! The token with which a worker joins.

use std::fmt;

use zeroize::Zeroizing;

/// The minimum length of a join token, so that it cannot be guessed.
pub(super) const CHARS_MIN: usize = 16;
/// The prefix of the SHA-256 of the certificate.
const PIN: &str = ".sha256-";

/// A join token: a secret, and the SHA-256 of the API nodes' certificate if that is self-signed.
#[derive(Clone)]
pub struct JoinToken {
    secret: Zeroizing<String>,
    pin: Option<[u8; 32]>,
}

impl JoinToken {
    /// Returns a token with this secret, and with the SHA-256 `pin` of a certificate.
    pub fn new(secret: &str, pin: Option<[u8; 32]>) -> Self {
        Self { secret: Zeroizing::new(secret.to_owned()), pin }
    }

    /// Parses a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (secret, pin) = match text.split_once(PIN) {
            None => (text, None),
            Some((secret, digits)) => {
                let mut pin = [0; 32];
                hex::decode_to_slice(digits, &mut pin).ok()?;
                (secret, Some(pin))
            }
        };
        (secret.len() >= CHARS_MIN).then(|| Self::new(secret, pin))
    }

    /// Returns the secret, for the header `Authorization`.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns the SHA-256 of the certificate to trust, if the token names one.
    pub const fn pin(&self) -> Option<[u8; 32]> {
        self.pin
    }

    /// Returns the text of the token.
    pub fn reveal(&self) -> Zeroizing<String> {
        let pin = self.pin.map(|pin| format!("{PIN}{}", hex::encode(pin)));
        Zeroizing::new(format!("{}{}", self.secret.as_str(), pin.unwrap_or_default()))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_spelled() {
        for token in
            [JoinToken::new(&"a".repeat(64), Some([0xab; 32])), JoinToken::new(&"b".repeat(16), None)]
        {
            let read = JoinToken::parse(&token.reveal()).unwrap();
            assert_eq!((read.secret(), read.pin()), (token.secret(), token.pin()));
            assert_eq!(format!("{read:?}"), "JoinToken(***)");
        }
        for wrong in ["", "short", &format!("{}.sha256-00", "a".repeat(64)), ".sha256-"] {
            assert!(JoinToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}

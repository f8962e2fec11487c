//! Identifiers: 24 random bytes, written as 48 lower-case hex characters.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number of bytes in an identifier or a token.
pub const ID_BYTES: usize = 24;

/// Parses 48 lower-case hex characters.
pub(super) fn parse_hex(text: &str) -> Option<[u8; ID_BYTES]> {
    let mut bytes = [0; ID_BYTES];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// Returns the identifier with these bytes.
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }

            /// Parses 48 lower-case hex characters; returns `None` for any other text.
            pub fn parse(text: &str) -> Option<Self> {
                parse_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not 48 lower-case hex characters"))
            }
        }
    };
}

identifier!(
    /// The identifier of a project.
    ProjectId
);
identifier!(
    /// The identifier of a run.
    RunId
);
identifier!(
    /// The identifier of a partial upload, which arrives in several requests. Its first bytes identify the node that
    /// stores the upload.
    PartialUploadId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_48_lower_case_hex_characters() {
        let text = "00ff".repeat(12);
        assert_eq!(ProjectId::parse(&text).unwrap().to_string(), text);
        for wrong in ["", "invalid", &text[1..], &text.to_uppercase(), &format!("{text}00")] {
            assert_eq!(ProjectId::parse(wrong), None, "{wrong}");
        }
    }
}

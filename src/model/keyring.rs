//! Access keys for stores of other providers.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Credentials for a store of another provider. They are never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct AccessKeys {
    /// The access key id.
    pub access_key_id: String,
    /// The secret key, with which requests are signed.
    pub secret_access_key: String,
    /// The session token of temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKeys(***)")
    }
}

/// The access keys for the files to which an upload refers, if the files are in stores of other providers. They are
/// secret, and are deleted after the files have been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    /// The access keys for the file of encodings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encodings: Option<Box<AccessKeys>>,
    /// The access keys for the file of blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Box<AccessKeys>>,
}

impl Keyring {
    /// Returns true if there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.encodings.is_none() && self.blocks.is_none()
    }
}

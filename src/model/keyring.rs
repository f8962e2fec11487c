//! Access keys for stores of other providers.

pub use linkage::encoding::json::AccessKeys;
use serde::{Deserialize, Serialize};

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

//! Attributes of an object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Checksum;
use crate::runtime::clock::Timestamp;

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The name of the bucket.
    pub name: String,
    /// The time of creation.
    pub created: Timestamp,
}

/// The attributes of an object.
#[derive(Clone, Debug)]
pub struct Object {
    /// The number of bytes.
    pub size: u64,
    /// The ETag, without quotes: the MD5 of the bytes; for a multipart upload the MD5 of the parts' MD5s, and their
    /// number.
    pub etag: String,
    /// The time of the PUT.
    pub modified: Timestamp,
    /// The headers of the PUT.
    pub head: Head,
    /// The id of the object's data.
    pub(super) data: i64,
}

/// Headers that a client sends with an object and receives unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// Content-Type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Content-Encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// Content-Disposition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// Content-Language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// Cache-Control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Expires, as an HTTP date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// User metadata; names in lower case.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The checksum that is stored in addition to the ETag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// The condition of a request on the present object of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// No condition.
    #[default]
    None,
    /// The key has no object.
    Absent,
    /// The key has an object.
    Present,
    /// The key has an object with this ETag.
    Etag(String),
}

impl Object {
    /// Returns true if the object was a multipart upload: its ETag then ends in the number of parts.
    pub fn is_of_parts(&self) -> bool {
        self.etag.contains('-')
    }
}

impl Condition {
    /// Returns true if an object with the ETag `etag` satisfies the condition.
    pub fn holds(&self, etag: &str) -> bool {
        match self {
            Self::None | Self::Present => true,
            Self::Absent => false,
            Self::Etag(wanted) => etag == wanted,
        }
    }

    /// Returns true if the condition requires an object.
    pub const fn needs_object(&self) -> bool {
        matches!(self, Self::Present | Self::Etag(_))
    }
}

//! What is known of an object without reading it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Checksum;
use crate::runtime::clock::Timestamp;

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
}

/// An object, without its bytes.
#[derive(Clone, Debug)]
pub struct Object {
    /// Bytes in it.
    pub size: u64,
    /// The ETag, without quotes: the MD5, or that of the MD5s of the parts and how many there are.
    pub etag: String,
    /// When it was put.
    pub modified: Timestamp,
    /// What came with it.
    pub head: Head,
    /// The number of its data.
    pub(super) data: i64,
}

/// What a client says of an object and gets back as it was.
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
    /// The checksum that is kept beside the ETag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// The state in which a request wants to find what it is about to replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Any.
    #[default]
    None,
    /// Nothing is there.
    Absent,
    /// Something is there.
    Present,
    /// An object with this ETag is there.
    Etag(String),
}

impl Object {
    /// Whether it was put in parts: its ETag ends in how many there were.
    pub fn is_of_parts(&self) -> bool {
        self.etag.contains('-')
    }
}

impl Condition {
    /// Whether an object with that ETag is what the request wants to find.
    pub fn holds(&self, etag: &str) -> bool {
        match self {
            Self::None | Self::Present => true,
            Self::Absent => false,
            Self::Etag(wanted) => etag == wanted,
        }
    }

    /// Whether the request wants to find an object.
    pub const fn needs_object(&self) -> bool {
        matches!(self, Self::Present | Self::Etag(_))
    }
}

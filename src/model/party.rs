//! A party: a data provider of a project, with its dataset.

use serde::{Deserialize, Serialize};

use super::keyring::Keyring;
use super::token::TokenHash;

/// A data provider of a project. Its position in the list of parties is its dataset index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The digest of the update token, which permits uploads.
    pub update_token: TokenHash,
    /// The digest of the receipt token; `None` until an upload is accepted.
    pub receipt_token: Option<TokenHash>,
    /// The number of the latest upload that was begun; 0 before the first.
    pub uploads: u32,
    /// True while a request is uploading: the lock on the update token.
    pub uploading: bool,
    /// The node that receives the upload, if several nodes share the metadata.
    pub holder: Option<String>,
    /// The state of the latest accepted upload.
    pub contents: Contents,
}

impl Party {
    /// Returns a party without an upload.
    pub const fn new(update_token: TokenHash) -> Self {
        Self {
            update_token,
            receipt_token: None,
            uploads: 0,
            uploading: false,
            holder: None,
            contents: Contents::Missing,
        }
    }

    /// Returns true if the upload with this number is arriving, or is the accepted one.
    pub fn uses(&self, upload: u32) -> bool {
        (self.uploading && self.uploads == upload) || self.contents.upload() == Some(upload)
    }

    /// Returns the numbers of the uploads that are arriving or accepted.
    pub fn used(&self) -> impl Iterator<Item = u32> {
        self.uploading.then_some(self.uploads).into_iter().chain(self.contents.upload())
    }

    /// Returns true if an upload has been accepted.
    pub const fn has_contributed(&self) -> bool {
        self.receipt_token.is_some()
    }

    /// Returns the dataset of the party, if it is ready to be linked.
    pub const fn dataset(&self) -> Option<&Dataset> {
        match &self.contents {
            Contents::Ready(dataset) => Some(dataset),
            _ => None,
        }
    }
}

/// The state of a party's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// No upload is accepted.
    Missing,
    /// An upload is accepted, and its files must be read.
    Fetching {
        /// The files.
        reference: Reference,
        /// The keys of files in stores of other providers.
        keyring: Keyring,
    },
    /// The upload was accepted, and is being checked and indexed.
    Ingesting(Upload),
    /// The dataset is ready to be linked.
    Ready(Dataset),
    /// The upload cannot be used; the party may upload again.
    Failed {
        /// The cause, for the user.
        message: String,
    },
}

impl Contents {
    /// Returns the files that must be read, if there are any.
    pub const fn named(&self) -> Option<&Reference> {
        match self {
            Self::Fetching { reference, .. } => Some(reference),
            _ => None,
        }
    }

    /// Returns the number of the upload, if there is one.
    pub const fn upload(&self) -> Option<u32> {
        match self {
            Self::Fetching { reference, .. } => Some(reference.upload),
            Self::Ingesting(upload) => Some(upload.upload),
            Self::Ready(dataset) => Some(dataset.upload),
            Self::Missing | Self::Failed { .. } => None,
        }
    }
}

/// An accepted upload with encodings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The number of the upload, which is part of its keys.
    pub upload: u32,
    /// The number of encodings.
    pub records: u32,
    /// The number of bytes of each encoding.
    pub encoding_bytes: u32,
    /// True if the upload has blocks.
    pub blocks: bool,
}

/// An accepted upload that refers to files instead of containing encodings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The number of the upload, which is part of its keys.
    pub upload: u32,
    /// The file with the encodings.
    pub encodings: NamedFile,
    /// The file with the blocks, if the project uses blocking.
    pub blocks: Option<NamedFile>,
}

/// A file to which an upload refers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NamedFile {
    /// A file in the upload bucket: its key.
    Own(String),
    /// A file in a store of another provider.
    Foreign(Box<ForeignFile>),
}

/// A file in an S3 store of another provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignFile {
    /// The host of the store in lower case, with its port unless that is the default.
    pub endpoint: String,
    /// True if the store uses TLS.
    pub secure: bool,
    /// The bucket.
    pub bucket: String,
    /// The key in the bucket.
    pub path: String,
}

impl Reference {
    /// Returns the keys of the files in the upload bucket, which are removed after they have been read.
    pub fn own_files(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.encodings).chain(&self.blocks).filter_map(|file| match file {
            NamedFile::Own(key) => Some(key),
            NamedFile::Foreign(_) => None,
        })
    }
}

/// A stored dataset: a matrix object and a block index, both immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The number of the upload, which is part of the keys of both objects.
    pub upload: u32,
    /// The number of rows of the matrix.
    pub records: u32,
    /// The number of bytes of each row.
    pub encoding_bytes: u32,
    /// The number of blocks in the index.
    pub blocks: u64,
}

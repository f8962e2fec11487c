//! A record of a deleted project, run or upload: its identifier can be compared with the record, but not read from it.

use sha2::{Digest, Sha256};

use super::ids::{ProjectId, RunId};

/// The SHA-256 of the identifier of a project, run or upload that was deleted or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tombstone([u8; 32]);

impl Tombstone {
    /// Returns the tombstone of a project.
    pub fn of_project(id: ProjectId) -> Self {
        Self(Sha256::digest(id.as_bytes()).into())
    }

    /// Returns the tombstone of a run.
    pub fn of_run(id: RunId) -> Self {
        Self(Sha256::digest(id.as_bytes()).into())
    }

    /// Returns the tombstone of an upload.
    pub fn of_upload(project: ProjectId, party: u32, upload: u32) -> Self {
        let digest = Sha256::new().chain_update(project.as_bytes());
        Self(digest.chain_update(party.to_be_bytes()).chain_update(upload.to_be_bytes()).finalize().into())
    }

    /// Returns the tombstone with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

//! The domain types: plain data, validated on construction.

pub mod bits;
mod cleanup;
pub mod ids;
pub mod job;
pub mod keyring;
pub mod party;
pub mod project;
pub mod run;
pub mod seed;
pub mod token;
mod tombstone;

pub use bits::BitSet;
pub use cleanup::CleanupLimit;
pub use ids::{PartialUploadId, ProjectId, RunId};
pub use job::{Job, Outcome, Purge, Solved, Task, WholeRun};
pub use keyring::{AccessKeys, Keyring};
pub use linkage::threshold::Threshold;
pub use party::{Contents, Dataset, ForeignFile, NamedFile, Party, Reference, Upload};
pub use project::{ProjectState, ResultType};
pub use run::{Checksum, Run, RunState, Summary};
pub use seed::Seed;
pub use token::{Token, TokenHash};
pub use tombstone::Tombstone;

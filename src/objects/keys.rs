//! The keys of objects. No other module creates keys.
//!
//! ```text
//! projects/{project}/parties/{party}/{upload}/matrix            encodings as rows
//!                                            /entries           blocks of records as they arrived; removed once indexed
//!                                            /index             blocks of records, sorted
//! projects/{project}/runs/{run}/plan                            the comparisons to make, in parts
//!                              /pairs/{part}                    candidate pairs of one part
//!                              /result/groups.json              the result, ready to send
//!                                     /groups-with-scores.json  the groups again, with the scores within each
//!                                     /scores.json
//!                                     /mask.json
//!                                     /permutation-{party}.json
//! entityd/owner                                                 the owner's mark, see `owner`
//! similarity-scores/{24 hex}.bin                                candidate pairs of a run, for download
//! ```

use std::fmt;

use object_store::path::Path;
use sha2::{Digest, Sha256};

use crate::model::{ProjectId, RunId};

/// The key of the owner's mark, as text.
pub const OWNER: &str = "entityd/owner";

/// The key of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// A prefix of keys, which stands for all objects below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Key {
    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key of an object in a listing of the store; `None` for entries that are not objects of this module.
    pub(super) fn listed(path: &str) -> Option<Self> {
        let is_ours = ["projects/", "similarity-scores/"].iter().any(|prefix| path.starts_with(prefix));
        is_ours.then(|| Self(path.to_owned()))
    }

    /// Returns the last part of the key.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Returns true if the object has the candidate pairs of a part.
    pub fn is_pairs(&self) -> bool {
        self.0.contains("/pairs/")
    }

    /// Returns true if the object is usually read repeatedly, by every run or by every job of a run. Pairs are read
    /// only by the job that finishes the run, and entries only by the job that builds the index.
    pub(super) fn is_read_again(&self) -> bool {
        !self.is_pairs() && !self.0.ends_with("/entries")
    }

    pub(super) fn path(&self) -> Path {
        Path::from(self.as_str())
    }
}

impl Prefix {
    /// Returns the prefix as text, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if `key` begins with this prefix.
    pub fn holds(&self, key: &Key) -> bool {
        key.0.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }

    pub(super) fn path(&self) -> Path {
        Path::from(self.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the prefix of all projects.
pub fn projects() -> Prefix {
    Prefix("projects".to_owned())
}

/// Returns a prefix that no object has. Listing it tests whether the store answers.
pub(super) fn probe() -> Prefix {
    Prefix("probe".to_owned())
}

/// Returns the key of the owner's mark.
pub(super) fn owner() -> Key {
    Key(OWNER.to_owned())
}

/// Returns the prefix of a project.
pub fn project(project: ProjectId) -> Prefix {
    Prefix(format!("projects/{project}"))
}

/// Returns the prefix of a project's parties.
pub fn parties(project: ProjectId) -> Prefix {
    Prefix(format!("projects/{project}/parties"))
}

/// Returns the prefix of one party.
pub fn party(project: ProjectId, party: u32) -> Prefix {
    Prefix(format!("projects/{project}/parties/{party}"))
}

/// Returns the prefix of a project's runs.
pub fn runs(project: ProjectId) -> Prefix {
    Prefix(format!("projects/{project}/runs"))
}

/// Returns the prefix of an upload.
pub fn upload(project: ProjectId, party: u32, upload: u32) -> Prefix {
    Prefix(format!("projects/{project}/parties/{party}/{upload}"))
}

/// Returns the key of the encodings of an upload as rows.
pub fn matrix(project: ProjectId, party: u32, upload: u32) -> Key {
    Key(format!("projects/{project}/parties/{party}/{upload}/matrix"))
}

/// Returns the key of the block entries of an upload as they arrived.
pub fn entries(project: ProjectId, party: u32, upload: u32) -> Key {
    Key(format!("projects/{project}/parties/{party}/{upload}/entries"))
}

/// Returns the key of the block index of an upload.
pub fn index(project: ProjectId, party: u32, upload: u32) -> Key {
    Key(format!("projects/{project}/parties/{party}/{upload}/index"))
}

/// Returns the prefix of a run.
pub fn run(project: ProjectId, run: RunId) -> Prefix {
    Prefix(format!("projects/{project}/runs/{run}"))
}

/// Returns the key of a run's plan: the comparisons, in parts.
pub fn plan(project: ProjectId, run: RunId) -> Key {
    Key(format!("projects/{project}/runs/{run}/plan"))
}

/// Returns the prefix of the candidate pairs of all parts of a run.
pub fn all_pairs(project: ProjectId, run: RunId) -> Prefix {
    Prefix(format!("projects/{project}/runs/{run}/pairs"))
}

/// Returns the key of the candidate pairs of one part of a run.
pub fn pairs(project: ProjectId, run: RunId, part: u32) -> Key {
    Key(format!("projects/{project}/runs/{run}/pairs/{part}"))
}

/// Returns the key of the groups that a run found.
pub fn groups(project: ProjectId, run: RunId) -> Key {
    Key(format!("projects/{project}/runs/{run}/result/groups.json"))
}

/// Returns the key of the groups that a run found, with the scores of the pairs within each.
pub fn groups_with_scores(project: ProjectId, run: RunId) -> Key {
    Key(format!("projects/{project}/runs/{run}/result/groups-with-scores.json"))
}

/// Returns the key of the scores that a run found.
pub fn scores(project: ProjectId, run: RunId) -> Key {
    Key(format!("projects/{project}/runs/{run}/result/scores.json"))
}

/// Returns the key of the score file of a run: its candidate pairs, for download by clients. The name of the file does
/// not reveal the run's identifier.
pub fn score_file(run: RunId) -> Key {
    let digest = Sha256::digest(run.as_bytes());
    Key(format!("similarity-scores/{}.bin", hex::encode(&digest[..12])))
}

/// Returns the prefix of the score files of all runs.
pub(super) fn score_files() -> Prefix {
    Prefix("similarity-scores".to_owned())
}

/// Returns the key of the score file with this name; `None` if no score file can have it.
pub fn score_file_named(name: &str) -> Option<Key> {
    let digits = name.strip_prefix("similarity-scores/")?.strip_suffix(".bin")?;
    let hex = digits.len() == 24 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex.then(|| Key(name.to_owned()))
}

/// Returns the key from its stored text.
pub(super) fn noted(text: &str) -> Key {
    Key(text.to_owned())
}

/// Returns the key with this text, if it is the key of an object of a project.
pub fn of_project(text: &str) -> Option<Key> {
    let rest = text.strip_prefix("projects/")?;
    let is_plain = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
    };
    rest.split('/').all(is_plain).then(|| Key(text.to_owned()))
}

/// Returns the key of a client's file in the upload bucket.
pub(crate) fn client_file(path: &str) -> Key {
    Key(path.to_owned())
}

/// Returns the key of the mask that belongs to the permutations of a run.
pub fn mask(project: ProjectId, run: RunId) -> Key {
    Key(format!("projects/{project}/runs/{run}/result/mask.json"))
}

/// Returns the key of the permutation that a run gives a party.
pub fn permutation(project: ProjectId, run: RunId, party: u32) -> Key {
    Key(format!("projects/{project}/runs/{run}/result/permutation-{party}.json"))
}

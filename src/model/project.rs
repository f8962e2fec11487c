//! A project: its parties, its result type, and its runs.

use serde::{Deserialize, Serialize};

use super::ids::{ProjectId, RunId};
use super::party::{Contents, Party};
use super::run::Run;
use super::token::TokenHash;
use crate::runtime::clock::Timestamp;

/// The state of a project.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectState {
    /// The identifier of the project.
    pub id: ProjectId,
    /// The time of creation.
    pub added: Timestamp,
    /// The name given by the owner.
    pub name: String,
    /// The notes of the owner.
    pub notes: String,
    /// The linkage schema: the JSON text exactly as received.
    pub schema: String,
    /// The result type of all runs.
    pub result_type: ResultType,
    /// True if uploads must have blocks.
    pub uses_blocking: bool,
    /// The encoding size in bytes that every dataset must have: from the schema, or the size of the first data once it
    /// is complete.
    pub encoding_bytes: Option<u32>,
    /// The digest of the result token, which the owner of the project has.
    pub result_token: TokenHash,
    /// The data providers, in the order of their dataset indexes.
    pub parties: Vec<Party>,
    /// The runs, oldest first.
    pub runs: Vec<Run>,
}

impl ProjectState {
    /// Returns the run `id`.
    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// Returns the fault of a party's data, if there is one. With a fault no run can proceed.
    pub fn error(&self) -> Option<&str> {
        self.parties.iter().find_map(|party| match &party.contents {
            Contents::Failed { message } => Some(message.as_str()),
            _ => None,
        })
    }

    /// Returns the end of the last run on the retention clock; `None` while a run is unfinished, or without runs.
    pub fn settled(&self) -> Option<Timestamp> {
        let arriving =
            |contents: &Contents| matches!(contents, Contents::Fetching { .. } | Contents::Ingesting(_));
        let busy = |party: &Party| party.uploading || arriving(&party.contents);
        if self.parties.iter().any(busy) || !self.runs.iter().all(Run::has_ended) {
            return None;
        }
        self.runs.iter().filter_map(|run| run.settled.or(run.ended)).max()
    }

    /// Returns the number of parties with an accepted upload.
    pub fn parties_contributed(&self) -> usize {
        self.parties.iter().filter(|party| party.has_contributed()).count()
    }

    /// Returns a project without runs for tests, with defaults for all attributes except these.
    #[cfg(test)]
    pub(crate) fn of(parties: Vec<Party>, result_type: ResultType) -> Self {
        Self {
            id: ProjectId::from_bytes([3; 24]),
            added: Timestamp::default(),
            name: String::new(),
            notes: String::new(),
            schema: "{}".to_owned(),
            result_type,
            uses_blocking: false,
            encoding_bytes: None,
            result_token: TokenHash::from_bytes([1; 32]),
            parties,
            runs: Vec::new(),
        }
    }
}

/// The result type of a project's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultType {
    /// The groups of records that belong to the same person.
    Groups,
    /// A permutation for each of two parties, and a mask for the analyst.
    Permutations,
    /// Every candidate pair with its score.
    SimilarityScores,
}

impl ResultType {
    /// All result types.
    pub const ALL: [Self; 3] = [Self::Groups, Self::Permutations, Self::SimilarityScores];

    /// Returns the name of the type in the API and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Permutations => "permutations",
            Self::SimilarityScores => "similarity_scores",
        }
    }

    /// Returns the result type called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result_type| result_type.name() == name)
    }

    /// Returns the stages of a run with this result type.
    pub const fn stages(self) -> u8 {
        match self {
            Self::Groups | Self::Permutations => 3,
            Self::SimilarityScores => 2,
        }
    }
}

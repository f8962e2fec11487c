//! A run: one linkage of a project's datasets at one threshold.

use serde::{Deserialize, Serialize};

use super::bits::BitSet;
use super::ids::RunId;
use super::seed::Seed;
use super::threshold::Threshold;
use crate::runtime::clock::Timestamp;

/// One linkage, from being asked for to its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Names it.
    pub id: RunId,
    /// What its owner calls it.
    pub name: String,
    /// What its owner says about it.
    pub notes: String,
    /// The score from which a pair counts.
    pub threshold: Threshold,
    /// When it was asked for.
    pub added: Timestamp,
    /// When work on it started.
    pub started: Option<Timestamp>,
    /// When it ended, well or not.
    pub ended: Option<Timestamp>,
    /// How far it is.
    pub state: RunState,
    /// The plan's parts, once it is planned: how many there are, and what they have brought.
    pub progress: Option<Progress>,
    /// The chance behind its permutations, from planning to completion.
    pub seed: Option<Seed>,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Asked for; the data is not all there yet.
    Created,
    /// The data is there; nobody works on it yet.
    Queued,
    /// Being planned and compared.
    Comparing,
    /// All parts are compared; the result is being made.
    Finalizing,
    /// The result can be collected.
    Completed(Summary),
    /// It ended without a result.
    Failed {
        /// What is wrong and what would help, for people.
        message: String,
        /// The stage it died in, counted from 1.
        stage: u8,
    },
}

/// What the parts of a planned run have brought so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Parts of the plan.
    pub parts: u32,
    /// The parts whose outcome was applied.
    pub applied: BitSet,
    /// Comparisons of the whole plan.
    pub comparisons_total: u64,
    /// Comparisons of the applied parts.
    pub comparisons: u64,
    /// Candidate pairs of the applied parts, duplicates between blocks counted every time.
    pub pairs: u64,
}

/// What a completed run brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Candidate pairs, each counted once.
    pub pairs: u64,
    /// Groups of at least two records; 0 where only scores were asked for.
    pub groups: u64,
}

impl Run {
    /// The stage it is in, counted from 1, out of `stages`.
    pub const fn stage(&self, stages: u8) -> u8 {
        match self.state {
            RunState::Created => 1,
            RunState::Queued | RunState::Comparing => 2,
            RunState::Finalizing | RunState::Completed(_) => stages,
            RunState::Failed { stage, .. } => stage,
        }
    }

    /// Whether its story has ended, well or not.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, RunState::Completed(_) | RunState::Failed { .. })
    }
}

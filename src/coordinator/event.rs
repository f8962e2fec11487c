//! Events of a project, rejections, and effects.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metadata::Runs;
use crate::model::{
    CleanupLimit, Dataset, Job, Keyring, Outcome, ProjectId, ProjectState, Reference, ResultType, Run, RunId,
    Seed, Task, TokenHash, Upload,
};
use crate::runtime::clock::Timestamp;

/// Something that happened to a project.
#[derive(Clone, Debug)]
pub enum Event {
    /// A party has started an upload. The body of the request has not arrived yet.
    UploadBegun {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload, random so that metadata restored from a backup assigns no number a second time.
        upload: u32,
        /// The node that receives the upload, if several nodes share the metadata.
        holder: Option<String>,
    },
    /// The body is complete and its objects are stored.
    UploadAccepted {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload, its records and its encoding size.
        upload: Upload,
        /// Digest of the receipt token.
        receipt: TokenHash,
    },
    /// The body is complete; its objects and its index are stored.
    UploadIndexed {
        /// The dataset index of the party.
        party: u32,
        /// The data of the party.
        dataset: Dataset,
        /// Digest of the receipt token.
        receipt: TokenHash,
        /// The time.
        at: Timestamp,
    },
    /// The body is complete and names files that must be read.
    UploadReferred {
        /// The dataset index of the party.
        party: u32,
        /// The files that the upload names.
        reference: Reference,
        /// The keys of files in stores of other providers.
        keyring: Keyring,
        /// Digest of the receipt token.
        receipt: TokenHash,
    },
    /// A client has proved that it made the upload, and lost the receipt token.
    ReceiptRenewed {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload that was accepted.
        upload: u32,
        /// Digest of the receipt token that replaces the lost one.
        receipt: TokenHash,
    },
    /// The upload was rejected, interrupted, or found unfinished at start.
    UploadAbandoned {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload.
        upload: u32,
    },
    /// A run is requested.
    RunPosted(Box<Run>),
    /// A run is to be deleted, finished or not.
    RunDeleted(RunId),
    /// The project is to be deleted, with everything in it.
    Deleted,
    /// A worker has started to plan a run.
    RunStarted {
        /// The run.
        run: RunId,
        /// The time.
        at: Timestamp,
    },
    /// Jobs have ended.
    Reported {
        /// The outcome of each job.
        reports: Vec<Report>,
        /// The time.
        at: Timestamp,
        /// A new random seed, for a run whose plan is reported.
        seed: Seed,
    },
    /// The process has restarted: requests in progress are lost, and jobs may be missing.
    Restarted,
    /// Of the nodes that share the metadata, only these still serve. Uploads that other nodes were receiving have
    /// ended.
    HoldersLost {
        /// The nodes that serve.
        serving: Arc<HashSet<String>>,
    },
    /// The project waits for a job that is not in the queue.
    Stalled,
    /// The project is to be deleted if its last run ended before this time.
    Aged {
        /// The time, by the retention clock.
        before: Timestamp,
    },
}

impl Event {
    /// Returns the runs that the event may change, or that decide what it changes. Other runs need not be loaded.
    pub(super) fn runs(&self) -> Runs {
        match self {
            // If the data is ready, earlier runs have started already, so only the new run starts.
            Self::UploadBegun { .. }
            | Self::UploadAccepted { .. }
            | Self::UploadReferred { .. }
            | Self::ReceiptRenewed { .. }
            | Self::UploadAbandoned { .. }
            | Self::HoldersLost { .. }
            | Self::RunPosted(_) => Runs::None,
            Self::RunDeleted(run) | Self::RunStarted { run, .. } => Runs::One(*run),
            Self::Reported { reports, .. } => match reports.as_slice() {
                [report] => report.runs(),
                _ => Runs::Unended,
            },
            // A dataset that becomes ready starts the runs that wait for it, or fails them.
            Self::UploadIndexed { .. } | Self::Restarted | Self::Stalled => Runs::Unended,
            Self::Deleted | Self::Aged { .. } => Runs::All,
        }
    }
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The job.
    pub job: Job,
    /// The outcome of the job.
    pub outcome: Outcome,
}

impl Report {
    /// Returns the runs that the report may change: a dataset that becomes ready starts the runs that wait for it, or
    /// fails them.
    fn runs(&self) -> Runs {
        match self.job.task.run() {
            Some(run) => Runs::One(run),
            None if matches!(self.job.task, Task::Ingest { .. }) => Runs::Unended,
            None => Runs::None,
        }
    }
}

/// Rules that the operator has set for all projects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The smallest encoding, in bytes.
    pub min_encoding_bytes: u32,
    /// The largest encoding, in bytes.
    pub max_encoding_bytes: u32,
    /// The maximum number of candidate pairs that a run may find. A pair that is in several blocks counts once for each.
    pub run_pairs_max: u64,
    /// The maximum number of distinct candidate pairs that the solver accepts.
    pub solver_pairs_max: u64,
    /// The number of comparisons in a job; if absent, it is derived from the measured rate.
    pub comparisons_per_job: Option<u64>,
    /// Set if a small upload may be indexed before it is accepted, and one job may bring a small run to its result. Not if
    /// other API nodes may be of the version before, which does not know the outcome of such a job.
    pub small_work_at_once: bool,
    /// Settings of the maintenance.
    pub upkeep: Upkeep,
}

/// Settings of the maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// The time between two maintenance rounds.
    pub every: Duration,
    /// The time after the end of the last run at which a project is deleted; absent if projects are kept.
    pub retention: Option<Duration>,
    /// The time after its last heartbeat for which a worker may still write.
    pub lease: Duration,
    /// The limit on removals of one clean-up.
    pub limit: CleanupLimit,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            every: Duration::from_hours(1),
            retention: None,
            lease: Duration::from_secs(30),
            limit: CleanupLimit::default(),
        }
    }
}

impl Rules {
    /// Returns rules for tests, with the same limit on the pairs of a run and of the solver.
    #[cfg(test)]
    pub(crate) fn of_tests(pairs_max: u64) -> Self {
        Self {
            min_encoding_bytes: 8,
            max_encoding_bytes: 1024,
            run_pairs_max: pairs_max,
            solver_pairs_max: pairs_max,
            comparisons_per_job: None,
            small_work_at_once: false,
            upkeep: Upkeep::default(),
        }
    }

    /// Returns true if small uploads and runs take as few steps as possible. If the operator has set the size of a job, each
    /// step is a job.
    pub fn takes_small_work_at_once(&self) -> bool {
        self.small_work_at_once && self.comparisons_per_job.is_none()
    }

    /// Returns the limit on candidate pairs of all parts of a run of `project`. Without blocks no pair is found twice, so
    /// the limit of the solver applies from the start.
    pub(super) fn pairs_max(&self, project: &ProjectState) -> u64 {
        match project.result_type {
            ResultType::Groups | ResultType::Permutations if !project.uses_blocking => {
                self.run_pairs_max.min(self.solver_pairs_max)
            }
            _ => self.run_pairs_max,
        }
    }
}

/// An effect of an event, committed in the same transaction and carried out after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Enqueues the job, unless it is queued already.
    Enqueue(Job),
    /// Enqueues the remaining parts of a run in batches, so that jobs of other runs can be enqueued in between.
    Parts {
        /// The project of the run.
        project: ProjectId,
        /// The run.
        run: RunId,
        /// The next part to enqueue. Earlier parts are in the queue, or were compared.
        from: u32,
    },
    /// Cancels the jobs of a group.
    Cancel(String),
}

/// The reason why an event was rejected. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The project, party or run does not exist. From outside this looks like a wrong token.
    #[error("there is no such project, party or run")]
    Absent,
    /// The party has uploaded already.
    #[error("the token has been used")]
    TokenUsed,
    /// The party is uploading now.
    #[error("another upload with this token is under way")]
    UploadUnderWay,
    /// The upload that ends is not the current one.
    #[error("the upload was abandoned in the meantime")]
    UploadSuperseded,
    /// A party's data is unusable; no run can be requested until it is replaced.
    #[error("the project is in error: {0}")]
    ProjectInError(String),
}

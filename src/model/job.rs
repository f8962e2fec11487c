//! A job: a repeatable unit of work. It reads immutable objects, creates immutable objects under keys derived from
//! its own identity, and reports an outcome.

use linkage::threshold::Threshold;
use serde::{Deserialize, Serialize};

use super::ids::{ProjectId, RunId};
use super::party::{Dataset, Reference, Upload};
use super::project::ResultType;
use super::run::Summary;

/// All queues.
pub const QUEUES: [&str; 4] = ["ingest", "compute", "highmemory", PURGES];
/// The group of maintenance jobs of the kind [`Chore`].
pub const CHORES: &str = "chore";
/// The queue of purges and other maintenance jobs.
pub const PURGES: &str = "maintenance";

/// The project id in maintenance jobs that belong to no project.
pub const NOBODY: ProjectId = ProjectId::from_bytes([0; 24]);

/// Returns the group of the jobs of a run.
pub fn group_of_run(project: ProjectId, run: RunId) -> String {
    format!("{project}/{run}")
}

/// A job: a task for a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The project to which the task belongs.
    pub project: ProjectId,
    /// The task.
    pub task: Task,
}

/// The task of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Reads the files to which an upload refers.
    Fetch {
        /// The dataset index of the party.
        party: u32,
        /// The upload, with its files.
        reference: Reference,
    },
    /// Checks an upload and builds its index.
    Ingest {
        /// The dataset index of the party.
        party: u32,
        /// The upload.
        upload: Upload,
    },
    /// Cuts a run's comparisons into parts.
    Plan {
        /// The run.
        run: RunId,
        /// The uploads of the datasets, in the order of their indexes.
        uploads: Vec<u32>,
        /// The minimum score of a candidate pair.
        threshold: Threshold,
        /// The number of comparisons in a part; `None` lets the worker choose it by its speed.
        comparisons_per_job: Option<u64>,
        /// Set if the job may bring the run to its result, if the run turns out to be small. Older workers do not know it
        /// and only plan.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        whole: Option<WholeRun>,
    },
    /// Compares one part of a plan.
    Compare {
        /// The run.
        run: RunId,
        /// The uploads of the datasets, in the order of their indexes.
        uploads: Vec<u32>,
        /// The part, counted from 0.
        part: u32,
        /// The maximum number of candidate pairs. If there are more, the run fails.
        pairs_max: u64,
    },
    /// Merges a run's candidate pairs and creates the result.
    Finalize {
        /// The run.
        run: RunId,
        /// The type of the result.
        result_type: ResultType,
        /// The number of records of each dataset.
        records: Vec<u32>,
        /// The number of parts of the plan. Each part has created a sorted run of pairs.
        parts: u32,
        /// The maximum number of candidate pairs for the solver, each counted once. If there are more, the run fails.
        solver_pairs_max: u64,
        /// The number of candidate pairs of all parts; a pair in several blocks counts each time.
        #[serde(default)]
        pairs: u64,
        /// Set if a result of groups gets a second object with the scores within each group. Older workers do not know
        /// it and make none.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        with_scores: bool,
    },
    /// Maintains the stores; belongs to no project.
    Chore {
        /// The chore.
        chore: Chore,
        /// The number of the period. Each chore runs once in each period.
        period: i64,
    },
    /// Removes objects.
    Purge(Purge),
}

/// The inputs with which a job that plans brings a small run to its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeRun {
    /// The type of the result.
    pub result_type: ResultType,
    /// The number of records of each dataset.
    pub records: Vec<u32>,
    /// The maximum number of candidate pairs; a pair in several blocks counts each time.
    pub pairs_max: u64,
    /// The maximum number of candidate pairs for the solver, each counted once.
    pub solver_pairs_max: u64,
    /// Set if a result of groups gets a second object with the scores within each group.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_scores: bool,
}

impl WholeRun {
    /// The maximum number of records of all datasets.
    pub const RECORDS_MAX: u64 = 1 << 15;
    /// The maximum number of comparisons.
    pub const COMPARISONS_MAX: u64 = 2_000_000;
    /// The maximum number of candidate pairs, which are in memory: at most 27 bytes each, and as much again while they grow.
    pub const PAIRS_MAX: u64 = 250_000;
}

/// A set of objects to remove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// All objects of the project.
    Project,
    /// All objects of a run.
    Run(RunId),
    /// The intermediate objects of a run: its plan and its pairs.
    Intermediate(RunId),
    /// All objects of an abandoned upload.
    Upload {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload.
        upload: u32,
    },
    /// Files of a client that were read.
    Files {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload that refers to the files.
        upload: u32,
        /// The keys of the files in the upload bucket.
        files: Vec<String>,
    },
    /// The unsorted block entries of an upload, which the index has replaced.
    Entries {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload.
        upload: u32,
    },
}

/// Periodic maintenance, independent of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chore {
    /// Deletes projects whose last run ended longer ago than the retention time.
    Retire,
    /// Removes objects that the metadata does not know, and abandoned files.
    Sweep,
    /// Compacts the stores.
    Compact,
}

impl Chore {
    /// All chores.
    pub const ALL: [Self; 3] = [Self::Retire, Self::Sweep, Self::Compact];

    /// Returns the name of the chore.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retire => "retire",
            Self::Sweep => "sweep",
            Self::Compact => "compact",
        }
    }
}

/// The objects of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The project.
    pub project: ProjectId,
    /// The party and the number of each upload.
    pub uploads: Vec<(u32, u32)>,
    /// The runs, each with true if it has objects other than its result.
    pub runs: Vec<(RunId, bool)>,
}

/// The outcome of a job that brought a small run to its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solved {
    /// The number of comparisons.
    pub comparisons: u64,
    /// The number of comparisons of each of the largest blocks, the largest first.
    #[serde(default)]
    pub largest_blocks: Vec<u64>,
    /// The number of candidate pairs found; a pair in several blocks counts each time.
    pub pairs: u64,
    /// The time that the comparisons took, in microseconds.
    pub comparing_us: u64,
    /// The time from the last comparison to the stored result, in microseconds.
    pub finalizing_us: u64,
    /// The totals of the run.
    pub summary: Summary,
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The files were read, and their content is stored like an upload with encodings.
    Fetched(Upload),
    /// The index of the upload exists.
    Ingested(Dataset),
    /// The run was planned.
    Planned {
        /// The number of parts.
        parts: u32,
        /// The number of comparisons in all parts.
        comparisons: u64,
        /// The number of comparisons of each of the largest blocks, the largest first.
        #[serde(default)]
        largest_blocks: Vec<u64>,
    },
    /// A part was compared.
    Compared {
        /// The number of comparisons.
        comparisons: u64,
        /// The number of candidate pairs found; a pair in several blocks counts each time.
        pairs: u64,
    },
    /// The result exists.
    Finalized(Summary),
    /// A job that plans has also compared all records and made the result: the run was small. There is neither a plan nor
    /// pairs.
    Solved(Solved),
    /// The objects were removed.
    Purged,
    /// The part of a chore that a worker does is done; these objects were found.
    Surveyed(Vec<Holding>),
    /// The task is impossible. A retry does not help.
    Rejected {
        /// The cause and the remedy, for the user.
        message: String,
    },
}

impl Task {
    /// Returns the name of the kind of task.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Ingest { .. } => "ingest",
            Self::Plan { .. } => "plan",
            Self::Compare { .. } => "compare",
            Self::Finalize { .. } => "finalize",
            Self::Purge(_) => "purge",
            Self::Chore { chore, .. } => chore.name(),
        }
    }

    /// Returns true if a run or a party waits for the outcome.
    pub const fn is_awaited(&self) -> bool {
        !matches!(self, Self::Purge(_) | Self::Chore { .. })
    }

    /// Returns the run to which the task belongs, if there is one.
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::Plan { run, .. } | Self::Compare { run, .. } | Self::Finalize { run, .. } => Some(*run),
            Self::Fetch { .. } | Self::Ingest { .. } | Self::Purge(_) | Self::Chore { .. } => None,
        }
    }
}

impl Job {
    /// Returns the identity of the job. The same task has the same identity.
    pub fn id(&self) -> String {
        let project = self.project;
        match &self.task {
            Task::Fetch { party, reference } => format!("{project}/{party}/{}/fetch", reference.upload),
            Task::Ingest { party, upload } => format!("{project}/{party}/{}/ingest", upload.upload),
            Task::Plan { run, .. } => format!("{project}/{run}/plan"),
            Task::Compare { run, part, .. } => format!("{project}/{run}/compare/{part}"),
            Task::Finalize { run, .. } => format!("{project}/{run}/finalize"),
            Task::Chore { chore, period } => format!("chore/{}/{period}", chore.name()),
            Task::Purge(Purge::Project) => format!("{project}/purge"),
            Task::Purge(Purge::Run(run)) => format!("{project}/{run}/purge"),
            Task::Purge(Purge::Intermediate(run)) => format!("{project}/{run}/tidy"),
            Task::Purge(Purge::Upload { party, upload }) => format!("{project}/{party}/{upload}/purge"),
            Task::Purge(Purge::Files { party, upload, .. }) => format!("{project}/{party}/{upload}/files"),
            Task::Purge(Purge::Entries { party, upload }) => format!("{project}/{party}/{upload}/tidy"),
        }
    }

    /// Returns the group of the job: the jobs of a run, or of a project's uploads. Jobs of a group, except purges, are
    /// cancelled together. Groups of the same priority take turns.
    pub fn group(&self) -> String {
        match (&self.task, self.task.run()) {
            (Task::Purge(_), _) => format!("{}/purge", self.project),
            (Task::Chore { .. }, _) => CHORES.to_owned(),
            (_, Some(run)) => group_of_run(self.project, run),
            (_, None) => self.project.to_string(),
        }
    }

    /// Returns the queue of the job.
    pub const fn queue(&self) -> &'static str {
        match &self.task {
            Task::Fetch { .. } | Task::Ingest { .. } => "ingest",
            Task::Plan { .. } | Task::Compare { .. } => "compute",
            Task::Finalize { .. } => "highmemory",
            Task::Purge(_) | Task::Chore { .. } => PURGES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_only_plans_is_as_earlier_versions_wrote_it() {
        let whole = WholeRun {
            result_type: ResultType::Groups,
            records: vec![1, 2],
            pairs_max: 3,
            solver_pairs_max: 4,
            with_scores: false,
        };
        let task = |whole| Task::Plan {
            run: RunId::from_bytes([1; 24]),
            uploads: vec![1, 2],
            threshold: Threshold::new(0.8).unwrap(),
            comparisons_per_job: None,
            whole,
        };
        let written = serde_json::to_string(&task(None)).unwrap();
        assert!(!written.contains("whole"), "{written}");
        for task in [task(None), task(Some(whole))] {
            let written = serde_json::to_string(&task).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&written).unwrap(), task);
        }
    }

    #[test]
    fn a_job_without_scores_is_as_earlier_versions_wrote_it() {
        let task = |with_scores| Task::Finalize {
            run: RunId::from_bytes([1; 24]),
            result_type: ResultType::Groups,
            records: vec![1, 2],
            parts: 3,
            solver_pairs_max: 4,
            pairs: 5,
            with_scores,
        };
        let written = serde_json::to_string(&task(false)).unwrap();
        assert!(!written.contains("scores"), "{written}");
        for task in [task(false), task(true)] {
            let written = serde_json::to_string(&task).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&written).unwrap(), task);
        }
    }
}

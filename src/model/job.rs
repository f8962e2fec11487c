//! A job: a pure piece of work. It reads immutable objects, creates immutable objects under keys made
//! from its own identity, and reports an outcome.

use serde::{Deserialize, Serialize};

use super::ids::{ProjectId, RunId};
use super::party::{Dataset, Reference, Upload};
use super::project::ResultType;
use super::run::Summary;
use super::threshold::Threshold;

/// Every queue that there are jobs for.
pub const QUEUES: [&str; 4] = ["ingest", "compute", "highmemory", PURGES];
/// The group of chores.
pub const CHORES: &str = "chore";
/// The queue of purges and chores.
pub const PURGES: &str = "maintenance";

/// The project id of chores, which belong to no project.
pub const NOBODY: ProjectId = ProjectId::from_bytes([0; 24]);

/// The group of the jobs of a run.
pub fn group_of_run(project: ProjectId, run: RunId) -> String {
    format!("{project}/{run}")
}

/// One piece of work for a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The project that the work belongs to.
    pub project: ProjectId,
    /// The task.
    pub task: Task,
}

/// A unit of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Read the files that an upload names.
    Fetch {
        /// The dataset index of the party.
        party: u32,
        /// The upload, and what it names.
        reference: Reference,
    },
    /// Check an upload and lay it out for linkage.
    Ingest {
        /// The dataset index of the party.
        party: u32,
        /// The upload, as it was counted while it arrived.
        upload: Upload,
    },
    /// Cut a run's comparisons into parts.
    Plan {
        /// The run.
        run: RunId,
        /// The uploads the datasets came from, in the order of their indexes.
        uploads: Vec<u32>,
        /// The score from which a pair counts.
        threshold: Threshold,
        /// Comparisons in a part; where absent, the worker aims at its usual length of a job.
        comparisons_per_job: Option<u64>,
    },
    /// Compare one part of a plan.
    Compare {
        /// The run.
        run: RunId,
        /// The uploads the datasets came from, in the order of their indexes.
        uploads: Vec<u32>,
        /// The part, counted from 0.
        part: u32,
        /// More candidate pairs than this fail the run.
        pairs_max: u64,
    },
    /// Merge a run's candidate pairs and make the result.
    Finalize {
        /// The run.
        run: RunId,
        /// The type of the result.
        result_type: ResultType,
        /// Records of each dataset.
        records: Vec<u32>,
        /// Parts of the plan, each of which has left a run of pairs.
        parts: u32,
        /// More candidate pairs than this, each counted once, fail a run that needs the solver.
        solver_pairs_max: u64,
        /// Candidate pairs of all parts, duplicates between blocks counted every time.
        #[serde(default)]
        pairs: u64,
    },
    /// Keep the house; no project asks for it.
    Chore {
        /// The work of a chore.
        chore: Chore,
        /// The period it is done for: once in each.
        period: i64,
    },
    /// Remove objects.
    Purge(Purge),
}

/// A set of objects to remove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// Everything of the project.
    Project,
    /// Everything of a run.
    Run(RunId),
    /// Intermediate objects of a run: its plan and its pairs. The result stays.
    Intermediate(RunId),
    /// Everything of an upload that came to nothing.
    Upload {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload.
        upload: u32,
    },
    /// Files of a client that were read: they are not needed any more.
    Files {
        /// The dataset index of the party.
        party: u32,
        /// The number of the upload that named them.
        upload: u32,
        /// Their keys, in the bucket that clients upload to.
        files: Vec<String>,
    },
    /// Upload objects that the layout has replaced: the unsorted block entries.
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
    /// Projects that ended long ago go.
    Retire,
    /// Removes objects without an owner, and files that were left behind.
    Sweep,
    /// Stores give back room that they do not use.
    Compact,
}

impl Chore {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Retire, Self::Sweep, Self::Compact];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retire => "retire",
            Self::Sweep => "sweep",
            Self::Compact => "compact",
        }
    }
}

/// The objects that exist of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The project.
    pub project: ProjectId,
    /// The party and the number of each upload.
    pub uploads: Vec<(u32, u32)>,
    /// Each run, and whether there is anything of it but the result.
    pub runs: Vec<(RunId, bool)>,
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The files are read, and what they hold is stored like any other upload.
    Fetched(Upload),
    /// The upload is laid out.
    Ingested(Dataset),
    /// The run is cut into parts.
    Planned {
        /// The number of parts.
        parts: u32,
        /// Comparisons of all of them.
        comparisons: u64,
        /// Comparisons of the largest blocks, the largest first.
        #[serde(default)]
        largest_blocks: Vec<u64>,
    },
    /// A part is compared.
    Compared {
        /// Comparisons made.
        comparisons: u64,
        /// Candidate pairs found, duplicates between blocks counted every time.
        pairs: u64,
    },
    /// The result is there.
    Finalized(Summary),
    /// The objects are gone.
    Purged,
    /// A chore is done as far as it is the worker's; this was found.
    Surveyed(Vec<Holding>),
    /// It cannot be done, however often it is tried.
    Rejected {
        /// The cause and the remedy, for people.
        message: String,
    },
}

impl Task {
    /// Returns the kind of work, in one word.
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

    /// The run it works for, if it works for one.
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::Plan { run, .. } | Self::Compare { run, .. } | Self::Finalize { run, .. } => Some(*run),
            Self::Fetch { .. } | Self::Ingest { .. } | Self::Purge(_) | Self::Chore { .. } => None,
        }
    }
}

impl Job {
    /// Returns the identity of the job. Equal work has an equal identity.
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

    /// Returns the group of the job: the jobs of a run, or of a project's uploads. A group is cancelled as a whole, except for
    /// purges. Groups of the same priority take turns.
    pub fn group(&self) -> String {
        match (&self.task, self.task.run()) {
            (Task::Purge(_), _) => format!("{}/purge", self.project),
            (Task::Chore { .. }, _) => CHORES.to_owned(),
            (_, Some(run)) => group_of_run(self.project, run),
            (_, None) => self.project.to_string(),
        }
    }

    /// The queue it waits in.
    pub const fn queue(&self) -> &'static str {
        match &self.task {
            Task::Fetch { .. } | Task::Ingest { .. } => "ingest",
            Task::Plan { .. } | Task::Compare { .. } => "compute",
            Task::Finalize { .. } => "highmemory",
            Task::Purge(_) | Task::Chore { .. } => PURGES,
        }
    }
}

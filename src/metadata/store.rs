//! The trait of a metadata store.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;

use crate::model::{ProjectId, ProjectState, RunId, RunState, Tombstone};
use crate::runtime::clock::Timestamp;

/// An error of the metadata store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not answer, or failed. Try again after a pause.
    #[error("the metadata store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// All readers are in use. Try again after a pause.
    #[error("the metadata store is busy")]
    Busy,
    /// The disk is full, and nothing was written. Try again once there is space.
    #[error("there is no space left for the metadata")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database belongs to another data directory, or is incomplete. The process should stop and report it.
    #[error("{0}")]
    Unfit(String),
    /// The stored data is damaged. The process should stop and report it.
    #[error("the metadata store is damaged: {0}")]
    Damaged(String),
    /// The database was written by a newer version of this program.
    #[error(
        "the metadata has schema version {found}, and this program knows versions up to {known}; use a newer one"
    )]
    TooNew {
        /// The version of the database.
        found: u32,
        /// The newest version that this program supports.
        known: u32,
    },
}

/// The runs that are loaded with a project. Other runs stay unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runs {
    /// No runs.
    None,
    /// The run with this identifier, if it exists.
    One(RunId),
    /// The runs that have not ended.
    Unended,
    /// All runs.
    All,
}

/// The number of runs among which failed ones are looked for.
pub(super) const FAILED_AMONG: i64 = 10_000;

/// A run in the list of its project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRun {
    /// The identifier of the run.
    pub id: RunId,
    /// The time of the request.
    pub added: Timestamp,
    /// The state, without the result.
    pub state: RunState,
}

/// The content of an atomic commit.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The new state of the project; `None` if it is deleted.
    pub state: Option<ProjectState>,
    /// The messages to append to the outbox, in this order. The store does not interpret them.
    pub outbox: Vec<String>,
    /// The duties to add.
    pub duties: Vec<Duty>,
}

/// A duty: work that belongs to no project, and is stored until it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// The name of the duty. A duty replaces one with the same name.
    pub name: String,
    /// The content, which the store does not interpret.
    pub body: String,
}

/// A function from a project (`None` if it does not exist) to the content of a commit (`None` to change nothing). It
/// may be called again if the commit has to be repeated.
pub type Change = Box<dyn FnMut(Option<ProjectState>) -> Option<Commit> + Send>;

/// A message in the outbox: a consequence of a commit that has yet to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The position of the message in the order of all messages.
    pub sequence: i64,
    /// The content of the message.
    pub body: String,
}

/// A project in the list of all projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The identifier of the project.
    pub id: ProjectId,
    /// The time of creation.
    pub added: Timestamp,
}

/// The same moment on the retention clock and on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The time on the retention clock.
    pub passed: Timestamp,
    /// The time on the wall clock.
    pub wall: Timestamp,
}

/// A summary of all projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The number of projects.
    pub projects: u64,
    /// The comparisons per second of the run that was completed last; `None` before the first.
    pub rate: Option<u64>,
}

/// A deletion or failure that may have left objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The tombstone, which identifies the deleted project, run or upload.
    pub tombstone: Tombstone,
    /// True if an upload was arriving, which may leave objects until the process ends.
    pub late: bool,
}

/// The metadata store: projects, parties, runs, and access to them.
#[async_trait]
pub trait Store: Send + Sync {
    /// Changes a project: reads it with the runs that `runs` selects, calls `change`, and commits the result in the
    /// same transaction. The commit is durable when this returns. Changes of one project happen one after the other.
    /// Runs that are not loaded stay unchanged, unless the project is deleted. If the future is dropped, the change may
    /// or may not be made, but never in part.
    async fn update(&self, project: ProjectId, runs: Runs, change: Change) -> Result<(), Error>;

    /// Returns a project with its parties and the runs that `runs` selects.
    async fn project(&self, id: ProjectId, runs: Runs) -> Result<Option<ProjectState>, Error>;

    /// Returns the runs of a project, in the order of their requests; an empty list if the project does not exist.
    async fn runs(&self, project: ProjectId) -> Result<Vec<ListedRun>, Error>;

    /// Returns all projects, oldest first.
    async fn projects(&self) -> Result<Vec<Listed>, Error>;

    /// Returns the projects with unfinished work: an upload in progress, a dataset being indexed, or a run that has
    /// started and not ended.
    async fn unsettled(&self) -> Result<Vec<ProjectId>, Error>;

    /// Returns the failed runs among the latest [`FAILED_AMONG`] runs, the latest first and at most `count`. Leaves out
    /// those of which another run was posted later, in the same project and with the same threshold.
    async fn failed_runs(&self, count: u32) -> Result<Vec<(ProjectId, RunId)>, Error>;

    /// Returns the projects whose runs have all ended, the last one before this time on the retention clock.
    async fn settled_before(&self, moment: Timestamp) -> Result<Vec<ProjectId>, Error>;

    /// Returns the stored mark of the retention clock.
    async fn mark(&self) -> Result<Option<Mark>, Error>;

    /// Replaces the stored mark, unless that is later on the retention clock.
    async fn keep_mark(&self, mark: Mark) -> Result<(), Error>;

    /// Returns the latest time in any project or run.
    async fn latest(&self) -> Result<Option<Timestamp>, Error>;

    /// Returns a summary of all projects.
    async fn status(&self) -> Result<Status, Error>;

    /// Returns the oldest `count` messages of the outbox, in order. If several nodes share the store, each message is
    /// returned to one node only, and to another one if that node has ended.
    async fn outbox(&self, count: u32) -> Result<Vec<Message>, Error>;

    /// Returns true if there are messages in the outbox.
    async fn has_messages(&self) -> Result<bool, Error> {
        Ok(!self.outbox(1).await?.is_empty())
    }

    /// Returns the name of this node, if several share the store.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Returns the nodes that share the store and have sent a heartbeat lately, this one included; an empty set if
    /// this node has no name.
    async fn serving(&self) -> Result<HashSet<String>, Error> {
        Ok(HashSet::new())
    }

    /// Returns the recorded deletions and failures of projects, runs and uploads.
    async fn deleted(&self) -> Result<Vec<Deleted>, Error>;

    /// Adds deletions and failures that another store has recorded.
    async fn note_deleted(&self, these: Vec<Deleted>) -> Result<(), Error>;

    /// Removes the records of these deletions, whose objects are all removed. Removes late ones only if `is_over`, that
    /// is, if the process that received their uploads has ended.
    async fn forget_deleted(&self, these: Vec<Tombstone>, is_over: bool) -> Result<(), Error>;

    /// Returns the duties that are not done.
    async fn duties(&self) -> Result<Vec<Duty>, Error>;

    /// Removes the duty and the recorded attempts of a job that is done.
    async fn settle(&self, job: &str) -> Result<(), Error>;

    /// Records the number of attempts of a project's job that have ended without an outcome.
    async fn note_attempts(&self, project: ProjectId, job: &str, attempts: u8) -> Result<(), Error>;

    /// Returns the recorded attempts, by job.
    async fn attempts(&self) -> Result<HashMap<String, u8>, Error>;

    /// Checks that the store accepts changes. Cheap if the latest change succeeded.
    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the name and the hosts of the database server; `None` if there is no server.
    fn server(&self) -> Option<String> {
        None
    }

    /// Describes the database server in a few words; `None` if there is no server.
    async fn describe(&self) -> Option<String> {
        None
    }

    /// Closes the store, so that its main file is complete without the log. Must be the last call.
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Frees unused space, and erases removed data from the files. Changes wait until it is done.
    async fn compact(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Removes the messages up to and including `sequence` that this node has received, since they are carried out.
    async fn forget(&self, sequence: i64) -> Result<(), Error>;
}

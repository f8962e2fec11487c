//! The trait of a metadata store.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;

use crate::model::{ProjectId, ProjectState, RunId, RunState, Tombstone};
use crate::runtime::clock::Timestamp;

/// An error of the metadata store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not answer, or answered with an error of its own. Worth another try after a pause.
    #[error("the metadata store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is read by as many as may. Worth another try after a pause.
    #[error("the metadata store is busy")]
    Busy,
    /// The disk is full, and nothing was written. Worth another try once there is room.
    #[error("there is no space left for the metadata")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It belongs to another data directory, or some of it is missing. The process should stop and say so.
    #[error("{0}")]
    Unfit(String),
    /// The stored data cannot be read. The process should stop and report it.
    #[error("the metadata store is damaged: {0}")]
    Damaged(String),
    /// It was written by a newer version of this program.
    #[error(
        "the metadata has schema version {found}, and this program knows versions up to {known}; use a newer one"
    )]
    TooNew {
        /// The version found.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
}

/// The runs of a project that are loaded with it. What is not loaded stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runs {
    /// None of them.
    None,
    /// The one of this name, if there is one.
    One(RunId),
    /// Those that have not ended.
    Unended,
    /// All of them.
    All,
}

/// A run as it stands in the list of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRun {
    /// Names it.
    pub id: RunId,
    /// The time of the request.
    pub added: Timestamp,
    /// The stage, without the result.
    pub state: RunState,
}

/// The content of a change. All of it is committed, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The project from now on; absent if it is to go.
    pub state: Option<ProjectState>,
    /// Pending work, opaque here, appended to the outbox in this order.
    pub outbox: Vec<String>,
    /// Work that no project asks for again; kept until it is done.
    pub duties: Vec<Duty>,
}

/// Work that has to be done, and that no project remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// Its name; one of the same name takes its place.
    pub name: String,
    /// The content, opaque here.
    pub body: String,
}

/// A function from a project (absent if there is none of that id) to what is to be committed, or to
/// nothing if all is to stay as it is. It may be called again if the commit has to be repeated.
pub type Change = Box<dyn FnMut(Option<ProjectState>) -> Option<Commit> + Send>;

/// Something that follows from a commit and is still to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the order of all messages.
    pub sequence: i64,
    /// The content that was appended.
    pub body: String,
}

/// A project as it stands in the list of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Names it.
    pub id: ProjectId,
    /// The time of creation.
    pub added: Timestamp,
}

/// A moment on the retention clock, and on the wall clock.
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
    /// Comparisons a second of the run that was completed last; absent before the first.
    pub rate: Option<u64>,
}

/// Something that was deleted and may have left objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Tells what it was.
    pub tombstone: Tombstone,
    /// True if an upload was arriving, which may leave objects until the process ends.
    pub late: bool,
}

/// The metadata store: projects, parties, runs, and access to them.
#[async_trait]
pub trait Store: Send + Sync {
    /// The one writing method: reads the project with these of its runs, asks `change`, and commits what it says in the
    /// same transaction, on disk before it returns. Changes of one project happen one after the other. Runs that are
    /// not loaded stay, unless the project goes.
    /// Dropping the future leaves either all of it or nothing.
    async fn update(&self, project: ProjectId, runs: Runs, change: Change) -> Result<(), Error>;

    /// A project with its parties and these of its runs.
    async fn project(&self, id: ProjectId, runs: Runs) -> Result<Option<ProjectState>, Error>;

    /// The runs of a project, in the order in which they were asked for; none, if there is no such project.
    async fn runs(&self, project: ProjectId) -> Result<Vec<ListedRun>, Error>;

    /// All projects, oldest first.
    async fn projects(&self) -> Result<Vec<Listed>, Error>;

    /// The projects that wait for something of ours: an upload under way, a dataset being laid out, a run
    /// that has been started and has not ended.
    async fn unsettled(&self) -> Result<Vec<ProjectId>, Error>;

    /// The projects whose runs have all ended, the last one before this moment of the clock that retention goes by.
    async fn settled_before(&self, moment: Timestamp) -> Result<Vec<ProjectId>, Error>;

    /// The mark kept last.
    async fn mark(&self) -> Result<Option<Mark>, Error>;

    /// Keeps a mark in place of the one before.
    async fn keep_mark(&self, mark: Mark) -> Result<(), Error>;

    /// The latest moment that any project or run speaks of.
    async fn latest(&self) -> Result<Option<Timestamp>, Error>;

    /// Returns a summary of all projects.
    async fn status(&self) -> Result<Status, Error>;

    /// The oldest `count` messages of the outbox, in order. Where several nodes share the store, each message is handed to one
    /// of them, and to another once that has ended.
    async fn outbox(&self, count: u32) -> Result<Vec<Message>, Error>;

    /// Returns whether there are messages in the outbox.
    async fn has_messages(&self) -> Result<bool, Error> {
        Ok(!self.outbox(1).await?.is_empty())
    }

    /// The name of this node, if several share the store.
    fn node(&self) -> Option<&str> {
        None
    }

    /// The nodes that share the store and have been heard lately, this one included; none if it has no name.
    async fn serving(&self) -> Result<HashSet<String>, Error> {
        Ok(HashSet::new())
    }

    /// The projects that were deleted, and the runs that were deleted from projects, until they are forgotten.
    async fn deleted(&self) -> Result<Vec<Deleted>, Error>;

    /// Forgets that those were deleted: nothing is left of them. Those that are late are forgotten only if that is over.
    async fn forget_deleted(&self, these: Vec<Tombstone>, is_over: bool) -> Result<(), Error>;

    /// The work that no project remembers, as far as it is not done.
    async fn duties(&self) -> Result<Vec<Duty>, Error>;

    /// Forgets what was kept of a job: it is done.
    async fn settle(&self, job: &str) -> Result<(), Error>;

    /// Notes how many attempts of a job of a project have ended without an outcome.
    async fn note_attempts(&self, project: ProjectId, job: &str, attempts: u8) -> Result<(), Error>;

    /// The attempts that were noted, by job: of those that were tried more than once.
    async fn attempts(&self) -> Result<HashMap<String, u8>, Error>;

    /// Returns true if the store accepts changes. Cheap while the last one succeeded.
    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Describes the server that the metadata is in, in a few words; nothing, if it is in none.
    async fn describe(&self) -> Option<String> {
        None
    }

    /// Closes what is open, so that its files are whole by themselves. Nothing is asked of the store afterwards.
    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Gives back room that is not used any more, and sees to it that nothing is left there of what was removed. Changes wait
    /// meanwhile.
    async fn compact(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Removes the messages up to and including `sequence`: they have been carried out.
    async fn forget(&self, sequence: i64) -> Result<(), Error>;
}

//! The projects that objects belong to: a key in the bucket for uploads begins with a project id. No object is stored
//! for a deleted project, even if the request began before the deletion.

use s3s::{S3Error, S3Result, s3_error};

use crate::coordinator::Coordinator;
use crate::metadata::Runs;
use crate::model::{Checksum, ProjectId};
use crate::objects::{Key, keys};
use crate::telemetry::chain;

/// Checks that the projects of keys exist. Cheap to clone.
#[derive(Clone)]
pub struct Owners {
    coordinator: Coordinator,
    bucket: Option<String>,
}

/// The project that a key belongs to, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(Option<ProjectId>);

impl Owners {
    /// Returns the checks for keys in `bucket`, the bucket for uploads, if there is one.
    pub const fn new(coordinator: Coordinator, bucket: Option<String>) -> Self {
        Self { coordinator, bucket }
    }

    /// Returns true if `bucket` is the bucket for uploads.
    pub fn upload_to(&self, bucket: &str) -> bool {
        self.bucket.as_deref() == Some(bucket)
    }

    /// Returns the owner of a key before an object is stored under it.
    ///
    /// # Errors
    /// `AccessDenied`, if the owner no longer exists; `ServiceUnavailable`.
    pub async fn of(&self, bucket: &str, key: &str) -> S3Result<Owner> {
        let project = key.split_once('/').filter(|_| self.upload_to(bucket));
        let owner = Owner(project.and_then(|(project, _)| ProjectId::parse(project)));
        self.require(owner).await.map(|()| owner)
    }

    /// Fails if the owner no longer exists.
    ///
    /// # Errors
    /// Like [`of`](Self::of).
    pub async fn require(&self, owner: Owner) -> S3Result<()> {
        let Some(project) = owner.0 else { return Ok(()) };
        match self.coordinator.project(project, Runs::None).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(s3_error!(AccessDenied, "There is no such project, or it was deleted.")),
            Err(error) => Err(unknown(&error)),
        }
    }

    /// Returns the checksum of a score file, if the run that wrote it belongs to the project.
    ///
    /// # Errors
    /// `ServiceUnavailable`.
    pub(super) async fn checksum(&self, project: ProjectId, file: &Key) -> S3Result<Option<Checksum>> {
        let runs = self.coordinator.runs(project).await.map_err(|error| unknown(&error))?;
        let Some(listed) = runs.iter().find(|run| keys::score_file(run.id) == *file) else { return Ok(None) };
        let found = self.coordinator.project(project, Runs::One(listed.id)).await;
        let found = found.map_err(|error| unknown(&error))?;
        let run = found.as_ref().and_then(|project| project.run(listed.id));
        Ok(run.and_then(|run| run.checksum(file.name())).cloned())
    }
}

/// Returns the error for metadata that cannot be read.
pub(super) fn unknown(error: &dyn std::error::Error) -> S3Error {
    tracing::error!("cannot check whether a project exists: {}", chain(error));
    s3_error!(ServiceUnavailable, "The server cannot check the credentials now.")
}

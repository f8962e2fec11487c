//! Commands of clients: projects, uploads and runs.

use std::sync::Arc;

use super::{Coordinator, Error, Event, Refused};
use crate::metadata::{Commit, Listed, ListedRun, Runs, Status};
use crate::model::{
    Dataset, Keyring, Party, ProjectId, ProjectState, Reference, ResultType, Run, RunId, Threshold, Token,
    TokenHash, Upload,
};

/// A valid request for a project.
#[derive(Clone, Debug)]
pub struct NewProject {
    /// The name given by the owner.
    pub name: String,
    /// The notes of the owner.
    pub notes: String,
    /// The linkage schema, JSON text that is returned unchanged.
    pub schema: String,
    /// The result type of the project's runs.
    pub result_type: ResultType,
    /// The number of data providers.
    pub number_parties: u32,
    /// Set if uploads have blocks.
    pub uses_blocking: bool,
    /// The encoding size that the schema requires, in bytes.
    pub encoding_bytes: Option<u32>,
}

impl NewProject {
    /// Returns a request for a project of two parties, without name, notes, schema and blocks.
    pub fn plain(result_type: ResultType) -> Self {
        Self {
            name: String::new(),
            notes: String::new(),
            schema: "{}".to_owned(),
            result_type,
            number_parties: 2,
            uses_blocking: false,
            encoding_bytes: None,
        }
    }
}

/// A valid request for a run.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The name given by the owner.
    pub name: String,
    /// The notes of the owner.
    pub notes: String,
    /// The lowest score at which a pair counts.
    pub threshold: Threshold,
    /// Set if the result keeps the scores of the pairs within each group.
    pub with_scores: bool,
}

/// A project that was created, with its tokens, which are shown once and not stored.
#[derive(Debug)]
pub struct CreatedProject {
    /// The identifier of the project.
    pub id: ProjectId,
    /// The result token, with which the creator owns the project.
    pub result_token: Token,
    /// The update tokens, in the order of the dataset indexes.
    pub update_tokens: Vec<Token>,
}

impl Coordinator {
    /// Creates a project with fresh tokens.
    pub async fn create_project(&self, new: NewProject) -> Result<CreatedProject, Error> {
        let id = ProjectId::from_bytes(self.0.entropy.bytes());
        let result_token = self.token();
        let update_tokens: Vec<Token> = (0..new.number_parties).map(|_| self.token()).collect();
        let project = ProjectState {
            id,
            added: self.0.clock.now(),
            name: new.name,
            notes: new.notes,
            schema: new.schema,
            result_type: new.result_type,
            uses_blocking: new.uses_blocking,
            encoding_bytes: new.encoding_bytes,
            result_token: result_token.hash(),
            parties: update_tokens.iter().map(|token| Party::new(token.hash())).collect(),
            runs: Vec::new(),
        };
        let project = Arc::new(project);
        let change =
            move |_| Some(Commit { state: Some(ProjectState::clone(&project)), ..Commit::default() });
        self.update(id, Runs::None, Box::new(change)).await?;
        tracing::info!(project.id = %id, parties = new.number_parties, "project created");
        Ok(CreatedProject { id, result_token, update_tokens })
    }

    /// Returns a project with its parties and the runs that `runs` selects.
    pub async fn project(&self, id: ProjectId, runs: Runs) -> Result<Option<ProjectState>, Error> {
        Ok(self.0.store.project(id, runs).await?)
    }

    /// Returns the runs of a project, in the order of their requests.
    pub async fn runs(&self, project: ProjectId) -> Result<Vec<ListedRun>, Error> {
        Ok(self.0.store.runs(project).await?)
    }

    /// Returns the projects with an upload in progress, a dataset that is being indexed, or a run that has not ended.
    pub async fn unsettled(&self) -> Result<Vec<ProjectId>, Error> {
        Ok(self.0.store.unsettled().await?)
    }

    /// Returns the latest failed runs that have not been started again, at most `count`.
    pub async fn failed_runs(&self, count: u32) -> Result<Vec<(ProjectId, RunId)>, Error> {
        Ok(self.0.store.failed_runs(count).await?)
    }

    /// Returns all projects, oldest first.
    pub async fn projects(&self) -> Result<Vec<Listed>, Error> {
        Ok(self.0.store.projects().await?)
    }

    /// Checks that the metadata accepts changes.
    pub async fn check(&self) -> Result<(), Error> {
        self.written(self.0.store.check().await)
    }

    /// Returns true if a use of the metadata failed and no change has succeeded since. Does not call the
    /// store.
    pub fn is_metadata_failing(&self) -> bool {
        self.0.metadata_outage.is_failing()
    }

    /// Returns the name and the hosts of the database server; `None` if there is no server.
    pub fn metadata_server(&self) -> Option<String> {
        self.0.store.server()
    }

    /// Describes the database server; `None` if there is no server.
    pub async fn describe_metadata(&self) -> Option<String> {
        self.0.store.describe().await
    }

    /// Closes the metadata, as the last step of a shutdown.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.0.store.close().await?)
    }

    /// Returns a summary of all projects.
    pub async fn status(&self) -> Result<Status, Error> {
        Ok(self.0.store.status().await?)
    }

    /// Deletes a project. Its tokens stop working at once; its objects are removed soon after.
    pub async fn delete_project(&self, id: ProjectId) -> Result<(), Error> {
        self.apply(id, Event::Deleted).await.map(drop)
    }

    /// Creates a run. It starts by itself once the data of all parties is ready.
    pub async fn post_run(&self, project: ProjectId, new: NewRun) -> Result<Run, Error> {
        let id = RunId::from_bytes(self.0.entropy.bytes());
        let NewRun { name, notes, threshold, with_scores } = new;
        let run = Run { name, notes, with_scores, ..Run::asked_for(id, threshold, self.0.clock.now()) };
        let after = self.apply(project, Event::RunPosted(Box::new(run))).await?;
        Ok(after.as_ref().and_then(|project| project.run(id)).ok_or(Refused::Absent)?.clone())
    }

    /// Deletes a run, finished or not. Its objects are removed soon after.
    pub async fn delete_run(&self, project: ProjectId, run: RunId) -> Result<(), Error> {
        self.apply(project, Event::RunDeleted(run)).await.map(drop)
    }

    /// Locks a party's update token and returns the number of the new upload. The lock is released when the upload is
    /// accepted or abandoned, or the process restarts. If several nodes share the metadata, the lock is released once this
    /// node has been silent for [`SILENCE_MAX`](crate::metadata::commons::SILENCE_MAX).
    pub async fn begin_upload(&self, project: ProjectId, party: u32) -> Result<u32, Error> {
        let upload = u32::from_le_bytes(self.0.entropy.bytes()).max(1);
        let holder = self.0.store.node().map(str::to_owned);
        self.apply(project, Event::UploadBegun { party, upload, holder }).await?;
        Ok(upload)
    }

    /// Accepts an upload whose objects are stored, and returns the receipt token.
    pub async fn accept_upload(
        &self,
        project: ProjectId,
        party: u32,
        upload: Upload,
    ) -> Result<Token, Error> {
        self.issue_receipt(project, |receipt| Event::UploadAccepted { party, upload, receipt }).await
    }

    /// Accepts an upload whose objects and index are stored, and returns the receipt token.
    pub async fn accept_indexed_upload(
        &self,
        project: ProjectId,
        party: u32,
        dataset: Dataset,
    ) -> Result<Token, Error> {
        let at = self.now();
        self.issue_receipt(project, |receipt| Event::UploadIndexed { party, dataset, receipt, at }).await
    }

    /// Accepts an upload that names files, with the access keys for files in stores of other providers, and returns
    /// the receipt token.
    pub async fn refer_upload(
        &self,
        project: ProjectId,
        party: u32,
        reference: Reference,
        keyring: Keyring,
    ) -> Result<Token, Error> {
        let event = |receipt| Event::UploadReferred { party, reference, keyring, receipt };
        self.issue_receipt(project, event).await
    }

    /// Replaces the receipt token of this upload, for a client that has proved that it made the upload.
    pub async fn renew_receipt(&self, project: ProjectId, party: u32, upload: u32) -> Result<Token, Error> {
        self.issue_receipt(project, |receipt| Event::ReceiptRenewed { party, upload, receipt }).await
    }

    /// Releases the lock of a failed upload: the token may be used again, and objects of the upload are removed.
    pub async fn abandon_upload(&self, project: ProjectId, party: u32, upload: u32) -> Result<(), Error> {
        match self.apply(project, Event::UploadAbandoned { party, upload }).await {
            // The objects of a deleted project are removed anyway.
            Ok(_) | Err(Error::Refused(Refused::Absent)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Applies the event that records the digest of a new receipt token, and returns the token.
    async fn issue_receipt(
        &self,
        project: ProjectId,
        event: impl FnOnce(TokenHash) -> Event,
    ) -> Result<Token, Error> {
        let token = self.token();
        self.apply(project, event(token.hash())).await?;
        Ok(token)
    }

    fn token(&self) -> Token {
        Token::from_bytes(self.0.entropy.bytes())
    }
}

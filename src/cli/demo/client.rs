//! The HTTP requests of the parties and of the analyst.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::bloom::ENCODING_BYTES;
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::model::Threshold;
use crate::system::outgoing;
use crate::telemetry::chain;

/// A client for one server.
pub(super) struct Client {
    http: reqwest::Client,
    /// The URL up to and including `/api/v1`.
    base: String,
}

/// A new project with its tokens.
#[derive(Debug, Deserialize)]
pub(super) struct Project {
    #[serde(rename = "project_id")]
    id: String,
    result_token: String,
    pub(super) update_tokens: Vec<String>,
}

/// The progress of a run.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    state: String,
    current_stage: Stage,
    message: Option<String>,
    total_number_comparisons: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    description: String,
    progress: Option<StageProgress>,
}

#[derive(Debug, Deserialize)]
struct StageProgress {
    relative: f64,
}

/// Groups of records that belong to one person. A record is a dataset index and a record index.
pub(super) type Groups = Vec<Vec<(usize, usize)>>;

impl Client {
    /// Returns a client for the API at `base`.
    pub(super) fn new(base: String) -> Result<Self, Failure> {
        Ok(Self { http: outgoing::client().build().or_fail()?, base })
    }

    /// Creates a project with `parties` parties and the result type `groups`.
    pub(super) async fn create_project(&self, parties: usize) -> Result<Project, Failure> {
        let body = json!({"schema": {}, "result_type": "groups", "number_parties": parties, "name": "demo"});
        self.ask(self.request(Method::POST, "projects").json(&body)).await
    }

    /// Uploads a party's encodings with the party's token.
    pub(super) async fn upload(&self, project: &Project, party: usize, rows: Vec<u8>) -> Result<(), Failure> {
        let path = format!("projects/{}/binaryclks", project.id);
        let request = self
            .request(Method::POST, &path)
            .header("Authorization", &project.update_tokens[party])
            .header("Content-Type", "application/octet-stream")
            .header("Hash-Count", rows.len() / ENCODING_BYTES)
            .header("Hash-Size", ENCODING_BYTES)
            .body(rows);
        self.ask::<serde_json::Value>(request).await.map(drop)
    }

    /// Starts a run and returns its path.
    pub(super) async fn start_run(&self, project: &Project, threshold: Threshold) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Run {
            run_id: String,
        }
        let path = format!("projects/{}/runs", project.id);
        let request = self.request(Method::POST, &path).json(&json!({"threshold": threshold}));
        let run: Run = self.ask(request.header("Authorization", &project.result_token)).await?;
        Ok(format!("{path}/{}", run.run_id))
    }

    /// Waits for the run to complete, and returns its number of comparisons. Calls `seen` with its stage and progress.
    pub(super) async fn wait(
        &self,
        project: &Project,
        run: &str,
        mut seen: impl FnMut(&str, f64),
    ) -> Result<u64, Failure> {
        const PAUSE: Duration = Duration::from_millis(20);
        loop {
            let request = self.request(Method::GET, &format!("{run}/status"));
            let status: Status = self.ask(request.header("Authorization", &project.result_token)).await?;
            let done = status.current_stage.progress.map_or(0.0, |progress| progress.relative);
            seen(&status.current_stage.description, done);
            match status.state.as_str() {
                "completed" => return Ok(status.total_number_comparisons.unwrap_or(0)),
                "error" => {
                    let message = status.message.unwrap_or_else(|| "no reason given".to_owned());
                    return Err(Failure::Input(format!("the run ended in error: {message}")));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Returns the groups of a completed run.
    pub(super) async fn groups(&self, project: &Project, run: &str) -> Result<Groups, Failure> {
        #[derive(Deserialize)]
        struct Result {
            groups: Groups,
        }
        let request = self.request(Method::GET, &format!("{run}/result"));
        let result: Result = self.ask(request.header("Authorization", &project.result_token)).await?;
        Ok(result.groups)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/{path}", self.base))
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let failed = |error: reqwest::Error| {
            Failure::Failed(format!("the server did not answer: {}", chain(&error.without_url())))
        };
        let answer = request.send().await.map_err(failed)?;
        let (status, path) = (answer.status(), answer.url().path().to_owned());
        let body = answer.bytes().await.map_err(failed)?;
        if !status.is_success() {
            let detail = String::from_utf8_lossy(&body).replace('\n', " ");
            return Err(Failure::Failed(format!("the server answered {path} with {status}: {detail}")));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Failed(format!("the server answered {path} with an unexpected body: {error}"))
        })
    }
}

//! The HTTP requests of the checks.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::people::{ENCODING_BYTES, THRESHOLD};
use crate::cli::answer::{self, plain};
use crate::cli::exit::OrFail;
use crate::cli::{Failure, trust};
use crate::telemetry::chain;

/// The interval at which the status of a run is requested.
const PAUSE: Duration = Duration::from_millis(100);
/// The time limit for a request.
const ANSWER: Duration = Duration::from_secs(30);

/// The description of a fault that a check has found.
pub(super) type Wrong = String;

/// A client for the API of a server. It remembers the projects that it has created.
pub(super) struct Api {
    client: Client,
    base: String,
    admin_token: Option<Zeroizing<String>>,
    run_timeout: Duration,
    made: Mutex<Vec<Project>>,
}

/// A project with its tokens.
#[derive(Clone)]
pub(super) struct Project {
    pub(super) path: String,
    result_token: Zeroizing<String>,
    update_tokens: Vec<Zeroizing<String>>,
}

/// A run that has completed.
pub(super) struct Run<'a> {
    api: &'a Api,
    project: &'a Project,
    path: String,
}

impl Project {
    /// Returns the token of a party.
    pub(super) fn update_token(&self, party: usize) -> &str {
        self.update_tokens[party].as_str()
    }
}

impl Api {
    /// Returns a client for the server at `url`, which may end in `/api/v1`.
    pub(super) fn new(
        url: &str,
        ca: Option<&Path>,
        admin_token: Option<Zeroizing<String>>,
        run_timeout: Duration,
    ) -> Result<Self, Failure> {
        let base = trust::api_address(url, "http://127.0.0.1:8851")?;
        let client = trust::builder(ca)?.timeout(ANSWER).build().or_fail()?;
        Ok(Self { client, base, admin_token, run_timeout, made: Mutex::default() })
    }

    /// Returns the URL up to and including `/api/v1`.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Returns a request for `path`, which is relative to `/api/v1`.
    pub(super) fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        if token.is_empty() { request } else { request.header(AUTHORIZATION, token) }
    }

    /// Sends a request, and retries it while a rate limit rejects it.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Wrong> {
        let due = Instant::now() + self.run_timeout;
        loop {
            let attempt = request.try_clone().ok_or("a body that cannot be sent twice")?;
            let answer = attempt.send().await.map_err(|error| self.no_answer(error))?;
            let is_limited =
                [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status());
            if !is_limited || Instant::now() >= due {
                return Ok(answer);
            }
            let wait = answer.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
            sleep(Duration::from_secs(wait.unwrap_or(1).clamp(1, 30))).await;
        }
    }

    /// Sends a request and returns the JSON of the response, which must have `status`. `what` names the request.
    pub(super) async fn ask(&self, request: RequestBuilder, status: u16, what: &str) -> Result<Value, Wrong> {
        let answer = self.send(request).await?;
        if answer.status().as_u16() != status {
            return Err(refusal(what, answer).await);
        }
        let body = answer::read(answer).await.map_err(|unread| format!("{what}: {unread}"))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| format!("{what}: the response is not JSON"))
    }

    /// Creates a project.
    pub(super) async fn create(
        &self,
        result_type: &str,
        parties: usize,
        blocks: bool,
    ) -> Result<Project, Wrong> {
        let body = json!({
            "schema": {}, "result_type": result_type, "number_parties": parties, "uses_blocking": blocks,
            "name": "entityd selftest", "notes": "made by `entityd selftest --server`; may be deleted",
        });
        let request = |token: &str| self.request(Method::POST, "/projects", token).json(&body);
        let mut answer = self.send(request("")).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let Some(token) = &self.admin_token else {
                return Err("creating a project needs the admin token: give --token-file".to_owned());
            };
            // The token is sent only to a server that requires it.
            answer = self.send(request(&format!("Bearer {}", token.as_str()))).await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                return Err("the server rejects this admin token".to_owned());
            }
        }
        if answer.status() != StatusCode::CREATED {
            return Err(refusal("creating a project", answer).await);
        }
        let body = answer::read(answer).await.map_err(|unread| format!("creating a project: {unread}"))?;
        let created: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(|text| Zeroizing::new(text.to_owned()));
        let tokens = created["update_tokens"].as_array().into_iter().flatten().filter_map(text);
        let made = || {
            Some(Project {
                path: format!("/projects/{}", created["project_id"].as_str()?),
                result_token: text(&created["result_token"])?,
                update_tokens: tokens.collect(),
            })
        };
        let project = made().ok_or("the response to creating a project lacks its id or a token")?;
        self.made.lock().push(project.clone());
        if project.update_tokens.len() != parties {
            return Err(format!("a project of {parties} parties got {} tokens", project.update_tokens.len()));
        }
        Ok(project)
    }

    /// Uploads JSON as a party, and returns the receipt token.
    pub(super) async fn upload(
        &self,
        project: &Project,
        party: usize,
        body: &Value,
    ) -> Result<String, Wrong> {
        let path = format!("{}/clks", project.path);
        let request = self.request(Method::POST, &path, project.update_token(party)).json(body);
        receipt(&self.ask(request, 201, "uploading").await?)
    }

    /// Uploads encodings in the binary format, and returns the receipt token.
    pub(super) async fn upload_binary(
        &self,
        project: &Project,
        party: usize,
        records: &[[u8; ENCODING_BYTES]],
    ) -> Result<String, Wrong> {
        let request = self.binary(project, party, records.len(), records.concat());
        receipt(&self.ask(request, 201, "uploading binary encodings").await?)
    }

    /// Returns a request to upload `count` encodings in the binary format.
    pub(super) fn binary(
        &self,
        project: &Project,
        party: usize,
        count: usize,
        body: Vec<u8>,
    ) -> RequestBuilder {
        self.request(Method::POST, &format!("{}/binaryclks", project.path), project.update_token(party))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("Hash-Count", count)
            .header("Hash-Size", ENCODING_BYTES)
            .body(body)
    }

    /// Starts a run, and waits until it has completed.
    pub(super) async fn run<'a>(&'a self, project: &'a Project) -> Result<Run<'a>, Wrong> {
        let runs = format!("{}/runs", project.path);
        let request = self.request(Method::POST, &runs, &project.result_token);
        let posted =
            self.ask(request.json(&json!({ "threshold": THRESHOLD })), 201, "starting a run").await?;
        let id = posted["run_id"].as_str().ok_or("the response to starting a run lacks its id")?;
        let path = format!("{runs}/{id}");
        let due = Instant::now() + self.run_timeout;
        loop {
            let request = self.request(Method::GET, &format!("{path}/status"), &project.result_token);
            let status = self.ask(request, 200, "the status of a run").await?;
            match status["state"].as_str() {
                Some("completed") => return Ok(Run { api: self, project, path }),
                Some("error") => {
                    let why = status["message"].as_str().unwrap_or("the server gives no reason");
                    return Err(format!("the run failed: {why}"));
                }
                Some(state) if Instant::now() >= due => {
                    let seconds = self.run_timeout.as_secs();
                    return Err(format!(
                        "the run was not completed within {seconds} s (--timeout): it is {state}; are workers running?"
                    ));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// Deletes the created projects, and checks that their tokens are rejected afterwards. Returns their number.
    pub(super) async fn delete_all(&self) -> Result<usize, Wrong> {
        let made = std::mem::take(&mut *self.made.lock());
        let mut first = Ok(());
        for project in &made {
            // After an error, the other projects are still deleted.
            first = first.and(self.delete(project).await);
        }
        first.map(|()| made.len())
    }

    async fn delete(&self, project: &Project) -> Result<(), Wrong> {
        let request = |method| self.request(method, &project.path, &project.result_token);
        self.ask(request(Method::DELETE), 204, "deleting a project").await?;
        self.ask(request(Method::GET), 403, "describing a deleted project").await.map(drop)
    }

    fn no_answer(&self, error: reqwest::Error) -> Wrong {
        let why = chain(&error.without_url());
        format!("no answer from {}: {why}{}", self.base, trust::advice(&why, ""))
    }
}

impl Run<'_> {
    /// Returns the result, read with the token of the project's owner.
    pub(super) async fn result(&self) -> Result<Value, Wrong> {
        self.result_for(&self.project.result_token).await
    }

    /// Returns the result, read with `token`.
    pub(super) async fn result_for(&self, token: &str) -> Result<Value, Wrong> {
        let request = self.api.request(Method::GET, &format!("{}/result", self.path), token);
        self.api.ask(request, 200, "the result of a completed run").await
    }
}

/// Describes a response with an unexpected status. `what` names the request.
pub(super) async fn refusal(what: &str, answer: Response) -> Wrong {
    let status = answer.status();
    let body = answer::beginning(answer).await;
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = [&problem["detail"], &problem["title"]].into_iter().find_map(Value::as_str);
    format!(
        "{what} was answered {status}{}",
        detail.map(|text| format!(": {}", plain(text))).unwrap_or_default()
    )
}

fn receipt(answer: &Value) -> Result<String, Wrong> {
    answer["receipt_token"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| "an upload got no receipt token".to_owned())
}

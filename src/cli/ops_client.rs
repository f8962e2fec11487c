//! A client of a server's administration, on its listener for operations.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::exit::OrFail;
use super::{Failure, trust};
use crate::http::admin::TOKEN_CHARS_MIN;
use crate::system::secret;

/// The variable with the admin token, if there is no file.
pub(super) const TOKEN: &str = "ENTITYD_ADMIN_TOKEN";
/// The media type of error responses.
const PROBLEM: &str = "application/problem+json";
/// The time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The options that name a server and its token.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Address of the server's listener for operations
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ENTITYD_OPS_SERVER",
        default_value = "http://127.0.0.1:8853"
    )]
    server: String,
    /// A file with the admin token; without one it is taken from `ENTITYD_ADMIN_TOKEN`
    #[arg(long, global = true, value_name = "FILE", env = "ENTITYD_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Certificate of a server with TLS, or of its CA; `tls/certificate.pem` in its data directory if it is
    /// self-signed
    #[arg(long, global = true, value_name = "FILE", env = "ENTITYD_OPS_CA")]
    ca: Option<PathBuf>,
}

/// A client of one server.
pub(super) struct Client {
    http: reqwest::Client,
    /// Up to and including `/admin`.
    base: String,
    token: Zeroizing<String>,
}

impl Client {
    /// Returns a client of the server that the options name.
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        let server = options.server.trim_end_matches('/');
        if !["http://", "https://"].iter().any(|scheme| server.starts_with(scheme)) {
            return Err(Failure::Usage(format!(
                "--server {server}: give a URL such as http://127.0.0.1:8853"
            )));
        }
        let token = match &options.token_file {
            Some(file) => secret::read_word(file, TOKEN_CHARS_MIN).or_fail()?,
            None => Zeroizing::new(std::env::var(TOKEN).unwrap_or_default().trim().to_owned()),
        };
        if token.is_empty() {
            return Err(Failure::Usage(format!(
                "the admin token is missing: give --token-file, or put it in {TOKEN}; the server printed it when it \
                 first started"
            )));
        }
        let http = trust::builder(options.ca.as_deref())?.timeout(PATIENCE).build().or_fail()?;
        Ok(Self { http, base: format!("{server}/admin"), token })
    }

    /// Gets `path` from the server and requires the member `expected` in the answer.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        expected: &str,
    ) -> Result<Value, Failure> {
        let mut url = reqwest::Url::parse(&format!("{}/{path}", self.base))
            .map_err(|error| Failure::Usage(format!("--server: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let (status, answer) = self.ask(self.http.get(url)).await?;
        if answer.get(expected).is_some() { Ok(answer) } else { Err(self.stranger(status)) }
    }

    /// Posts `body` to the server and returns its answer, which is empty or has the member `expected`.
    pub(super) async fn post(&self, path: &str, body: &Value, expected: &str) -> Result<Value, Failure> {
        let (status, answer) = self.ask(self.http.post(format!("{}/{path}", self.base)).json(body)).await?;
        let is_ours = answer.is_null() || answer.get(expected).is_some();
        if is_ours { Ok(answer) } else { Err(self.stranger(status)) }
    }

    /// Returns the JSON of a successful response.
    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Value), Failure> {
        let away = |error: reqwest::Error| {
            let error = error.without_url();
            let why = crate::telemetry::chain(&error);
            Failure::Failed(format!("no answer from {}: {why}; is the server running?", self.base))
        };
        let answer = request.bearer_auth(self.token.as_str()).send().await.map_err(away)?;
        let status = answer.status();
        let is_problem = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
        let body = answer.bytes().await.map_err(away)?;
        let value = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(&body) };
        match value {
            Ok(value) if status.is_success() => Ok((status, value)),
            Ok(problem) if is_problem && problem["detail"].is_string() => {
                Err(self.refused(status, problem["detail"].as_str().unwrap_or_default()))
            }
            _ if status == StatusCode::UNAUTHORIZED => Err(self.refused(status, "")),
            _ => Err(self.stranger(status)),
        }
    }

    /// Returns the failure for a response that the server rejected.
    fn refused(&self, status: StatusCode, detail: &str) -> Failure {
        match status {
            StatusCode::UNAUTHORIZED => {
                Failure::Usage(format!("{} does not take this admin token", self.base))
            }
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Failure::Input(detail.to_owned()),
            _ => Failure::Failed(format!("{} answered {status}: {detail}", self.base)),
        }
    }

    fn stranger(&self, status: StatusCode) -> Failure {
        Failure::Failed(format!(
            "{} answered {status}, which is no answer of an entityd's listener for operations",
            self.base
        ))
    }
}

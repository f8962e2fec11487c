//! Asks a server's administration.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::runtime::secret;

/// Holds the admin token, unless a file does.
const TOKEN: &str = "ENTITYD_ADMIN_TOKEN";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which server, and what opens it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where the server's listener for operations is
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
}

/// Asks one server.
pub(super) struct Client {
    http: reqwest::Client,
    /// Up to and including `/admin`.
    base: String,
    token: Zeroizing<String>,
}

impl Client {
    /// A client of the server that the options name.
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        let server = options.server.trim_end_matches('/');
        if !server.starts_with("http://") {
            return Err(Failure::Usage(format!(
                "--server {server}: give a URL such as http://127.0.0.1:8853"
            )));
        }
        let token = match &options.token_file {
            Some(file) => secret::read(file).or_fail()?,
            None => Zeroizing::new(std::env::var(TOKEN).unwrap_or_default().trim().to_owned()),
        };
        if token.is_empty() {
            return Err(Failure::Usage(format!(
                "the admin token is missing: give --token-file, or put it in {TOKEN}; the server printed it when it \
                 first started"
            )));
        }
        let http = reqwest::Client::builder().timeout(PATIENCE).build().or_fail()?;
        Ok(Self { http, base: format!("{server}/admin"), token })
    }

    /// What the server says about `path`.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let mut url = reqwest::Url::parse(&format!("{}/{path}", self.base))
            .map_err(|error| Failure::Usage(format!("--server: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.ask(self.http.get(url)).await
    }

    /// What the server says when it is told `body`.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(self.http.post(format!("{}/{path}", self.base)).json(body)).await
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let away = |error: reqwest::Error| {
            let error = error.without_url();
            let why = crate::telemetry::chain(&error);
            Failure::Failed(format!("no answer from {}: {why}; is the server running?", self.base))
        };
        let answer = request.bearer_auth(self.token.as_str()).send().await.map_err(away)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(away)?;
        let value = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(&body) };
        match (status, value) {
            (status, Ok(value)) if status.is_success() => Ok(value),
            (StatusCode::UNAUTHORIZED, _) => {
                Err(Failure::Usage(format!("{} does not take this admin token", self.base)))
            }
            (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, Ok(problem))
                if problem["detail"].is_string() =>
            {
                Err(Failure::Input(problem["detail"].as_str().unwrap_or_default().to_owned()))
            }
            _ => Err(Failure::Failed(format!(
                "{} answered {status}, which is no answer of an entityd's listener for operations",
                self.base
            ))),
        }
    }
}

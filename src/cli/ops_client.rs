//! A client for the administration API on a server's operations listener.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::answer::{self, Unread, plain};
use super::exit::OrFail;
use super::{Failure, trust};
use crate::http::admin::TOKEN_CHARS_MIN;
use crate::runtime::clock::Stopwatch;
use crate::system::secret;

/// The environment variable with the admin token, used if no file is given.
pub(super) const TOKEN: &str = "ENTITYD_ADMIN_TOKEN";
/// The environment variable with the path of a file with the admin token.
pub(super) const TOKEN_FILE: &str = "ENTITYD_ADMIN_TOKEN_FILE";
/// The environment variable with the address of the operations listener.
const SERVER: &str = "ENTITYD_OPS_SERVER";
/// The environment variable with the path of a CA certificate to trust.
const CA: &str = "ENTITYD_OPS_CA";
/// The default address of the operations listener.
const USUAL: &str = "http://127.0.0.1:8853";
/// The media type of error responses.
const PROBLEM: &str = "application/problem+json";
/// The time limit for a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The usual pause of [`Client::pulse`].
const PULSE: Duration = Duration::from_secs(5);
/// The time for which a request is retried while another client's request blocks it.
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between retries.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);
/// The time limit of long operations: a snapshot, or the body of a large file.
const LONG: Duration = Duration::from_hours(24);

/// The options that select a server and its token.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Address of the server's operations listener
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = SERVER,
        default_value = USUAL
    )]
    server: String,
    /// File with the admin token [default: the token in `ENTITYD_ADMIN_TOKEN`]
    #[arg(long, global = true, value_name = "FILE", env = TOKEN_FILE)]
    token_file: Option<PathBuf>,
    /// TLS certificate of the server, or of its CA; `tls/certificate.pem` in its data directory if it is
    /// self-signed
    #[arg(long, global = true, value_name = "FILE", env = CA)]
    ca: Option<PathBuf>,
}

impl Options {
    /// Returns the paths of the files that the options name.
    pub(super) fn files(&self) -> Vec<&Path> {
        [&self.token_file, &self.ca].into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// Returns true if no other machine can read the requests: they are encrypted or stay on this machine.
    pub(super) fn is_private(&self) -> bool {
        self.server.starts_with("https://") || trust::is_local(&self.server)
    }
}

/// The options that select a server, for a command that does not always call one.
#[derive(Debug, Args)]
pub(super) struct OptionalServer {
    /// Address of the operations listener of a running server [default: `ENTITYD_OPS_SERVER` or
    /// <http://127.0.0.1:8853>]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// File with the admin token [default: the token in `ENTITYD_ADMIN_TOKEN`]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// TLS certificate of the server, or of its CA
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl OptionalServer {
    /// Returns the options, completed from the environment variables.
    pub(super) fn options(&self) -> Options {
        let text = |name| env::var(name).ok().filter(|text| !text.is_empty());
        Options {
            server: self.server.clone().or_else(|| text(SERVER)).unwrap_or_else(|| USUAL.to_owned()),
            token_file: self.token_file.clone().or_else(|| text(TOKEN_FILE).map(PathBuf::from)),
            ca: self.ca.clone().or_else(|| text(CA).map(PathBuf::from)),
        }
    }
}

/// Returns the admin token from the file, or from the environment if no file is given; `None` if there is none.
pub(super) fn admin_token(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    match file {
        Some(file) => secret::read_word(file, TOKEN_CHARS_MIN).map_err(Failure::from).map(Some),
        None => Ok(token_in(TOKEN)),
    }
}

/// Returns the token in an environment variable, without surrounding whitespace; `None` if the variable is absent or
/// empty.
pub(super) fn token_in(variable: &str) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(env::var(variable).ok()?);
    let token = Zeroizing::new(text.trim().to_owned());
    (!token.is_empty()).then_some(token)
}

/// A client of one server.
pub(super) struct Client {
    http: reqwest::Client,
    /// The URL up to and including `/admin`.
    base: String,
    token: Zeroizing<String>,
    /// The pause between two questions whether the server is alive, while it has not answered a long operation.
    pulse: Duration,
}

impl Client {
    /// Returns a client for the server that the options select.
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        let mut client = Self::without_token(options)?;
        client.token = admin_token(options.token_file.as_deref())?.ok_or_else(|| {
            Failure::Usage(format!(
                "the admin token is missing: give --token-file, or put it in {TOKEN}; the server printed it when it \
                 first started"
            ))
        })?;
        Ok(client)
    }

    /// Returns a client for requests without a token.
    pub(super) fn without_token(options: &Options) -> Result<Self, Failure> {
        let server = trust::address(&options.server, USUAL)?;
        let http = trust::builder(options.ca.as_deref())?.timeout(ANSWER_TIMEOUT).build().or_fail()?;
        Ok(Self { http, base: format!("{server}/admin"), token: Zeroizing::default(), pulse: PULSE })
    }

    /// Returns the admin token.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Gets a page that needs no token, such as `metrics`, as text. Its status is ignored.
    pub(super) async fn text(&self, path: &str) -> Result<String, Failure> {
        let server = self.base.trim_end_matches("/admin");
        let answer = self.http.get(format!("{server}/{path}")).send().await;
        let body = answer::read(answer.map_err(|error| self.away(error))?).await;
        let body = body.map_err(|unread| self.unread(&unread))?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Gets `path` from the server and requires the member `expected` in the response.
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

    /// Posts `body` to the server and returns the response, which is empty or has the member `expected`.
    pub(super) async fn post(&self, path: &str, body: &Value, expected: &str) -> Result<Value, Failure> {
        let (status, answer) = self.ask(self.http.post(format!("{}/{path}", self.base)).json(body)).await?;
        let is_ours = answer.is_null() || answer.get(expected).is_some();
        if is_ours { Ok(answer) } else { Err(self.stranger(status)) }
    }

    /// Starts a long operation by posting `body`, and returns the response before its body is read. While another
    /// client's request blocks this one (409), repeats it for [`CONFLICT_TIMEOUT`]: that client may have disconnected
    /// without the server having noticed. Fails if the server answers no other request meanwhile.
    pub(super) async fn begin(&self, path: &str, body: &Value) -> Result<Response, Failure> {
        tokio::select! {
            answer = self.begun(path, body) => answer,
            silent = self.silence() => Err(silent),
        }
    }

    /// Waits until the server does not answer `/healthz` within [`ANSWER_TIMEOUT`]. Returns that failure.
    async fn silence(&self) -> Failure {
        loop {
            sleep(self.pulse).await;
            if let Err(silent) = self.text("healthz").await {
                return silent;
            }
        }
    }

    async fn begun(&self, path: &str, body: &Value) -> Result<Response, Failure> {
        let begun = Stopwatch::start();
        loop {
            let request = self.http.post(format!("{}/{path}", self.base)).json(body);
            let answer = self.sent(request).await?;
            if answer.status() != StatusCode::CONFLICT || begun.elapsed() > CONFLICT_TIMEOUT {
                return self.judged(answer).await;
            }
            sleep(CONFLICT_PAUSE).await;
        }
    }

    /// Deletes `path` from the server.
    pub(super) async fn remove(&self, path: &str) -> Result<(), Failure> {
        self.successful(self.http.delete(format!("{}/{path}", self.base))).await.map(drop)
    }

    /// Gets `path`, and returns the response before its body is read.
    pub(super) async fn open(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Failure> {
        let mut url = reqwest::Url::parse(&format!("{}/{path}", self.base))
            .map_err(|error| Failure::Usage(format!("--server: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        match timeout(ANSWER_TIMEOUT, self.successful(self.http.get(url))).await {
            Ok(opened) => opened,
            Err(_) => Err(self.silent()),
        }
    }

    async fn successful(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.judged(self.sent(request).await?).await
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = request.bearer_auth(self.token.as_str()).timeout(LONG);
        request.send().await.map_err(|error| self.away(error))
    }

    /// Returns the response if it is successful, or else the failure that it describes.
    async fn judged(&self, answer: Response) -> Result<Response, Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let problem: Value = serde_json::from_slice(&answer::beginning(answer).await).unwrap_or_default();
        Err(match problem["detail"].as_str() {
            Some(detail) => self.refused(status, detail),
            None if status == StatusCode::UNAUTHORIZED => self.refused(status, ""),
            None => self.stranger(status),
        })
    }

    fn unread(&self, unread: &Unread) -> Failure {
        Failure::Failed(format!("no answer from {}: {unread}", self.base))
    }

    fn silent(&self) -> Failure {
        let seconds = ANSWER_TIMEOUT.as_secs();
        Failure::Failed(format!(
            "no answer from {} within {seconds} s; is this the server's operations listener, and does the server answer \
             /readyz?",
            self.base
        ))
    }

    fn away(&self, error: reqwest::Error) -> Failure {
        // The time limit for a connection is reported as such.
        if error.is_timeout() && !error.is_connect() {
            return self.silent();
        }
        let why = crate::telemetry::chain(&error.without_url());
        let advice = trust::advice(&why, "; is the server running?");
        Failure::Failed(format!("no answer from {}: {why}{advice}", self.base))
    }

    /// Sends a request, and returns the status and the JSON of a successful response.
    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Value), Failure> {
        let answer =
            request.bearer_auth(self.token.as_str()).send().await.map_err(|error| self.away(error))?;
        let status = answer.status();
        let is_problem = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
        let body = if status.is_success() {
            answer::read(answer).await.map_err(|unread| self.unread(&unread))?
        } else {
            Zeroizing::new(answer::beginning(answer).await)
        };
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

    /// Returns the failure for a request that the server rejected.
    fn refused(&self, status: StatusCode, detail: &str) -> Failure {
        let detail = plain(detail);
        match status {
            StatusCode::UNAUTHORIZED => Failure::Usage(format!("{} rejects this admin token", self.base)),
            // Another listener, or one of another version.
            StatusCode::NOT_FOUND if detail.starts_with("not found;") => Failure::Input(format!(
                "{} does not know this request; give --server the listener for operations of an entityd of this version, \
                 such as {USUAL}",
                self.base
            )),
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Failure::Input(detail),
            _ => Failure::Failed(format!("{} answered {status}: {detail}", self.base)),
        }
    }

    fn stranger(&self, status: StatusCode) -> Failure {
        Failure::Failed(format!(
            "{} answered {status}, so it is not the operations listener of an entityd",
            self.base
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_server_that_accepts_and_never_answers_is_given_up() {
        crate::edge::tls::install_provider();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/admin", listener.local_addr().unwrap());
        let http = crate::system::outgoing::client().timeout(Duration::from_millis(100)).build().unwrap();
        let client = Client { http, base: base.clone(), token: Zeroizing::default(), pulse: Duration::ZERO };
        let failures = [
            client.begin("snapshots", &json!({})).await.err().unwrap(),
            client.get("queue", &[], "queues").await.err().unwrap(),
        ];
        for failure in failures {
            let said = failure.to_string();
            assert!(said.starts_with(&format!("no answer from {base} within")), "{said}");
            assert!(said.contains("/readyz"), "{said}");
        }
    }
}

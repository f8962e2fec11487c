//! Calls API nodes: tries them in turn until one answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use parking_lot::RwLock;
use reqwest::{Client, Request, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::CallError;
use super::join_token::{CHARS_MIN, JoinToken};
use crate::edge::tls::{self, Trust};
use crate::runtime::clock::Stopwatch;
use crate::runtime::entropy::Entropy;
use crate::system::{outgoing, secret};
use crate::telemetry::chain;
use crate::worker::protocol::{BASE, CALL_BYTES_MAX, CRC32, Hello, NODE, PIECE_BYTES, Welcome};

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// The time limit for an answer, in addition to the requested wait.
const ANSWER: Duration = Duration::from_secs(20);
/// The time after which an idle connection is closed. It is shorter than that of the node.
const IDLE: Duration = Duration::from_secs(45);
/// The shortest pause after all nodes have failed.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause after all nodes have failed.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The settings for calls to API nodes.
#[derive(Clone, Debug)]
pub struct JoinSettings {
    /// The URLs of the nodes' worker listeners.
    pub urls: Vec<Url>,
    /// The file with the join token, which is read again when the token is rejected.
    pub token_file: PathBuf,
    /// The file with the authorities of the API nodes' certificates, if the token names no certificate.
    pub authorities: Option<PathBuf>,
}

/// An error in the settings for calls to API nodes.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The token cannot be read.
    #[error("cannot read the join token")]
    Token(#[from] secret::Error),
    /// The file contains no join token.
    #[error("{} contains no join token; `entityd join-token` on an API node prints one", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// The token would be sent in clear text, although the API node has TLS.
    #[error(
        "--join {url}: the token in {} names the certificate of an API node, which has TLS; give https://, or make a new \
         token with `entityd join-token`",
        path.display()
    )]
    Plain {
        /// The file with the token.
        path: PathBuf,
        /// The address without TLS.
        url: Url,
    },
    /// The authorities cannot be used.
    #[error("cannot use --join-ca")]
    Authorities(#[from] tls::Error),
    /// The client cannot be set up.
    #[error("cannot set up a client: {0}")]
    Client(String),
}

/// The API nodes. Cheap to clone.
#[derive(Clone)]
pub struct Nodes(Arc<Inner>);

struct Inner {
    client: RwLock<(Client, JoinToken)>,
    settings: JoinSettings,
    hello: Hello,
    /// The index of the node that has answered last.
    preferred: AtomicUsize,
    heard: RwLock<Option<Stopwatch>>,
    entropy: Entropy,
}

/// An answer whose body has the right checksum.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The reason why a node did not answer a call.
enum Attempt {
    /// The call failed; another node may answer, or the same one later.
    Failed(String),
    /// The node does not know this worker, which must introduce itself.
    Unknown,
    /// The node rejects the call, as every node would.
    Rejected(StatusCode, String),
    /// The node rejects the worker: its token, its version or its settings. Another node may accept it, because the tokens
    /// or the settings of the nodes are just being changed, or a clock is wrong.
    Unwelcome(StatusCode, String),
}

impl Nodes {
    /// Reads the token, and prepares calls. Makes no call.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(settings: JoinSettings, hello: Hello, entropy: Entropy) -> Result<Self, SetupError> {
        let client = RwLock::new(client(&settings)?);
        let (preferred, heard) = (AtomicUsize::new(0), RwLock::new(None));
        Ok(Self(Arc::new(Inner { client, settings, hello, preferred, heard, entropy })))
    }

    /// Returns the URLs of the nodes, for messages.
    pub fn urls(&self) -> String {
        let urls: Vec<&str> = self.0.settings.urls.iter().map(Url::as_str).collect();
        urls.join(", ").replace("/,", ",").trim_end_matches('/').to_owned()
    }

    /// Returns the time since the last answer of a node; `None` before the first answer.
    pub fn silence(&self) -> Option<Duration> {
        self.0.heard.read().map(Stopwatch::elapsed)
    }

    /// Introduces the worker to one node.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn join(&self, retry_for: Duration) -> Result<Welcome, CallError> {
        self.call("hello", &self.0.hello, Duration::ZERO, retry_for).await
    }

    /// Asks each node whether it accepts the token, without introducing this worker. Returns the URL of each node, and
    /// the reason if it cannot be joined.
    pub async fn greet(&self) -> Vec<(String, Result<(), String>)> {
        let mut greeted = Vec::with_capacity(self.0.settings.urls.len());
        for url in &self.0.settings.urls {
            let (client, token) = self.0.client.read().clone();
            let claim = client.post(at(url, "claim")).json(&Value::Null).timeout(ANSWER);
            let answer = match self.answered(&client, &token, claim).await {
                // A node that accepts the token asks an unknown worker to introduce itself.
                Ok(_) | Err(Attempt::Unknown) => Ok(()),
                Err(Attempt::Failed(why)) => Err(why),
                Err(Attempt::Rejected(status, why) | Attempt::Unwelcome(status, why)) => {
                    Err(format!("{status}: {why}"))
                }
            };
            greeted.push((url.as_str().trim_end_matches('/').to_owned(), answer));
        }
        greeted
    }

    /// Posts `body` and returns the answer, which may take `wait` longer than usual. Retries for `retry_for`, and tries
    /// each node at least once.
    pub(super) async fn call<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        wait: Duration,
        retry_for: Duration,
    ) -> Result<A, CallError> {
        let build = |client: &Client, base: &Url| client.post(at(base, path)).json(body);
        let reply = self.exchange(build, wait, retry_for).await?;
        serde_json::from_slice(&reply.body)
            .map_err(|error| CallError::Unreachable(format!("an answer is not understood: {error}")))
    }

    /// Sends the request that `build` makes for a node's URL, until a node answers.
    pub(super) async fn exchange(
        &self,
        build: impl Fn(&Client, &Url) -> RequestBuilder,
        wait: Duration,
        retry_for: Duration,
    ) -> Result<Reply, CallError> {
        let (watch, count) = (Stopwatch::start(), self.0.settings.urls.len());
        let mut pause = PAUSE_MIN;
        loop {
            let first = self.0.preferred.load(Ordering::Relaxed);
            let (mut failed, mut unwelcome) = (String::new(), None);
            for place in (0..count).map(|offset| (first + offset) % count) {
                match self.try_node(place, &build, wait).await {
                    Ok(reply) => {
                        self.0.preferred.store(place, Ordering::Relaxed);
                        *self.0.heard.write() = Some(Stopwatch::start());
                        return Ok(reply);
                    }
                    Err(Attempt::Failed(why)) => failed = format!("{}: {why}", self.0.settings.urls[place]),
                    Err(Attempt::Unknown) => {
                        failed = format!("{}: it has forgotten this worker", self.0.settings.urls[place]);
                    }
                    Err(Attempt::Rejected(status, detail)) => {
                        let url = self.0.settings.urls[place].to_string();
                        return Err(CallError::Rejected { url, status, detail });
                    }
                    Err(Attempt::Unwelcome(status, detail)) => {
                        let url = self.0.settings.urls[place].to_string();
                        unwelcome = Some(CallError::Rejected { url, status, detail });
                    }
                }
            }
            let is_final = failed.is_empty() || watch.elapsed() >= retry_for;
            if is_final {
                return Err(unwelcome.unwrap_or(CallError::Unreachable(failed)));
            }
            tokio::time::sleep(self.jittered(pause)).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Sends a body that cannot be repeated to the node that has answered last.
    pub(super) async fn send_once(
        &self,
        build: impl FnOnce(&Client, &Url) -> RequestBuilder,
    ) -> Result<Reply, CallError> {
        let url = &self.0.settings.urls[self.0.preferred.load(Ordering::Relaxed)];
        let (client, token) = self.0.client.read().clone();
        let sent = self.answered(&client, &token, build(&client, url)).await;
        sent.map_err(|attempt| match attempt {
            Attempt::Failed(why) => CallError::Unreachable(format!("{url}: {why}")),
            Attempt::Unknown => CallError::Unreachable("a node has forgotten this worker".to_owned()),
            Attempt::Rejected(status, detail) | Attempt::Unwelcome(status, detail) => {
                CallError::Rejected { url: url.to_string(), status, detail }
            }
        })
    }

    async fn try_node(
        &self,
        place: usize,
        build: &impl Fn(&Client, &Url) -> RequestBuilder,
        wait: Duration,
    ) -> Result<Reply, Attempt> {
        let url = &self.0.settings.urls[place];
        let attempt = async || {
            let (client, token) = self.0.client.read().clone();
            self.answered(&client, &token, build(&client, url).timeout(wait + ANSWER)).await
        };
        match attempt().await {
            Err(Attempt::Unknown) => {
                self.introduce(url).await?;
                attempt().await
            }
            Err(Attempt::Unwelcome(StatusCode::UNAUTHORIZED, _)) if self.read_token_again() => {
                attempt().await
            }
            done => done,
        }
    }

    async fn introduce(&self, url: &Url) -> Result<(), Attempt> {
        let (client, token) = self.0.client.read().clone();
        let hello = client.post(at(url, "hello")).json(&self.0.hello).timeout(ANSWER);
        self.answered(&client, &token, hello).await.map(drop)
    }

    async fn answered(
        &self,
        client: &Client,
        token: &JoinToken,
        request: RequestBuilder,
    ) -> Result<Reply, Attempt> {
        let failed = |error: reqwest::Error| Attempt::Failed(explained(chain(&error.without_url())));
        let request: Request =
            request.bearer_auth(token.secret()).header(NODE, &self.0.hello.node).build().map_err(failed)?;
        let introduces = request.url().path().ends_with("/hello");
        let is_listed = introduces || request.url().path().ends_with("/claim");
        let answer = client.execute(request).await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = limited(answer).await?;
        if status.is_success() {
            check(&headers, &body)?;
            return Ok(Reply { headers, body });
        }
        let detail = serde_json::from_slice::<Value>(&body).ok();
        let detail =
            detail.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or("no reason is given");
        let detail = match status {
            StatusCode::UNAUTHORIZED => {
                let path = self.0.settings.token_file.display();
                format!("{detail}; write a token of `entityd join-token` to {path}, which is then read again")
            }
            StatusCode::NOT_FOUND if is_listed => {
                format!("{detail}; --join needs the address of a worker listener (--worker-listen)")
            }
            _ => detail.to_owned(),
        };
        match status {
            StatusCode::PRECONDITION_REQUIRED => Err(Attempt::Unknown),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Attempt::Failed(format!("{status}: {detail}")))
            }
            status if status == StatusCode::UNAUTHORIZED || (introduces && status.is_client_error()) => {
                Err(Attempt::Unwelcome(status, detail))
            }
            status if status.is_client_error() => Err(Attempt::Rejected(status, detail)),
            status => Err(Attempt::Failed(format!("{status}: {detail}"))),
        }
    }

    /// Reads the token again; returns true if it has changed.
    fn read_token_again(&self) -> bool {
        let Ok(read) = client(&self.0.settings) else { return false };
        let mut current = self.0.client.write();
        let is_new = current.1.reveal() != read.1.reveal();
        if is_new {
            tracing::info!("the join token has changed; using the new one");
            *current = read;
        }
        is_new
    }

    /// Returns a random time between half of `pause` and `pause`, so that many workers do not retry at the same time.
    pub(super) fn jittered(&self, pause: Duration) -> Duration {
        let [byte] = self.0.entropy.bytes::<1>();
        pause / 2 + pause.mul_f64(f64::from(byte) / 512.0)
    }
}

/// Returns the reason why a node gave no answer, with a remedy if the protocol or the certificate is at fault.
fn explained(why: String) -> String {
    let remedy = if why.contains("OtherCertificate") {
        "the token names another certificate than this node has: make a new token with `entityd join-token`; several API \
         nodes need one certificate of a CA"
    } else if let Some(fault) = tls::server_fault(&why) {
        fault
    } else if why.contains("UnknownIssuer") {
        "a token of `entityd join-token` names a self-signed certificate; give --join-ca for that of a CA"
    } else {
        return why;
    };
    format!("{why}; {remedy}")
}

/// Returns the URL of a call.
pub(super) fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{BASE}/{path}", base.path().trim_end_matches('/')));
    url
}

/// Reads the body of an answer, which may be at most a chunk of an object.
async fn limited(mut answer: reqwest::Response) -> Result<Bytes, Attempt> {
    let max = PIECE_BYTES as usize + CALL_BYTES_MAX;
    let mut body = Vec::with_capacity(answer.content_length().unwrap_or(0).min(max as u64) as usize);
    while let Some(chunk) =
        answer.chunk().await.map_err(|error| Attempt::Failed(chain(&error.without_url())))?
    {
        if body.len() + chunk.len() > max {
            return Err(Attempt::Failed("an answer is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// Checks the body of a chunk against its checksum.
fn check(headers: &HeaderMap, body: &Bytes) -> Result<(), Attempt> {
    let Some(expected) = headers.get(CRC32) else { return Ok(()) };
    let expected = expected.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    if expected == Some(crc32fast::hash(body)) {
        Ok(())
    } else {
        Err(Attempt::Failed("a chunk of an object was corrupted in transit".to_owned()))
    }
}

fn client(settings: &JoinSettings) -> Result<(Client, JoinToken), SetupError> {
    let text = secret::read_word(&settings.token_file, CHARS_MIN)?;
    let token =
        JoinToken::parse(&text).ok_or_else(|| SetupError::NoToken { path: settings.token_file.clone() })?;
    let plain = settings.urls.iter().find(|url| url.scheme() != "https");
    if let (Some(url), Some(_)) = (plain, token.pin()) {
        return Err(SetupError::Plain { path: settings.token_file.clone(), url: url.clone() });
    }
    let trust = token.pin().map(Trust::Pinned);
    let trust = trust.or_else(|| settings.authorities.clone().map(Trust::Authorities));
    let mut builder = outgoing::client()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .user_agent(concat!("entityd/", env!("CARGO_PKG_VERSION")));
    if let Some(trust) = trust {
        builder = builder.tls_backend_preconfigured(tls::client(&trust)?);
    }
    let client = builder.build().map_err(|error| SetupError::Client(chain(&error)))?;
    Ok((client, token))
}

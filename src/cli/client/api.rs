//! Requests to a server that implements the API: entityd or the reference service.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::refusal::{self, Asked};
use crate::cli::exit::{Failure, OrFail, complain};
use crate::cli::trust;
use crate::runtime::clock::Stopwatch;
use crate::telemetry::chain;

/// The timeout for establishing a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// The timeout for a request with a small response.
const ANSWER: Duration = Duration::from_mins(2);
/// The pause before the first retry. Each later pause is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The API of one server.
pub(super) struct Api {
    http: reqwest::Client,
    /// The URL up to and including `/api/v1`.
    base: String,
    /// The time for which failed requests are retried.
    retry_for: Duration,
}

/// A response. `repeated` is set if an earlier attempt may have succeeded without a response.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) repeated: bool,
}

impl Api {
    /// Returns the API of the server at `url`, which may end in `/api/v1`.
    pub(super) fn new(url: &str, ca: Option<&Path>, retry_for: Duration) -> Result<Self, Failure> {
        let base = base(url)?;
        let builder = trust::builder(ca)?.redirect(Policy::none());
        let http = builder.connect_timeout(CONNECT).build().or_fail()?;
        Ok(Self { http, base, retry_for })
    }

    /// Returns the URL up to and including `/api/v1`.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The time for which failed requests are retried.
    pub(super) const fn retry_for(&self) -> Duration {
        self.retry_for
    }

    /// Returns true if others on the network can read what is sent.
    pub(super) fn is_clear_text(&self) -> bool {
        self.base.starts_with("http://") && !trust::is_local(&self.base)
    }

    /// Returns a request for `path` below `/api/v1`, with a token unless the token is empty.
    pub(super) fn request(&self, method: Method, path: &str, token: &str) -> Result<RequestBuilder, Failure> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        if token.is_empty() {
            return Ok(request);
        }
        let mut value = HeaderValue::from_str(token)
            .map_err(|_| Failure::Usage("a token has a character that is invalid in a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, value))
    }

    /// Sends the request that `make` builds. Retries for a while if no connection was established or the server was
    /// busy. With `repeats`, also retries if the connection broke or a proxy got no response.
    pub(super) async fn send<F>(&self, make: F, repeats: bool) -> Result<Answer, Failure>
    where
        F: AsyncFn() -> Result<RequestBuilder, Failure>,
    {
        let watch = Stopwatch::start();
        let (mut pause, mut is_first, mut repeated) = (PAUSE, true, false);
        loop {
            let (wait, why) = match make().await?.send().await {
                Ok(response) => {
                    let status = response.status();
                    if !is_passing(status, repeats) {
                        return Ok(Answer { response, repeated });
                    }
                    let wait = asked_wait(&response).unwrap_or(pause);
                    if watch.elapsed().saturating_add(wait) > self.retry_for {
                        return Ok(Answer { response, repeated });
                    }
                    repeated |= !is_busy(status);
                    (wait, format!("{} answered {status}", self.base))
                }
                Err(error) => {
                    let may_help =
                        (error.is_connect() && !is_tls(&error)) || (repeats && !error.is_builder());
                    repeated |= !error.is_connect();
                    let failure = self.no_answer(error);
                    if !may_help || watch.elapsed() + pause > self.retry_for {
                        return Err(failure);
                    }
                    (pause, failure.to_string())
                }
            };
            if std::mem::take(&mut is_first) {
                let left = self.retry_for.saturating_sub(watch.elapsed()).as_secs();
                complain(&format!("{why}; retrying for {left} s"));
            }
            sleep(wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Sends a request without a body or with a small one, and returns the JSON of the response.
    pub(super) async fn ask(
        &self,
        (method, path): (Method, &str),
        token: &str,
        body: Option<&Value>,
        asked: &Asked,
    ) -> Result<Value, Failure> {
        let repeats = method == Method::GET || method == Method::DELETE;
        let make = async || {
            let request = self.request(method.clone(), path, token)?.timeout(ANSWER);
            Ok(match body {
                Some(body) => request.json(body),
                None => request,
            })
        };
        let answer = self.send(make, repeats).await?;
        // An earlier attempt has succeeded, but its response was lost.
        let is_done_before =
            method == Method::DELETE && answer.repeated && answer.response.status() == StatusCode::FORBIDDEN;
        if is_done_before {
            return Ok(Value::Null);
        }
        self.json(answer.response, asked).await
    }

    /// Returns the JSON of a successful response.
    pub(super) async fn json(&self, response: Response, asked: &Asked) -> Result<Value, Failure> {
        if !response.status().is_success() {
            return Err(refusal::of(&self.base, response, asked).await);
        }
        refusal::json(&self.base, response, asked).await
    }

    /// Returns the error for a missing response. It leaves out the URL of the request.
    pub(super) fn no_answer(&self, error: reqwest::Error) -> Failure {
        Failure::Failed(format!("no answer from {}: {}", self.base, chain(&error.without_url())))
    }
}

/// Returns the address of the API of a server.
fn base(url: &str) -> Result<String, Failure> {
    trust::api_address(url, "https://linkage.example.org or http://127.0.0.1:8851")
}

/// Returns true if the server was too busy to take the request.
fn is_busy(status: StatusCode) -> bool {
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status)
}

fn is_passing(status: StatusCode, repeats: bool) -> bool {
    let is_of_proxy = [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT].contains(&status);
    is_busy(status) || (repeats && is_of_proxy)
}

fn asked_wait(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Returns true for a TLS error, such as an invalid certificate. A retry does not help.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>()
            || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_end_in_any_way() {
        for url in ["http://a:1", "http://a:1/", " http://a:1/api/v1", "http://a:1/api/v1/"] {
            assert_eq!(base(url).unwrap(), "http://a:1/api/v1");
        }
        assert_eq!(base("https://a/linkage/").unwrap(), "https://a/linkage/api/v1");
        for url in ["a:1", "ftp://a", "", "http://u:p@a", "http://a/?x=1"] {
            assert!(matches!(base(url), Err(Failure::Usage(_))), "{url}");
        }
    }
}

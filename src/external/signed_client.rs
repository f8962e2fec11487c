//! Makes calls with AWS Signature Version 4 whose answers are short texts.

use std::time::Duration;

use axum::http::Request;
use axum::http::uri::Uri;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use zeroize::Zeroizing;

use crate::objects::Error;
use crate::system::outgoing;

/// The time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one service in one region.
pub(super) struct SignedClient {
    client: reqwest::Client,
    service: &'static str,
    region: String,
    credential: AwsCredential,
}

/// The cause of a call without a usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The service does not answer, or the connection failed.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
    /// The answer is too long.
    #[error("the answer is too long")]
    TooLong,
}

impl SignedClient {
    /// Returns a client with an access key and a secret key.
    ///
    /// # Errors
    /// [`Error::Storage`], if a header cannot contain the access key.
    pub(super) fn new(
        service: &'static str,
        region: String,
        (key_id, secret_key): (String, Zeroizing<String>),
    ) -> Result<Self, Error> {
        HeaderValue::from_str(&key_id).map_err(|error| Error::Storage(error.into()))?;
        let client = outgoing::client().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| Error::Storage(error.into()))?;
        let credential = AwsCredential { key_id, secret_key: secret_key.to_string(), token: None };
        Ok(Self { client, service, region, credential })
    }

    /// Makes a call, and reads an answer of at most `bytes_max` bytes.
    pub(super) async fn call(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: String,
        bytes_max: usize,
    ) -> Result<(StatusCode, String), CallError> {
        let headers = self.sign(&method, url, headers, &body)?;
        let request = self.client.request(method, url.clone()).headers(headers).body(body);
        let mut answer = request.send().await.map_err(silence)?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(silence)? {
            if text.len() + chunk.len() > bytes_max {
                return Err(CallError::TooLong);
            }
            text.extend_from_slice(&chunk);
        }
        Ok((answer.status(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Returns the headers of a call, with its signature.
    pub(super) fn sign(
        &self,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        body: &str,
    ) -> Result<HeaderMap, CallError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| CallError::Failed(error);
        let mut request = Request::new(HttpRequestBody::from(body.to_owned()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.as_str().parse::<Uri>().map_err(|error| failed(error.into()))?;
        *request.headers_mut() = headers;
        AwsAuthorizer::new(&self.credential, self.service, &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| failed(error.into()))?;
        Ok(request.into_parts().0.headers)
    }
}

fn silence(error: reqwest::Error) -> CallError {
    CallError::Failed(error.without_url().into())
}

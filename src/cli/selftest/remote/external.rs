//! Uploads through the object store that the server names.

use std::path::Path;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{
    Attribute, Attributes, Certificate, ClientOptions, ObjectStore, PutOptions, RetryConfig, path,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::api::{Api, Project, Wrong, refusal};
use super::people::ENCODING_BYTES;
use crate::cli::{answer, trust};
use crate::objects::redact::described;
use crate::system::outgoing;
use crate::telemetry::chain;

/// The title of the error of a server that offers no uploads through an object store.
const DISABLED: &str = "Feature Disabled";
/// The region in signatures.
const REGION: &str = "us-east-1";
/// The time limit for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The location of a party's files in the object store, with temporary credentials for it.
pub(super) struct Place {
    pub(super) bucket: String,
    path: String,
    /// The URL of the store, with the scheme.
    endpoint: String,
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Zeroizing<String>,
}

/// Requests the location of a party's files; `None` if the server does not offer such uploads.
pub(super) async fn authorize(api: &Api, project: &Project, party: usize) -> Result<Option<Place>, Wrong> {
    let path = format!("{}/authorize-external-upload", project.path);
    let answer = api.send(api.request(Method::GET, &path, project.update_token(party))).await?;
    if answer.status() == StatusCode::INTERNAL_SERVER_ERROR {
        let body: Value = serde_json::from_slice(&answer::beginning(answer).await).unwrap_or_default();
        let is_disabled = body["title"] == DISABLED;
        let wrong = || format!("authorize-external-upload was answered 500: {}", body["detail"]);
        return if is_disabled { Ok(None) } else { Err(wrong()) };
    }
    if answer.status() != StatusCode::CREATED {
        return Err(refusal("authorize-external-upload", answer).await);
    }
    let body = answer::read(answer).await.map_err(|unread| unread.to_string())?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |part: &str, name: &str| {
        let value = body[part][name].as_str().map(str::to_owned);
        value.ok_or_else(|| format!("authorize-external-upload gives no `{part}.{name}`"))
    };
    let secure = body["upload"]["secure"] != false;
    Ok(Some(Place {
        bucket: text("upload", "bucket")?,
        path: text("upload", "path")?,
        endpoint: format!("{}://{}", if secure { "https" } else { "http" }, text("upload", "endpoint")?),
        access_key_id: text("credentials", "AccessKeyId")?,
        secret_access_key: Zeroizing::new(text("credentials", "SecretAccessKey")?),
        session_token: Zeroizing::new(text("credentials", "SessionToken")?),
    }))
}

impl Place {
    /// Stores a file of encodings, and returns its key.
    pub(super) async fn put(&self, bytes: Vec<u8>, count: usize, ca: Option<&Path>) -> Result<String, Wrong> {
        let key = format!("{}/encodings.bin", self.path);
        let mut attributes = Attributes::new();
        for (name, value) in [("hash-count", count), ("hash-size", ENCODING_BYTES)] {
            attributes.insert(Attribute::Metadata(name.into()), value.to_string().into());
        }
        let options = PutOptions { attributes, ..PutOptions::default() };
        let wrong = |error: object_store::Error| {
            format!("the object store {} that the server names: {}", self.endpoint, described(&error))
        };
        let store = self.connect(ca)?;
        let path = path::Path::from(key.as_str());
        store.put_opts(&path, bytes.into(), options).await.map_err(wrong)?;
        Ok(key)
    }

    fn connect(&self, ca: Option<&Path>) -> Result<AmazonS3, Wrong> {
        let mut options = outgoing::store_options().with_allow_http(true).with_timeout(TIMEOUT);
        if let Some(ca) = ca {
            let pem = trust::pem(ca).map_err(|failure| failure.to_string())?;
            let bundle = Certificate::from_pem_bundle(&pem).map_err(|error| chain(&error))?;
            options = bundle.into_iter().fold(options, ClientOptions::with_root_certificate);
        }
        let builder = AmazonS3Builder::new()
            .with_client_options(options)
            .with_retry(RetryConfig { max_retries: 2, retry_timeout: TIMEOUT, ..RetryConfig::default() })
            .with_endpoint(&self.endpoint)
            .with_region(REGION)
            .with_bucket_name(&self.bucket)
            .with_access_key_id(&self.access_key_id)
            .with_secret_access_key(self.secret_access_key.as_str())
            .with_token(self.session_token.as_str());
        builder.build().map_err(|error| chain(&error))
    }
}

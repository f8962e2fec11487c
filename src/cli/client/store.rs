//! Uploads through the object store that the server names.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{
    Attribute, Attributes, Certificate, ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, RetryConfig, path,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::access::Session;
use super::refusal::{Asked, Shape};
use crate::cli::exit::{Failure, OrFail};
use crate::cli::progress::Progress;
use crate::cli::trust;
use crate::objects::redact::described;
use crate::system::outgoing;

/// The region in signatures.
const REGION: &str = "us-east-1";
/// The time limit for one request.
const TIMEOUT: Duration = Duration::from_mins(2);
/// The time for which a request to the store is retried.
const RETRY_FOR: Duration = Duration::from_mins(3);
/// The size of a part in bytes. A file of at most this size is sent in one request.
const PART_BYTES: u64 = 16 << 20;
/// The maximum number of parts of an upload in S3.
const PARTS_MAX: u64 = 10_000;

/// The location of a party's files, and the temporary credentials for it.
pub(super) struct Place {
    bucket: String,
    path: String,
    /// The URL of the store, with the scheme.
    endpoint: String,
    store: AmazonS3,
}

impl Place {
    /// Requests the location of a party's files; `None` if the server offers no object store.
    pub(super) async fn ask(session: &Session, project: &str, token: &str) -> Result<Option<Self>, Failure> {
        let api = &session.api;
        let path = format!("{project}/authorize-external-upload");
        let make = async || api.request(Method::GET, &path, token);
        let response = api.send(make, true).await?.response;
        let offers_none =
            [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::NOT_FOUND, StatusCode::NOT_IMPLEMENTED];
        if offers_none.contains(&response.status()) {
            return Ok(None);
        }
        let answer = api
            .json(response, &Asked::new("asking for the object store", Shape::Member("credentials")))
            .await?;
        Self::of(&answer, session.ca()).map(Some)
    }

    fn of(answer: &Value, ca: Option<PathBuf>) -> Result<Self, Failure> {
        let text = |part: &str, name: &str| {
            let value = answer[part][name].as_str().map(str::to_owned);
            value.ok_or_else(|| Failure::Failed(format!("the server's response lacks `{part}.{name}`")))
        };
        let scheme = if answer["upload"]["secure"] == false { "http" } else { "https" };
        let endpoint = format!("{scheme}://{}", text("upload", "endpoint")?);
        let bucket = text("upload", "bucket")?;
        let mut options = outgoing::store_options().with_allow_http(true).with_timeout(TIMEOUT);
        if let Some(ca) = ca {
            let bundle = Certificate::from_pem_bundle(&trust::pem(&ca)?).or_fail()?;
            options = bundle.into_iter().fold(options, ClientOptions::with_root_certificate);
        }
        let secret = Zeroizing::new(text("credentials", "SecretAccessKey")?);
        let session_token = Zeroizing::new(text("credentials", "SessionToken")?);
        let store = AmazonS3Builder::new()
            .with_client_options(options)
            .with_retry(RetryConfig { max_retries: 8, retry_timeout: RETRY_FOR, ..RetryConfig::default() })
            .with_endpoint(&endpoint)
            .with_region(REGION)
            .with_bucket_name(&bucket)
            .with_access_key_id(text("credentials", "AccessKeyId")?)
            .with_secret_access_key(secret.as_str())
            .with_token(session_token.as_str())
            .build()
            .or_fail()?;
        let path = text("upload", "path")?;
        Ok(Self { bucket, path, endpoint, store })
    }

    /// Checks that the store accepts writes: writes a few bytes to it, as anonlink-client does.
    pub(super) async fn is_reachable(&self) -> Result<(), String> {
        let key = self.key("upload-test");
        let put = self.store.put(&key, "writable?".into());
        let put = tokio::time::timeout(TIMEOUT, put).await;
        let put = put.map_err(|_| format!("{} does not answer", self.endpoint))?;
        put.map(drop).map_err(|error| format!("{}: {}", self.endpoint, described(&error)))
    }

    /// Uploads a file, in parts if it is large, and returns its key.
    pub(super) async fn put(
        &self,
        name: &str,
        file: &File,
        bytes: u64,
        metadata: &[(&'static str, u32)],
        progress: &mut Progress,
    ) -> Result<String, Failure> {
        let key = self.key(name);
        let mut attributes = Attributes::new();
        for (name, value) in metadata {
            attributes.insert(Attribute::Metadata((*name).into()), value.to_string().into());
        }
        let failed = |error: object_store::Error| {
            Failure::Failed(format!(
                "the object store {} that the server names: {}",
                self.endpoint,
                described(&error)
            ))
        };
        let mut file = file.try_clone().or_fail()?;
        file.rewind().or_fail()?;
        let task = format!("uploading {name} to the object store");
        progress.show(&task, 0.0);
        if bytes <= PART_BYTES {
            let content = read(&mut file, bytes).await?;
            let options = PutOptions { attributes, ..PutOptions::default() };
            self.store.put_opts(&key, content.into(), options).await.map_err(failed)?;
            return Ok(key.to_string());
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = self.store.put_multipart_opts(&key, options).await.map_err(failed)?;
        let part = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
        let sent = parts(&mut upload, &mut file, bytes, part, |done| progress.show(&task, done)).await;
        match sent {
            Ok(()) => {
                upload.complete().await.map_err(failed)?;
                Ok(key.to_string())
            }
            Err(error) => {
                // The abort may fail: the credentials may not allow it.
                let _ = upload.abort().await;
                Err(match error {
                    Broken::Store(error) => failed(error),
                    Broken::Local(failure) => failure,
                })
            }
        }
    }

    /// Returns the JSON with which an upload names a file in the store.
    pub(super) fn file(&self, path: &str) -> Value {
        json!({ "file": { "bucket": self.bucket, "path": path } })
    }

    fn key(&self, name: &str) -> path::Path {
        path::Path::from(format!("{}/{name}", self.path))
    }
}

/// The reason why a part was not sent.
enum Broken {
    Store(object_store::Error),
    Local(Failure),
}

/// Sends a file, one part after the other. A part that fails is retried.
async fn parts(
    upload: &mut Box<dyn MultipartUpload>,
    file: &mut File,
    bytes: u64,
    part: u64,
    mut show: impl FnMut(f64),
) -> Result<(), Broken> {
    let mut sent = 0;
    while sent < bytes {
        let length = part.min(bytes - sent);
        let content = read(file, length).await.map_err(Broken::Local)?;
        upload.put_part(content.into()).await.map_err(Broken::Store)?;
        sent += length;
        show(sent as f64 / bytes as f64);
    }
    Ok(())
}

/// Reads the next bytes of a file, on a thread that may block.
async fn read(file: &mut File, bytes: u64) -> Result<Vec<u8>, Failure> {
    let mut file = file.try_clone().or_fail()?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = vec![0; bytes as usize];
        file.read_exact(&mut content).map(|()| content)
    });
    reading.await.or_fail()?.or_fail()
}

//! Resumable uploads in several requests, to a server that supports them. An interrupted upload resumes where it was, even
//! in a later process.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::encodings::Body;
use super::sending::Sent;
use crate::cli::client::api::Api;
use crate::cli::client::refusal::{self, Asked};
use crate::cli::exit::{Failure, OrFail, complain};
use crate::cli::progress::Progress;
use crate::runtime::clock::Stopwatch;
use crate::system::regular;

/// The size from which an upload is sent in several requests.
pub(super) const FROM_BYTES: u64 = 1 << 20;
/// The number of bytes in one request. A proxy may buffer a whole request before it forwards it.
const PART_BYTES: u64 = 16 << 20;
/// The pause after a request that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// The suffix of the state file.
const SUFFIX: &str = ".entityd-upload";
/// The size of the chunks in which a file is read.
const PIECE_BYTES: usize = 256 << 10;

const COMPLETE: &str = "Upload-Complete";
const OFFSET: &str = "Upload-Offset";
const LENGTH: &str = "Upload-Length";
const LIMIT: &str = "Upload-Limit";

/// The state of an upload, stored for a later process. It holds no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The address of the API.
    server: String,
    /// The path of the endpoint below the address.
    path: String,
    /// The identifier of the upload.
    upload: String,
    bytes: u64,
    sha256: String,
}

/// An upload in several requests.
pub(super) struct Parts<'a> {
    pub(super) api: &'a Api,
    pub(super) token: &'a str,
    /// The path of the project below `/api/v1`.
    pub(super) project: &'a str,
    /// The endpoint below the project.
    pub(super) endpoint: &'a str,
    /// The headers of the request that begins the upload.
    pub(super) headers: &'a [(&'a str, String)],
    pub(super) body: &'a Body,
    /// The file that the user gave. The state file is beside it.
    pub(super) file: &'a Path,
    pub(super) asked: &'a Asked,
}

/// Returns whether the server supports uploads in several requests.
pub(super) async fn are_offered(api: &Api, token: &str, path: &str) -> Result<bool, Failure> {
    let make = async || api.request(Method::OPTIONS, path, token);
    let answer = api.send(make, true).await?.response;
    Ok(answer.status().is_success() && answer.headers().contains_key(LIMIT))
}

impl Parts<'_> {
    /// Sends the bytes that the server does not have yet, and returns its final response.
    pub(super) async fn send(&self, sent: &Sent, progress: &mut Progress) -> Result<Value, Failure> {
        let path = format!("{}/{}", self.project, self.endpoint);
        let sha256 = self.digest()?;
        let mut state = State {
            server: self.api.base().to_owned(),
            path,
            upload: String::new(),
            bytes: self.body.bytes,
            sha256,
        };
        let known =
            self.read_state().filter(|known| State { upload: String::new(), ..known.clone() } == state);
        let mut offset = 0;
        if let Some(known) = known
            && let Some(stored) = self.stored(&known.upload).await?
        {
            complain(&format!("continuing an upload at {stored} of {} bytes", self.body.bytes));
            (state.upload, offset) = (known.upload, stored);
        } else {
            state.upload = self.begin(&state.path).await?;
            self.write_state(&state);
        }
        let answer = self.continued(&state.upload, offset, sent, progress).await;
        // A server that rejects an upload has removed it.
        if !matches!(answer, Err(Failure::Failed(_) | Failure::Interrupted)) {
            let _ = fs::remove_file(self.state_path());
        }
        answer
    }

    async fn continued(
        &self,
        upload: &str,
        mut offset: u64,
        sent: &Sent,
        progress: &mut Progress,
    ) -> Result<Value, Failure> {
        let bytes = self.body.bytes;
        let mut since = Stopwatch::start();
        loop {
            let end = bytes.min(offset + PART_BYTES);
            let part = self.part(upload, (offset, end), sent);
            let why = match sent.watch("uploading", bytes, progress, part).await {
                Ok(response) => match response.status() {
                    StatusCode::NO_CONTENT => {
                        (offset, since) = (end, Stopwatch::start());
                        continue;
                    }
                    status if may_pass(status) => refusal::of(self.api.base(), response, self.asked).await,
                    _ => return self.api.json(response, self.asked).await,
                },
                Err(why @ Failure::Failed(_)) => why,
                Err(other) => return Err(other),
            };
            sleep(PAUSE).await;
            let Some(stored) = self.stored(upload).await? else {
                return Err(Failure::Input(
                    "the server has removed the upload; run the command again".to_owned(),
                ));
            };
            if stored > offset {
                since = Stopwatch::start();
            } else if since.elapsed() > self.api.retry_for() {
                return Err(Failure::Failed(format!(
                    "{why}; {stored} of {bytes} bytes have arrived: run the same command again to continue there"
                )));
            }
            offset = stored;
        }
    }

    /// Begins an upload and returns its identifier.
    async fn begin(&self, path: &str) -> Result<String, Failure> {
        let make = async || {
            let request = self.api.request(Method::POST, path, self.token)?;
            let request =
                request.header(COMPLETE, "?0").header(LENGTH, self.body.bytes).header(CONTENT_LENGTH, 0);
            Ok(self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value)))
        };
        let response = self.api.send(make, true).await?.response;
        if response.status() != StatusCode::CREATED {
            return Err(refusal::of(self.api.base(), response, self.asked).await);
        }
        let location = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let id = location.and_then(|place| place.rsplit('/').next());
        let is_id = |id: &&str| id.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !id.is_empty();
        id.filter(is_id).map(str::to_owned).ok_or_else(|| {
            Failure::Failed("uploading: the response does not name the location of the upload".to_owned())
        })
    }

    /// Returns the number of bytes that the server has; `None` if it does not know the upload.
    async fn stored(&self, upload: &str) -> Result<Option<u64>, Failure> {
        let path = self.path(upload);
        let make = async || self.api.request(Method::HEAD, &path, self.token);
        let response = self.api.send(make, true).await?.response;
        match response.status() {
            status if status.is_success() => {}
            status if may_pass(status) => {
                return Err(refusal::of(self.api.base(), response, self.asked).await);
            }
            _ => return Ok(None),
        }
        let stored = number(response.headers(), OFFSET).filter(|stored| *stored <= self.body.bytes);
        stored.map(Some).ok_or_else(|| {
            Failure::Failed(
                "uploading: the server does not say how much of the upload has arrived".to_owned(),
            )
        })
    }

    async fn part(&self, upload: &str, (from, to): (u64, u64), sent: &Sent) -> Result<Response, Failure> {
        let path = self.path(upload);
        let is_last = to == self.body.bytes;
        let make = async || {
            let request = self.api.request(Method::PATCH, &path, self.token)?;
            let request = request.header(CONTENT_TYPE, "application/partial-upload").header(OFFSET, from);
            let request = request.header(COMPLETE, if is_last { "?1" } else { "?0" });
            Ok(request.header(CONTENT_LENGTH, to - from).body(sent.part(self.body, from..to)?))
        };
        self.api.send(make, false).await.map(|answer| answer.response)
    }

    fn path(&self, upload: &str) -> String {
        format!("{}/uploads/{upload}", self.project)
    }

    fn digest(&self) -> Result<String, Failure> {
        let mut hasher = Sha256::new();
        let mut file = self.body.file.try_clone().or_fail()?;
        io::Seek::rewind(&mut file).or_fail()?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece).or_fail()? {
                0 => return Ok(hex::encode(hasher.finalize())),
                length => hasher.update(&piece[..length]),
            }
        }
    }

    fn state_path(&self) -> PathBuf {
        let mut name = self.file.file_name().unwrap_or_default().to_owned();
        name.push(SUFFIX);
        self.file.with_file_name(name)
    }

    fn read_state(&self) -> Option<State> {
        serde_json::from_slice(&regular::read(&self.state_path()).ok()?).ok()
    }

    /// Writes the state. If that fails, the upload works, but a later process cannot resume it.
    fn write_state(&self, state: &State) {
        if !self.file.is_file() {
            return;
        }
        let path = self.state_path();
        let write = || -> io::Result<()> {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut builder = tempfile::Builder::new();
            builder.permissions(Permissions::from_mode(0o600));
            let mut file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
            file.write_all(&serde_json::to_vec(state).map_err(io::Error::other)?)?;
            file.persist(&path).map(drop).map_err(io::Error::from)
        };
        if let Err(error) = write() {
            complain(&format!(
                "cannot write {}: {error}; only this process can continue the upload",
                path.display()
            ));
        }
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Returns true if the same request may succeed later, or from another offset.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status)
}

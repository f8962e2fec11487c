//! Reads the data directory that is backed up: that of a running server through its operations listener, and that of a
//! stopped server directly.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::io::StreamReader;

use super::repository::{Reader, cannot_use};
use crate::app::snapshot::{About, Listed, Snapshot};
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::cli::ops_client::Client;
use crate::config::{self, Inputs};
use crate::system::data_dir::DataDir;

/// The maximum number of bytes of a server's description of a snapshot.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// The maximum number of bytes of the list of a snapshot's files, enough for several million lines.
const LISTING_BYTES_MAX: u64 = 1 << 30;
/// The time limit for the next bytes of an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit for the server to confirm that it has removed a snapshot.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A snapshot of a data directory.
pub(super) enum Source {
    Serving {
        client: Client,
        snapshot: String,
        about: About,
        /// The server keeps the snapshot as long as this connection is open.
        _held: BufReader<Reader>,
    },
    Stopped {
        snapshot: Snapshot,
        _home: DataDir,
    },
}

#[derive(Deserialize)]
struct Taken {
    snapshot: String,
    about: About,
}

impl Source {
    /// Requests a snapshot from a running server.
    pub(super) async fn serving(client: Client, with_keys: bool) -> Result<Self, Failure> {
        let wish = json!({ "with_keys": with_keys });
        let answer = client.begin("snapshots", &wish).await.map_err(|failure| match failure {
            // A server of an older version, without snapshots, does not have this path.
            Failure::Input(detail) => Failure::Failed(format!(
                "the server cannot take a snapshot ({detail}); if it is of an older version, stop it and give --data-dir"
            )),
            other => other,
        })?;
        let mut held = BufReader::new(stream(answer));
        let mut line = String::new();
        let mut first = (&mut held).take(LINE_BYTES_MAX);
        first.read_line(&mut line).await.map_err(|error| cut(&error))?;
        let taken = serde_json::from_str(&line);
        let Taken { snapshot, about } = taken.map_err(|_| {
            Failure::Failed("the server describes its snapshot in the format of another version".to_owned())
        })?;
        Ok(Self::Serving { client, snapshot, about, _held: held })
    }

    /// Takes a snapshot of the data directory of a stopped server. Its other settings are read from the environment.
    pub(super) async fn stopped(data_dir: &Path, with_keys: bool) -> Result<Self, Failure> {
        let mut inputs = Inputs::default().with_environment();
        inputs.flags.insert("data_dir", data_dir.to_string_lossy().into_owned());
        let settings = config::load(&inputs)?.settings;
        let path = PathBuf::from(&settings.data_dir);
        let format = path.join("format");
        match fs::metadata(&format) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(cannot_use(&format, &error));
            }
            found if found.as_ref().is_ok_and(fs::Metadata::is_file) => {}
            _ => {
                return Err(Failure::Usage(format!(
                    "{} is not a data directory: it has no file `format`",
                    path.display()
                )));
            }
        }
        let take = move || {
            let home = DataDir::open(&path).or_fail()?;
            let snapshot = Snapshot::take(home.path(), &settings.objects, with_keys).or_fail()?;
            Ok(Self::Stopped { snapshot, _home: home })
        };
        spawn_blocking(take).await.or_fail()?
    }

    pub(super) const fn about(&self) -> &About {
        match self {
            Self::Serving { about, .. } => about,
            Self::Stopped { snapshot, .. } => snapshot.about(),
        }
    }

    /// Returns the files, in the order of their paths.
    pub(super) async fn listing(&self) -> Result<Vec<Listed>, Failure> {
        let lines: Box<dyn BufRead> = match self {
            Self::Serving { client, snapshot, .. } => {
                let reader = stream(client.open(&format!("snapshots/{snapshot}/listing"), &[]).await?);
                let mut bytes = Vec::new();
                reader.take(LISTING_BYTES_MAX).read_to_end(&mut bytes).await.map_err(|error| cut(&error))?;
                if bytes.len() as u64 == LISTING_BYTES_MAX {
                    return Err(Failure::Failed("the list of files in the snapshot is too long".to_owned()));
                }
                Box::new(io::Cursor::new(bytes))
            }
            Self::Stopped { snapshot, .. } => Box::new(io::BufReader::new(snapshot.listing().or_fail()?)),
        };
        let parse = |line: io::Result<String>| {
            let line = line.map_err(|error| cut(&error))?;
            let wrong = |_| {
                Failure::Failed(
                    "the list of files in the snapshot is in the format of another version".to_owned(),
                )
            };
            serde_json::from_str(&line).map_err(wrong)
        };
        lines.lines().map(parse).collect()
    }

    /// Opens a file of the snapshot.
    pub(super) async fn open(&self, path: &str) -> Result<Reader, Failure> {
        match self {
            Self::Serving { client, snapshot, .. } => {
                let answer = client.open(&format!("snapshots/{snapshot}/file"), &[("path", path)]).await;
                answer.map(stream)
            }
            Self::Stopped { snapshot, .. } => {
                let file = snapshot.open(path);
                let file = file.map_err(|error| Failure::Failed(format!("cannot read {path}: {error}")))?;
                Ok(Box::new(tokio::fs::File::from_std(file)))
            }
        }
    }
}

impl Source {
    /// Removes the snapshot. If the server does not get the request, it removes the snapshot when the connection ends.
    pub(super) async fn close(self) {
        if let Self::Serving { client, snapshot, .. } = &self {
            let path = format!("snapshots/{snapshot}");
            let _ = timeout(CLOSE_TIMEOUT, client.remove(&path)).await;
        }
    }
}

/// Reads the body of an answer. Fails if no byte arrives for [`SILENCE_TIMEOUT`].
fn stream(answer: reqwest::Response) -> Reader {
    let chunks = Box::pin(answer.bytes_stream().map_err(io::Error::other));
    let bounded = stream::unfold(chunks, |mut chunks| async move {
        let silent = |_| {
            let seconds = SILENCE_TIMEOUT.as_secs();
            Some(Err(io::Error::other(format!("the server sent nothing for {seconds} s"))))
        };
        timeout(SILENCE_TIMEOUT, chunks.next()).await.unwrap_or_else(silent).map(|chunk| (chunk, chunks))
    });
    Box::new(StreamReader::new(Box::pin(bounded)))
}

fn cut(error: &io::Error) -> Failure {
    Failure::Failed(format!("the snapshot cannot be read: {error}"))
}

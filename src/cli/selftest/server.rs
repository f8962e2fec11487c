//! A server in another process, which can be killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::runtime::parent;

/// A server with its own data directory. It is killed when this value is dropped, or when the thread that started it
/// ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: Arc<TempDir>,
    /// The URL up to and including `/api/v1`.
    api: String,
    /// Kept open, so that the server can keep writing to it.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts `program` with the data directory `folder`, and with additional flags and environment variables.
    ///
    /// # Errors
    /// The program's error message, if it does not start.
    pub fn start(
        program: &Path,
        folder: Arc<TempDir>,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        let wrong = |what: &str, error: &std::io::Error| format!("cannot {what}: {error}");
        let log = File::options().create(true).append(true).open(log_of(&folder));
        let log = log.map_err(|error| wrong("write a log", &error))?;
        let mut command = command(program, &folder.path().join("data"), flags, variables);
        command.stdout(Stdio::piped()).stderr(log).env(parent::VARIABLE, std::process::id().to_string());
        let mut child = command.spawn().map_err(|error| wrong("start the server", &error))?;
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        let mut stdout = BufReader::new(stdout);
        let Some(api) = read_address(&mut stdout) else {
            let _ = child.kill();
            let _ = child.wait();
            let log = fs::read_to_string(log_of(&folder)).unwrap_or_default();
            return Err(format!(
                "the server did not start: {}",
                log.lines()
                    .last()
                    .unwrap_or("it printed nothing; is the disk with the temporary directory full?")
            ));
        };
        Ok(Self { child, folder, api, _stdout: stdout })
    }

    /// Returns the URL of the server's API, up to and including `/api/v1`.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Returns the log of this server and of the earlier servers with the same data directory.
    pub fn log(&self) -> String {
        fs::read_to_string(log_of(&self.folder)).unwrap_or_default()
    }

    /// Returns the files that hold uploaded data or data derived from it.
    pub fn payload_files(&self) -> Vec<PathBuf> {
        payload_files(&self.folder.path().join("data"))
    }

    /// Returns true if the process has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Kills the server with SIGKILL, and returns its data directory for the next server.
    pub fn kill(self) -> Arc<TempDir> {
        // The server is killed when it is dropped.
        Arc::clone(&self.folder)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command that starts a server on free loopback addresses. It does not inherit the settings of this process.
pub fn command(program: &Path, data_dir: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ENTITYD_")) {
        command.env_remove(name);
    }
    command
        // The requests of a test would exceed the default limits.
        .env("ENTITYD_RATE_LIMIT", "off")
        .env("ENTITYD_RATE_LIMIT_UPLOADS", "off")
        .env("ENTITYD_RATE_LIMIT_RESULTS", "off")
        .envs(variables.iter().copied())
        .arg("serve")
        .args(["--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(data_dir)
        .args(flags)
        // A pipe rather than /dev/null, which a chroot may lack.
        .stdin(Stdio::piped());
    command
}

fn log_of(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

/// Reads the printed addresses of the server, and returns that of the API. After the last line, all of them are open.
fn read_address(stdout: &mut impl BufRead) -> Option<String> {
    let mut api = None;
    for line in stdout.lines().map_while(Result::ok) {
        if let Some(address) = line.trim().strip_prefix("API") {
            api = Some(address.trim().trim_end_matches('/').to_owned());
        }
        if line.contains("no telemetry") {
            return api;
        }
    }
    None
}

/// Returns the files of a data directory that hold encodings or results, complete or not: all files in `objects` and
/// `spool` except the markers.
pub fn payload_files(data_dir: &Path) -> Vec<PathBuf> {
    let is_mark = |file: &Path| {
        file.ends_with("mark") || file.parent().is_some_and(|folder| folder.ends_with("objects/entityd"))
    };
    let found = ["objects", "spool"].into_iter().flat_map(|folder| files(&data_dir.join(folder)));
    found.filter(|file| !is_mark(file)).collect()
}

/// Returns the files in a folder and below it; an empty list if it is absent.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

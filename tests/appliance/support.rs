//! Starts a real server in a temporary folder, and sends requests to it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use entityd::cli::selftest::server;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An encoding of 8 bytes.
pub(crate) const ENCODING: &str = "AAECAwQFBgc=";
/// Another encoding of 8 bytes.
pub(crate) const OTHER_ENCODING: &str = "//79/Pv6+fg=";

/// A server. When this value is dropped, the server is killed and its folder removed.
pub(crate) struct Entityd {
    child: Child,
    folder: TempDir,
    doors: Doors,
    admin_token: Option<String>,
    /// Kept open, so that the server can keep writing to it.
    _stdout: BufReader<ChildStdout>,
}

/// The addresses of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    pub(crate) api: SocketAddr,
    pub s3: SocketAddr,
    pub(crate) ops: SocketAddr,
}

impl Entityd {
    /// Starts a server with the default settings.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with these flags.
    pub(crate) fn with(flags: &[&str]) -> Self {
        Self::in_folder(TempDir::new().unwrap(), flags)
    }

    /// Starts a server with flags and environment variables.
    pub(crate) fn with_variables(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::launch(TempDir::new().unwrap(), flags, variables)
    }

    /// Starts a server with flags on the data directory in `folder`.
    pub(crate) fn in_folder(folder: TempDir, flags: &[&str]) -> Self {
        Self::launch(folder, flags, &[])
    }

    /// Starts a server with environment variables on the data directory in `folder`.
    pub(crate) fn with_variables_in(folder: TempDir, variables: &[(&str, &str)]) -> Self {
        Self::launch(folder, &[], variables)
    }

    /// Starts a server through another program, such as `strace` or `unshare`. `wrapper` is the command line of that
    /// program, to which the command line of the server is appended.
    pub(crate) fn through(wrapper: &[&str], flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = wrapped(wrapper, &command(&folder, flags, variables));
        command.stderr(log(&folder));
        Self::spawn(folder, command)
    }

    /// Runs a server through `wrapper`. Returns its exit status and its output, after it has failed to start.
    pub(crate) async fn refused_through(wrapper: &[&str]) -> (ExitStatus, String) {
        let folder = TempDir::new().unwrap();
        let mut command = wrapped(wrapper, &command(&folder, &[], &[]));
        let mut child = command.stdout(Stdio::null()).stderr(log(&folder)).spawn().unwrap();
        let ended = eventually("the process ends", async || child.try_wait().unwrap()).await;
        (ended, fs::read_to_string(folder.path().join("log")).unwrap())
    }

    /// Starts a server with flags and environment variables on the data directory in `folder`.
    pub(crate) fn told_in(folder: TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::launch(folder, flags, variables)
    }

    /// Runs a server on the data directory in `folder` until it ends by itself, possibly before it has started.
    pub(crate) async fn until_it_ends(folder: &TempDir, variables: &[(&str, &str)]) {
        let mut child = command(folder, &[], variables).stdout(Stdio::null()).spawn().unwrap();
        let ended = eventually("the process ends", async || child.try_wait().unwrap());
        ended.await;
    }

    /// Starts a server on the data directory in `folder` and kills it after `delay`.
    pub(crate) async fn killed_after(folder: &TempDir, delay: Duration) {
        let mut child = command(folder, &[], &[]).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(delay).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn launch(folder: TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let command = command(&folder, flags, variables);
        Self::spawn(folder, command)
    }

    fn spawn(folder: TempDir, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let Some((doors, admin_token)) = read_banner(&mut stdout) else {
            let _ = child.kill();
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            panic!("the server did not start: {:?}\n{log}", child.wait());
        };
        Self { child, folder, doors, admin_token, _stdout: stdout }
    }

    /// Returns the addresses of the server.
    pub(crate) fn doors(&self) -> Doors {
        self.doors
    }

    /// Returns the admin token, if the server has created it at this start.
    pub(crate) fn admin_token(&self) -> Option<String> {
        self.admin_token.clone()
    }

    /// Returns a client of the server's API.
    pub(crate) fn api(&self) -> Api {
        entityd::edge::tls::install_provider();
        Api { client: Client::new(), base: format!("http://{}/api/v1", self.doors.api) }
    }

    /// Returns the path of the server's data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the log of this server and of earlier servers in the same folder.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Returns the files that hold uploaded data or data derived from it.
    pub(crate) fn payload_files(&self) -> Vec<PathBuf> {
        server::payload_files(&self.data_dir())
    }

    /// Returns those of [`Self::payload_files`] whose path, or whose directory, ends in `kind`.
    pub(crate) fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut files = self.payload_files();
        files.retain(|file| file.ends_with(kind) || file.parent().unwrap().ends_with(kind));
        files
    }

    /// Returns the resident memory of the server in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns true if the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills the server, and returns its folder for the next server.
    pub(crate) fn kill(mut self) -> TempDir {
        // The process may have ended already.
        let _ = self.child.kill();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }

    /// Stops the server with a signal, and waits for its end.
    pub(crate) fn stop(mut self) -> (ExitStatus, TempDir) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        (status, std::mem::replace(&mut self.folder, TempDir::new().unwrap()))
    }
}

impl Drop for Entityd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the last lines of the server's log, the latest first:\n{}", last.join("\n"));
        }
    }
}

/// Returns a command that starts a server.
fn command(folder: &TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_entityd"));
    let mut command = server::command(program, &folder.path().join("data"), flags, variables);
    command.stderr(log(folder));
    command
}

/// Opens the file to which a server in `folder` logs.
fn log(folder: &TempDir) -> File {
    File::options().create(true).append(true).open(folder.path().join("log")).unwrap()
}

/// Returns the command line of `wrapper` followed by the command line of `inner`, with the environment of `inner`.
fn wrapped(wrapper: &[&str], inner: &Command) -> Command {
    let mut outer = Command::new(wrapper[0]);
    outer.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// Reads the first lines that a server prints: its addresses, and the admin token if it is new.
fn read_banner(stdout: &mut impl BufRead) -> Option<(Doors, Option<String>)> {
    let mut lines = Vec::new();
    // After the last line, all listeners are open.
    for line in stdout.lines().map_while(Result::ok) {
        let last = line.contains("no telemetry");
        lines.push(line);
        if last {
            break;
        }
    }
    let after = |label: &str| lines.iter().find_map(|line| Some(line.trim().strip_prefix(label)?.trim()));
    let address =
        |label: &str| after(label)?.split_once("://")?.1.split('/').next()?.parse::<SocketAddr>().ok();
    let doors = Doors { api: address("API")?, s3: address("S3")?, ops: address("health")? };
    let token = after("admin token").and_then(|said| said.split_whitespace().next()).map(str::to_owned);
    Some((doors, token))
}

/// A client of the API.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
}

/// A project with its tokens.
pub(crate) struct Project {
    pub(crate) api: Api,
    pub(crate) path: String,
    pub(crate) result_token: String,
    pub(crate) update_tokens: Vec<String>,
}

/// A run, with a token that may read it.
pub(crate) struct Run<'a> {
    project: &'a Project,
    pub(crate) path: String,
}

impl Api {
    /// Returns a request for `path`, which is relative to `/api/v1`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        self.request(Method::GET, path).header("Authorization", token).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Response {
        self.request(Method::DELETE, path).header("Authorization", token).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Response {
        self.request(Method::POST, path).header("Authorization", token).json(body).send().await.unwrap()
    }

    /// Creates a project of two parties.
    pub(crate) async fn project(&self, result_type: &str) -> Project {
        self.create(json!({"schema": {}, "result_type": result_type})).await
    }

    /// Creates the project that `body` describes.
    pub(crate) async fn create(&self, body: Value) -> Project {
        self.create_as("", body).await
    }

    /// Creates a project with the token `token` for creating projects.
    pub(crate) async fn create_as(&self, token: &str, body: Value) -> Project {
        let answer = self.post("/projects", token, &body).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let created: Value = answer.json().await.unwrap();
        let tokens = created["update_tokens"].as_array().unwrap();
        Project {
            api: self.clone(),
            path: format!("/projects/{}", text(&created["project_id"])),
            result_token: text(&created["result_token"]),
            update_tokens: tokens.iter().map(text).collect(),
        }
    }
}

impl Project {
    pub(crate) async fn describe(&self) -> Value {
        self.api.get(&self.path, &self.result_token).await.json().await.unwrap()
    }

    /// Posts an upload as JSON.
    pub(crate) async fn post_clks(&self, party: usize, body: &Value) -> Response {
        self.api.post(&format!("{}/clks", self.path), &self.update_tokens[party], body).await
    }

    /// Returns a request to upload 8-byte encodings as binary, without its body.
    pub(crate) fn binary(&self, party: usize, count: i64) -> RequestBuilder {
        self.api
            .request(Method::POST, &format!("{}/binaryclks", self.path))
            .header("Authorization", &self.update_tokens[party])
            .header("Content-Type", "application/octet-stream")
            .header("Hash-Count", count)
            .header("Hash-Size", 8)
    }

    /// Uploads encodings, and returns the receipt token.
    pub(crate) async fn upload(&self, party: usize, encodings: &[&str]) -> String {
        let answer = self.post_clks(party, &json!({"clks": encodings})).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        text(&answer.json::<Value>().await.unwrap()["receipt_token"])
    }

    pub(crate) async fn run(&self, threshold: f64) -> Run<'_> {
        let runs = format!("{}/runs", self.path);
        let answer = self.api.post(&runs, &self.result_token, &json!({"threshold": threshold})).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let posted: Value = answer.json().await.unwrap();
        self.known_run(format!("{runs}/{}", text(&posted["run_id"])))
    }

    /// Returns the run at `path`.
    pub(crate) fn known_run(&self, path: String) -> Run<'_> {
        Run { project: self, path }
    }
}

impl Run<'_> {
    pub(crate) async fn status(&self) -> Value {
        let path = format!("{}/status", self.path);
        self.project.api.get(&path, &self.project.result_token).await.json().await.unwrap()
    }

    /// Requests the result with this token.
    pub(crate) async fn result(&self, token: &str) -> Response {
        self.project.api.get(&format!("{}/result", self.path), token).await
    }

    /// Waits until the run has ended, and returns its status.
    pub(crate) async fn ended(&self) -> Value {
        eventually("the run ends", async || {
            let status = self.status().await;
            ["completed", "error"].contains(&status["state"].as_str().unwrap()).then_some(status)
        })
        .await
    }
}

/// Calls `ask` repeatedly until it returns a value. `what` describes the expected event.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..12_000 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("not within two minutes: {what}");
}

/// Asserts the status and the format of an error response, and returns its detail.
pub(crate) async fn refused(answer: Response, status: u16) -> String {
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.status().as_u16(), status);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["status"], status);
    text(&problem["detail"])
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

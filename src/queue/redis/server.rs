//! Servers for tests: real ones, on free ports, in their own directories.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::access::limits;

/// Returns true if the servers are installed; prints a line if they are not.
pub(super) fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join("redis-server").is_file());
    if !found {
        println!("skipped: redis-server is not installed");
    }
    found
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a command on a new connection to the server at a port.
async fn ask(port: u16, words: &[&str]) -> redis::RedisResult<redis::Value> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let patient = limits().set_response_timeout(Some(Duration::from_mins(1)));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| _ = command.arg(*word));
    command.query_async(&mut connection).await
}

/// A server, which ends when it is dropped.
pub(super) struct Server {
    pub(super) folder: TempDir,
    pub(super) port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Starts a server that writes each change to the disk.
    pub(super) async fn start(settings: &[&str]) -> Self {
        let mut server = Self {
            folder: TempDir::new().unwrap(),
            port: free_port(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            process: None,
        };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let (port, folder) = (self.port.to_string(), self.folder.path());
        let usual =
            ["--bind", "127.0.0.1", "--port", &port, "--appendonly", "yes", "--appendfsync", "always"];
        let mut command = Command::new("redis-server");
        command
            .args(usual)
            .args(["--repl-diskless-sync-delay", "0", "--save", "", "--dir"])
            .arg(folder)
            .args(&self.settings);
        let log = fs::File::create(folder.join("log")).unwrap();
        self.process = Some(command.stdout(log).stderr(Stdio::null()).spawn().unwrap());
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        for _ in 0..6_000 {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let answer: Result<String, _> = redis::cmd("PING").query_async(&mut connection).await;
                match answer {
                    Err(error) if error.code() == Some("LOADING") => {}
                    _ => return,
                }
            } else if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                // The server requires a password, so it has started.
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no server on port {}", self.port);
    }

    /// Runs a command on a new connection.
    pub(super) async fn ask(&self, words: &[&str]) -> redis::Value {
        ask(self.port, words).await.unwrap()
    }

    /// Waits until `replicas` replicas have all data of this server.
    pub(super) async fn until_synced(&self, replicas: usize) {
        for _ in 0..1_200 {
            let redis::Value::BulkString(text) = self.ask(&["INFO", "replication"]).await else { continue };
            let text = String::from_utf8_lossy(&text).into_owned();
            let written = text.lines().find_map(|line| line.strip_prefix("master_repl_offset:")).unwrap();
            let synced = format!("state=online,offset={written},");
            if text.matches(&synced).count() == replicas {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the replicas lack data");
    }

    /// Sends the process a signal.
    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = self.process.as_ref().unwrap().id();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id as i32), signal).unwrap();
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Kills the server, and starts it again with the same files.
    pub(super) async fn restart(&mut self) {
        self.kill();
        self.run().await;
    }

    /// Returns a copy of the files of the server.
    pub(super) fn copy_files(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_all(self.folder.path(), copy.path());
        copy
    }

    /// Replaces the files of the server with an earlier copy.
    pub(super) async fn go_back_to(&mut self, files: &Path) {
        self.kill();
        fs::remove_dir_all(self.folder.path()).unwrap();
        fs::create_dir(self.folder.path()).unwrap();
        copy_all(files, self.folder.path());
        self.run().await;
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Sentinels that watch a master. They start a fail-over only when a test asks for it: on a busy machine, a server can be
/// silent for a second. Dropping this ends them.
pub(super) struct Sentinels {
    processes: Vec<(Child, u16, TempDir)>,
}

impl Sentinels {
    /// Starts three Sentinels, and waits until all of them know the replicas, which have the data of the master.
    pub(super) async fn start(master: &Server, replicas: usize) -> Self {
        let mut processes = Vec::new();
        for _ in 0..3 {
            let (folder, port) = (TempDir::new().unwrap(), free_port());
            let file: PathBuf = folder.path().join("sentinel.conf");
            let settings = format!(
                "bind 127.0.0.1\nport {port}\ndir {}\nsentinel monitor queue 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds queue 600000\nsentinel failover-timeout queue 5000\n",
                folder.path().display(),
                master.port,
            );
            fs::write(&file, settings).unwrap();
            let process = Command::new("redis-server")
                .arg(&file)
                .arg("--sentinel")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            processes.push((process, port, folder));
        }
        let sentinels = Self { processes };
        sentinels.until_settled(replicas).await;
        master.until_synced(replicas).await;
        sentinels
    }

    async fn until_settled(&self, replicas: usize) {
        for _ in 0..1_200 {
            let mut settled = 0;
            for (_, port, _) in &self.processes {
                let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
                let Ok(mut connection) = client.get_multiplexed_async_connection().await else { continue };
                let text: String =
                    redis::cmd("INFO").arg("sentinel").query_async(&mut connection).await.unwrap();
                settled += usize::from(text.contains(&format!("slaves={replicas},sentinels=3")));
            }
            if settled == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the Sentinels do not find each other");
    }

    /// Asks for a fail-over until the Sentinels name another master than `lost`.
    pub(super) async fn fail_over(&self, lost: &Server) {
        let port = self.processes[0].1;
        for _ in 0..1_200 {
            let named = ask(port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "queue"]).await.unwrap();
            let named: Vec<String> = redis::from_redis_value(named).unwrap();
            if named[1] != lost.port.to_string() {
                return;
            }
            // It is refused while one is in progress, and while no replica can take over.
            let _ = ask(port, &["SENTINEL", "FAILOVER", "queue"]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no replica takes over");
    }

    pub(super) fn url(&self) -> String {
        let hosts: Vec<_> = self.processes.iter().map(|(_, port, _)| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{}/queue/0", hosts.join(","))
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for (process, _, _) in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

//! Probes while a disk hangs, signals that were blocked at the start, and the log of a panic.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use entityd::runtime::clock::Stopwatch;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ENCODING, Entityd, eventually};

/// A folder that is mounted through a FUSE process. While that process is stopped, every call on the folder blocks.
struct Slow {
    through: Child,
    folder: std::path::PathBuf,
}

impl Slow {
    /// Mounts `real` at `folder`; `None` where FUSE is not available.
    async fn mount(real: &Path, folder: &Path) -> Option<Self> {
        fs::create_dir_all(real).unwrap();
        fs::create_dir_all(folder).unwrap();
        let mut bindfs = Command::new("bindfs");
        bindfs.arg("-f").args([real, folder]).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(through) = bindfs.spawn() else { return skipped() };
        let mut slow = Self { through, folder: folder.to_owned() };
        fs::write(real.join("seen"), "").unwrap();
        let mounted = eventually("the folder is mounted, or the mount fails", async || {
            let ended = slow.through.try_wait().unwrap().is_some();
            (ended || folder.join("seen").exists()).then_some(!ended)
        })
        .await;
        fs::remove_file(real.join("seen")).unwrap();
        if mounted { Some(slow) } else { skipped() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.through), signal).unwrap();
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = kill_process(Pid::from_child(&self.through), Signal::CONT);
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
        let _ = self.through.kill();
        let _ = self.through.wait();
    }
}

fn skipped() -> Option<Slow> {
    // The output of `eprintln!` is hidden if the test passes.
    let _ = io::stderr().write_all(b"skipped: bindfs cannot mount here\n");
    None
}

/// Returns the status and the body of a response of the operations listener, and the duration of the request.
async fn asked(server: &Entityd, path: &str) -> (StatusCode, String, Duration) {
    entityd::edge::tls::install_provider();
    let watch = Stopwatch::start();
    let answer = reqwest::get(format!("http://{}{path}", server.doors().ops)).await.unwrap();
    (answer.status(), answer.text().await.unwrap(), watch.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_while_the_disk_hangs() {
    // More uploads than there are threads for requests.
    const UPLOADS: usize = 12;
    let folder = TempDir::new().unwrap();
    let (real, seen) = (folder.path().join("real"), folder.path().join("data"));
    let Some(slow) = Slow::mount(&real, &seen).await else { return };
    let server = Entityd::in_folder(folder, &[]);
    // Declared after the server and so dropped before it: the disk works again when the server stops.
    let disk = slow;
    let mut projects = Vec::new();
    for _ in 0..UPLOADS {
        projects.push(server.api().project("groups").await);
    }
    disk.signal(Signal::STOP);
    let uploads: Vec<_> = projects
        .into_iter()
        .map(|project| {
            tokio::spawn(async move { project.post_clks(0, &json!({"clks": [ENCODING]})).await.status() })
        })
        .collect();
    for _ in 0..3 {
        let probes = ["/healthz", "/readyz", "/readyz?verbose", "/startupz", "/metrics", "/healthz"];
        let answers = futures::future::join_all(probes.map(|path| asked(&server, path))).await;
        for (path, (status, said, took)) in probes.iter().zip(answers) {
            assert!(took < Duration::from_secs(30), "{path} took {took:?}");
            let expected = if path.starts_with("/readyz") { 503 } else { 200 };
            assert_eq!(status, expected, "{path}: {said}");
            if path.starts_with("/readyz") {
                assert!(said.contains("[-] ") && said.contains(": no answer for "), "{said}");
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    disk.signal(Signal::CONT);
    for upload in uploads {
        let status = upload.await.unwrap();
        assert!([201, 503].contains(&status.as_u16()), "{status}");
    }
    eventually("it is ready again", async || (asked(&server, "/readyz").await.0 == 200).then_some(())).await;
    let log = server.log();
    let (failing, ready) = (log.matches("not ready: ").count(), log.matches("ready again").count());
    assert!(failing > 0 && failing == ready, "{log}");
    drop(server);
}

#[test]
fn a_server_that_was_started_with_blocked_signals_still_stops() {
    let server = Entityd::through(&["env", "--block-signal"], &[], &[]);
    let (status, folder) = server.stop();
    assert!(status.success(), "{status}");
    assert!(fs::read_to_string(folder.path().join("log")).unwrap().contains("\"stopped\""));
}

#[tokio::test]
async fn a_panic_is_logged_like_any_other_line() {
    let server = Entityd::with_variables(&["--log-format", "json"], &[("ENTITYD_BREAKPOINT", "plan#")]);
    let project = server.api().project("groups").await;
    for party in 0..2 {
        project.upload(party, &[ENCODING]).await;
    }
    assert_eq!(project.run(0.9).await.ended().await["state"], "error");
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let panics: Vec<&Value> = lines.iter().filter(|line| line["location"].is_string()).collect();
    assert!(!panics.is_empty(), "{log}");
    for panic in panics {
        assert_eq!(panic["level"], "ERROR");
        assert!(panic["location"].as_str().unwrap().starts_with("src/runtime/failpoint.rs:"), "{panic}");
        assert!(panic["message"].as_str().unwrap().contains("a test makes plan panic"), "{panic}");
    }
}

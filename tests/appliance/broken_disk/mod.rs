//! A disk that fails for a while, is read-only or has no quota left: the process survives, and continues when the disk
//! works again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, refused};

const EIO: i32 = 5;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;
/// A wait that is longer than the first retries take.
const A_WHILE: Duration = Duration::from_secs(2);

/// A server whose disk can be made to fail.
struct OnDisk {
    server: Entityd,
    control: TempDir,
}

impl OnDisk {
    fn start(slow: &str) -> Self {
        let control = TempDir::new().unwrap();
        let file = control.path().join("broken");
        let variables = [
            ("LD_PRELOAD", shim().to_str().unwrap()),
            ("BROKEN_DISK", file.to_str().unwrap()),
            ("ENTITYD_SLOW_MS", slow),
        ];
        Self { server: Entityd::with_variables(&[], &variables), control }
    }

    /// Makes system calls of this kind fail with `errno` on the files of a folder of the data directory.
    fn breaks(&self, kind: &str, errno: i32, folder: &str) {
        let prefix = self.server.data_dir().canonicalize().unwrap().join(folder);
        let file = self.control.path().join("broken");
        fs::write(file.with_extension("new"), format!("{kind} {errno} {}", prefix.display())).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }

    fn is_mended(&self) {
        fs::remove_file(self.control.path().join("broken")).unwrap();
    }

    async fn ops(&self, path: &str) -> (StatusCode, String) {
        let answer = reqwest::get(format!("http://{}/{path}", self.server.doors().ops)).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Waits until the readiness probe reports that `what` is not ready.
    async fn is_not_ready(&self, what: &str) {
        eventually(&format!("{what} is not ready"), async || {
            let (status, text) = self.ops("readyz").await;
            (status == 503 && text.contains(&format!("[-] {what}"))).then_some(())
        })
        .await;
        assert_eq!(self.ops("healthz").await.0, 200);
    }

    async fn is_ready(&mut self) {
        eventually("it is ready again", async || (self.ops("readyz").await.0 == 200).then_some(())).await;
        assert!(!self.server.has_ended());
    }

    async fn project(&self) -> Project {
        let project = self.server.api().project("groups").await;
        project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
        project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
        project
    }
}

/// Returns the path of the preloaded library that makes system calls fail. It is compiled by the first call.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let library = folder.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/appliance/broken_disk/shim.c");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(built.unwrap().success());
        (folder, library)
    });
    path
}

/// Asserts that a response says that storage is unavailable and asks the client to retry.
async fn come_again(answer: Response) {
    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    let detail = refused(answer, 503).await;
    assert!(detail.contains("storage is unavailable"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_waits_for_a_disk_that_cannot_sync() {
    let mut disk = OnDisk::start("compare=500");
    let project = disk.project().await;
    let run = project.run(0.9).await;
    disk.breaks("sync", EIO, "");
    let new = disk.server.api().post("/projects", "", &json!({"schema": {}, "result_type": "groups"})).await;
    come_again(new).await;
    disk.is_not_ready("metadata").await;
    tokio::time::sleep(A_WHILE).await;
    disk.is_mended();
    disk.is_ready().await;
    assert_eq!(run.ended().await["state"], "completed");
    let later = disk.project().await;
    assert_eq!(later.run(0.9).await.ended().await["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_the_queue_refused_are_enqueued_again() {
    for kind in ["sync", "write"] {
        let mut disk = OnDisk::start("");
        let project = disk.project().await;
        assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
        disk.breaks(kind, EIO, "queue");
        let run = project.run(0.9).await;
        disk.is_not_ready("queue").await;
        tokio::time::sleep(A_WHILE).await;
        disk.is_mended();
        disk.is_ready().await;
        assert_eq!(run.ended().await["state"], "completed", "{kind}");
        let log = disk.server.log();
        assert!(!log.contains("the queue is damaged"), "a failing disk is not damage\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_retried_and_runs_wait_while_the_object_disk_fails() {
    for errno in [EIO, EROFS] {
        let mut disk = OnDisk::start("compare=300");
        let project = disk.project().await;
        let other = disk.server.api().project("groups").await;
        let run = project.run(0.9).await;
        disk.breaks("write", errno, "spool");
        come_again(other.post_clks(0, &json!({"clks": [ENCODING]})).await).await;
        disk.is_not_ready("objects").await;
        tokio::time::sleep(A_WHILE).await;
        let status = run.status().await;
        assert_ne!(status["state"], "error", "{status}");
        disk.is_mended();
        disk.is_ready().await;
        other.upload(0, &[ENCODING]).await;
        assert_eq!(run.ended().await["state"], "completed", "{errno}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_quota_counts_as_a_full_disk() {
    let mut disk = OnDisk::start("");
    let project = disk.server.api().project("groups").await;
    disk.breaks("write", EDQUOT, "spool");
    refused(project.post_clks(0, &json!({"clks": [ENCODING]})).await, 507).await;
    disk.breaks("write", EDQUOT, "");
    let new = disk.server.api().post("/projects", "", &json!({"schema": {}, "result_type": "groups"})).await;
    let detail = refused(new, 507).await;
    assert!(detail.contains("disk is full"), "{detail}");
    disk.is_mended();
    disk.is_ready().await;
    project.upload(0, &[ENCODING]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_waits_while_a_file_system_is_read_only() {
    let mut disk = OnDisk::start("compare=500");
    let project = disk.project().await;
    let run = project.run(0.9).await;
    disk.breaks("write", EROFS, "");
    come_again(
        project
            .api
            .post(&format!("{}/runs", project.path), &project.result_token, &json!({"threshold": 0.5}))
            .await,
    )
    .await;
    disk.is_not_ready("metadata").await;
    tokio::time::sleep(A_WHILE).await;
    disk.is_mended();
    disk.is_ready().await;
    assert_eq!(run.ended().await["state"], "completed");
}

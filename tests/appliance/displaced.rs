//! Parts of the data directory are removed, replaced or unmounted while the server runs, or are special files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Response;
use serde_json::json;
use tempfile::TempDir;

use crate::data_dir::ORDINARY;
use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, refused};

/// A wait that is longer than the delay before a job is retried.
const A_WHILE: Duration = Duration::from_millis(1_500);

async fn readiness(server: &Entityd) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}/readyz", server.doors().ops)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Waits until the readiness probe reports that `dependency` is not ready, with the reason `why`.
async fn is_not_ready(server: &Entityd, dependency: &str, why: &str) {
    eventually(&format!("{dependency} is not ready"), async || {
        let (status, text) = readiness(server).await;
        let line = text.lines().find(|line| line.starts_with(&format!("[-] {dependency}:")))?.to_owned();
        (status == 503 && line.contains(why)).then_some(())
    })
    .await;
}

async fn is_ready(server: &Entityd) {
    eventually("it is ready", async || (readiness(server).await.0 == 200).then_some(())).await;
}

async fn come_again(answer: Response) {
    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    refused(answer, 503).await;
}

async fn uploaded(server: &Entityd) -> Project {
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
    project
}

/// Returns the path to which a part of the data directory is moved temporarily.
fn aside(path: &Path) -> PathBuf {
    path.with_extension("aside")
}

/// Moves a folder away and leaves an empty one in its place, like the mount point of an unmounted volume.
fn unmount(path: &Path) {
    fs::rename(path, aside(path)).unwrap();
    fs::create_dir(path).unwrap();
}

/// Removes the mount point and moves the folder back. Returns the paths of the files in the mount point. A job that
/// completes just then may leave empty folders there.
fn mount(path: &Path) -> Vec<PathBuf> {
    let below = path.with_extension("below");
    fs::rename(path, &below).unwrap();
    fs::rename(aside(path), path).unwrap();
    let found = entityd::cli::selftest::server::files(&below);
    fs::remove_dir_all(below).unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_in_the_mount_point_of_missing_objects_and_runs_wait() {
    let server = Entityd::with_variables(&[], &[("ENTITYD_SLOW_MS", "compare=3000")]);
    let (project, other) = (uploaded(&server).await, server.api().project("groups").await);
    eventually("it is ready for runs", async || {
        project.describe().await["parties_contributed"].as_u64().filter(|&count| count == 2)
    })
    .await;
    let run = project.run(0.9).await;
    eventually("parts are compared", async || (run.status().await["state"] == "running").then_some(())).await;
    let objects = server.data_dir().join("objects");
    unmount(&objects);
    come_again(other.post_clks(0, &json!({"clks": [ENCODING]})).await).await;
    is_not_ready(&server, "objects", "objects was replaced while the server runs").await;
    tokio::time::sleep(A_WHILE).await;
    assert_ne!(run.status().await["state"], "error");
    assert_eq!(mount(&objects), Vec::<PathBuf>::new());
    is_ready(&server).await;
    other.upload(0, &[ENCODING]).await;
    assert_eq!(run.ended().await["state"], "completed");
    assert!(server.log().contains("was replaced while the server runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_deleted_while_its_objects_are_unavailable_leaves_nothing() {
    let server = Entityd::start();
    let project = uploaded(&server).await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
    let objects = server.data_dir().join("objects");
    unmount(&objects);
    assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
    tokio::time::sleep(A_WHILE).await;
    mount(&objects);
    eventually("no byte is left", async || server.payload_files().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_removed_while_the_server_runs_is_filled_again() {
    let server = Entityd::start();
    for how in ["removed", "replaced", "a file of it is removed"] {
        let project = uploaded(&server).await;
        let queue = server.data_dir().join("queue");
        match how {
            "removed" => fs::remove_dir_all(&queue).unwrap(),
            "replaced" => {
                let copied = Command::new("cp").arg("-a").arg(&queue).arg(aside(&queue)).status().unwrap();
                assert!(copied.success());
                fs::rename(&queue, server.data_dir().join("queue.gone")).unwrap();
                fs::rename(aside(&queue), &queue).unwrap();
            }
            _ => fs::remove_file(queue.join("journal.0")).unwrap(),
        }
        assert_eq!(project.run(0.9).await.ended().await["state"], "completed", "{how}");
        is_ready(&server).await;
    }
    assert!(server.log().contains("the queue is damaged"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_a_database_is_moved_away() {
    for file in ["metadata.db", "metadata.db-wal"] {
        let server = Entityd::start();
        let project = uploaded(&server).await;
        let path = server.data_dir().join(file);
        fs::rename(&path, aside(&path)).unwrap();
        let new = server.api().post("/projects", "", &json!({"schema": {}, "result_type": "groups"})).await;
        come_again(new).await;
        is_not_ready(&server, "metadata", "was removed or moved while the server runs").await;
        fs::rename(aside(&path), &path).unwrap();
        is_ready(&server).await;
        assert_eq!(project.run(0.9).await.ended().await["state"], "completed", "{file}");
    }
}

/// Copies a removed file, which the server still has open, from /proc, as the server advises.
fn copy_open_file(server: &Entityd, path: &Path) {
    let name = format!("{} (deleted)", path.canonicalize().unwrap_or_else(|_| path.to_owned()).display());
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().map(|entry| entry.unwrap().path());
    let open = open.into_iter().find(|open| fs::read_link(open).unwrap() == Path::new(&name));
    fs::copy(open.unwrap(), path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_wal_loses_nothing_and_a_removed_database_can_be_copied() {
    for (file, advice) in [("metadata.db-wal", "restart the server"), ("metadata.db", "SIGKILL")] {
        let server = Entityd::start();
        let project = uploaded(&server).await;
        let path = server.data_dir().canonicalize().unwrap().join(file);
        fs::remove_file(&path).unwrap();
        is_not_ready(&server, "metadata", advice).await;
        if file == "metadata.db" {
            copy_open_file(&server, &path);
        }
        let server = Entityd::in_folder(server.kill(), &[]);
        let found = server.api().get(&project.path, &project.result_token).await;
        assert_eq!(found.status(), 200, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_waits_for_a_data_directory_that_was_moved() {
    let server = Entityd::start();
    let project = uploaded(&server).await;
    let data = server.data_dir();
    unmount(&data);
    let new = server.api().post("/projects", "", &json!({"schema": {}, "result_type": "groups"})).await;
    come_again(new).await;
    for dependency in ["metadata", "queue", "objects", "disk"] {
        is_not_ready(&server, dependency, "data").await;
    }
    assert_eq!(mount(&data), Vec::<PathBuf>::new());
    is_ready(&server).await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
    assert!(!server.log().contains("the queue is damaged"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_was_removed_is_created_again() {
    let server = Entityd::start();
    fs::remove_dir_all(server.data_dir().join("spool")).unwrap();
    uploaded(&server).await;
    is_ready(&server).await;
}

/// Replaces a file with a named pipe, a folder or a dangling symlink.
fn replace(path: &Path, by: &str) {
    fs::remove_file(path).unwrap();
    match by {
        "a named pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "a directory" => fs::create_dir(path).unwrap(),
        _ => symlink("/nowhere/file", path).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_special_file_is_named_at_start_without_waiting() {
    let (_, folder) = Entityd::start().stop();
    for by in ["a named pipe", "a directory", "a link to /nowhere/file"] {
        for file in [
            "identity",
            "format",
            "metadata.mark",
            "buckets.mark",
            "metadata.db",
            "buckets.db",
            "lock",
            "admin-token",
        ] {
            // For this combination, the server creates the lock file at the target of the link.
            if (file, by) == ("lock", "a link to /nowhere/file") {
                continue;
            }
            let twin = TempDir::new().unwrap();
            let copied =
                Command::new("cp").arg("-a").arg(folder.path().join("data")).arg(twin.path()).status();
            assert!(copied.unwrap().success());
            replace(&twin.path().join("data").join(file), by);
            Entityd::until_it_ends(&twin, &[]).await;
            let log = fs::read_to_string(twin.path().join("log")).unwrap();
            let said = log.lines().last().unwrap_or_default();
            assert!(said.contains(&format!("{file} is {by}")), "{file}, {by}: {said}");
            assert!(!said.contains("--accept-loss"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_special_file_in_the_queue_is_set_aside_with_it() {
    let (_, mut folder) = Entityd::start().stop();
    for (file, by) in [
        ("queue/db", "a named pipe"),
        ("queue/journal.0", "a named pipe"),
        ("queue/db", "a link to /nowhere/file"),
    ] {
        replace(&folder.path().join("data").join(file), by);
        let server = Entityd::in_folder(folder, &[]);
        let log = server.log();
        assert!(log.contains("the queue is damaged") && log.contains(by), "{file}, {by}: {log}");
        folder = server.stop().1;
    }
    let queue = folder.path().join("data/queue");
    fs::remove_dir_all(&queue).unwrap();
    symlink("/nowhere/queue", &queue).unwrap();
    let server = Entityd::in_folder(folder, &[]);
    assert!(
        server.log().contains("it is a link to /nowhere/queue, which does not exist"),
        "{}",
        server.log()
    );
    uploaded(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_pipe_in_place_of_a_result_blocks_no_client() {
    let server = Entityd::start();
    let project = uploaded(&server).await;
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed");
    let result = server.payload_files().into_iter().find(|path| path.ends_with("groups.json")).unwrap();
    replace(&result, "a named pipe");
    refused(run.result(&project.result_token).await, 500).await;
    assert!(server.log().contains("groups.json is a named pipe"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_may_not_be_opened_is_not_reported_as_damaged() {
    let server = Entityd::through(&ORDINARY, &[], &[]);
    let project = uploaded(&server).await;
    let queue = server.data_dir().join("queue");
    let allow = |mode| fs::set_permissions(&queue, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    is_not_ready(&server, "queue", "ermission denied").await;
    eventually("the log names the owner", async || {
        let log = server.log();
        (log.contains("queue belongs to user") && log.contains("this process runs as user")).then_some(())
    })
    .await;
    allow(0o700);
    is_ready(&server).await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
    assert!(!server.log().contains("the queue is damaged"), "{}", server.log());
}

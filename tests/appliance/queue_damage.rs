//! A damaged or missing queue: it is rebuilt from the metadata, and the log says so.

use std::fs;
use std::path::{Path, PathBuf};

use futures::{StreamExt, stream};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually};

const PAGE: usize = 4096;
const AT_ONCE: usize = 4;

/// A kind of damage, and the function that does it to the folder of the queue.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 16] = [
    ("a snapshot is truncated", |queue| spoil(&snapshot(queue), |bytes| bytes.truncate(bytes.len() / 2))),
    ("a snapshot is empty", |queue| spoil(&snapshot(queue), Vec::clear)),
    ("a snapshot is garbage", |queue| spoil(&snapshot(queue), |bytes| bytes.fill(0xa5))),
    ("a bit of a snapshot is wrong", |queue| {
        spoil(&snapshot(queue), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }),
    ("the first page of db is garbage", |queue| spoil(&queue.join("db"), |bytes| bytes[..PAGE].fill(0xa5))),
    ("a page in the middle of db is garbage", |queue| {
        spoil(&queue.join("db"), |bytes| {
            let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
            bytes[middle..middle + PAGE].fill(0xa5);
        });
    }),
    ("db is garbage", |queue| spoil(&queue.join("db"), |bytes| bytes.fill(0xa5))),
    ("db is gone", |queue| fs::remove_file(queue.join("db")).unwrap()),
    ("db is empty", |queue| spoil(&queue.join("db"), Vec::clear)),
    ("conf is garbage", |queue| spoil(&queue.join("conf"), |bytes| bytes.fill(0xa5))),
    ("the heads of the commit log are garbage", |queue| {
        for name in ["journal.0", "journal.1"] {
            spoil(&queue.join(name), |bytes| bytes[..PAGE].fill(0xa5));
        }
    }),
    ("half of the commit log is gone", |queue| fs::remove_file(queue.join("journal.0")).unwrap()),
    ("the other half of the commit log is gone", |queue| fs::remove_file(queue.join("journal.1")).unwrap()),
    ("all is gone but the commit log", |queue| {
        for file in files(queue).into_iter().filter(|file| !file.to_string_lossy().contains("journal")) {
            fs::remove_file(file).unwrap();
        }
    }),
    ("the folder is gone", |queue| fs::remove_dir_all(queue).unwrap()),
    ("the folder is a file", |queue| {
        fs::remove_dir_all(queue).unwrap();
        fs::write(queue, "queue").unwrap();
    }),
];

fn files(queue: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(queue).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

fn snapshot(queue: &Path) -> PathBuf {
    files(queue).into_iter().find(|file| file.to_string_lossy().contains("snap.")).unwrap()
}

fn spoil(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn copy_of(folder: &TempDir) -> TempDir {
    let copied = TempDir::new().unwrap();
    copy(&folder.path().join("data"), &copied.path().join("data"));
    copied
}

/// A server that was killed during a run, and during the deletion of another project.
struct Scenario {
    folder: TempDir,
    project: Project,
    run: String,
}

impl Scenario {
    async fn begin() -> Self {
        // The queue is opened twice, since sled writes a snapshot when it is opened again.
        let (_, folder) = Entityd::start().stop();
        let slow = [("ENTITYD_SLOW_MS", "compare=600000,purge=600000")];
        let server = Entityd::with_variables_in(folder, &slow);
        let project = uploaded(&server).await;
        let run = project.run(0.9).await.path;
        let other = uploaded(&server).await;
        assert_eq!(server.api().delete(&other.path, &other.result_token).await.status(), 204);
        let known = project.known_run(run.clone());
        eventually("the run is in the middle", async || {
            (known.status().await["stages"].is_number() && in_hand(&known.status().await)).then_some(())
        })
        .await;
        Self { folder: server.kill(), project, run }
    }

    /// Starts a server after the damage, and asserts that the run and the deletion complete and that the log reports
    /// the damage.
    async fn goes_on(&self, damage: &str, folder: TempDir) {
        let server = Entityd::in_folder(folder, &["--lease-ms", "1000"]);
        let Project { path, result_token, update_tokens, .. } = &self.project;
        let (path, result_token, update_tokens) = (path.clone(), result_token.clone(), update_tokens.clone());
        let project = Project { api: server.api(), path, result_token, update_tokens };
        let run = project.known_run(self.run.clone());
        let ended = run.ended().await;
        assert_eq!(ended["state"], "completed", "{damage}: {ended}");
        let result: Value = run.result(&project.result_token).await.json().await.unwrap();
        assert_eq!(result["groups"].as_array().unwrap().len(), 2, "{damage}: {result}");
        let kept = project.path.rsplit('/').next().unwrap();
        eventually("the other project is gone", async || {
            let files = server.payload_files();
            files.iter().all(|file| file.to_string_lossy().contains(kept)).then_some(())
        })
        .await;
        let log = server.log();
        let warning = log.lines().find(|line| line.contains("the queue is damaged"));
        let warning = warning.unwrap_or_else(|| panic!("{damage}: no warning in the log\n{log}"));
        assert!(warning.contains("filled from the metadata") && warning.contains("are lost"), "{warning}");
    }
}

async fn uploaded(server: &Entityd) -> Project {
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
    project
}

fn in_hand(status: &Value) -> bool {
    status["current_stage"]["number"] == 2 && status["state"] == "running"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_queue_is_rebuilt_and_the_run_continues() {
    let scenario = Scenario::begin().await;
    let walks = stream::iter(DAMAGES).map(|(damage, apply)| {
        let folder = copy_of(&scenario.folder);
        apply(&folder.path().join("data/queue"));
        scenario.goes_on(damage, folder)
    });
    walks.buffer_unordered(AT_ONCE).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_inspect_a_damaged_queue_first() {
    let (_, folder) = Entityd::start().stop();
    let db = folder.path().join("data/queue/db");
    spoil(&db, |bytes| bytes.fill(0xa5));
    let refuse = [("ENTITYD_QUEUE_DAMAGED", "refuse")];
    Entityd::until_it_ends(&folder, &refuse).await;
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("data/queue") && log.contains("--queue-damaged rebuild"), "{log}");
    assert!(db.exists(), "it stays where it is");
    let server = Entityd::in_folder(folder, &[]);
    let aside = fs::read_dir(server.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(aside.map(|name| name.into_string().unwrap()).any(|name| name.starts_with("queue.damaged-20")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_queue_does_not_give_a_job_new_attempts() {
    let kills = [("ENTITYD_BREAKPOINT", "compare")];
    let mut server = Entityd::with_variables(&[], &kills);
    let project = uploaded(&server).await;
    let run = project.run(0.9).await.path;
    eventually("the first attempt kills the process", async || server.has_ended().then_some(())).await;
    let folder = server.kill();
    Entityd::until_it_ends(&folder, &kills).await;
    fs::remove_dir_all(folder.path().join("data/queue")).unwrap();
    for _ in 0..2 {
        // The second attempt is repeated, since it was in progress, and then the third follows.
        Entityd::until_it_ends(&folder, &kills).await;
    }
    let server = Entityd::with_variables_in(folder, &kills);
    let project = Project { api: server.api(), ..project };
    let ended = project.known_run(run).ended().await;
    assert_eq!(ended["state"], "error");
    assert!(ended["message"].as_str().unwrap().contains("the process stopped in attempt 3 of 3"), "{ended}");
}

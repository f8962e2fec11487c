//! A failure during a run ends the run with the reason. The process survives, and the next run completes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use entityd::queue::sled::{Settings, SledBroker};
use entityd::queue::{self, Acked, Broker, Claim, DeadQuery, Lease, NewJob, Share};
use entityd::runtime::clock::{Stopwatch, Timestamp};
use entityd::runtime::entropy::Entropy;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, refused};

/// A kind of damage, and the function that does it to a file.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 3] = [
    ("a bit is flipped", |path| {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    }),
    ("it is cut off", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
    ("it is missing", |path| fs::remove_file(path).unwrap()),
];

async fn linked(server: &Entityd, result_type: &str) -> Project {
    let project = server.api().project(result_type).await;
    for party in 0..2 {
        project.upload(party, &[ENCODING, OTHER_ENCODING]).await;
    }
    project
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

/// Settings for runs of several jobs.
const IN_PARTS: [&str; 2] = ["--comparisons-per-job", "1000"];

/// Damages the files of this kind when a run reaches `step`, for every kind of damage in turn.
async fn damaged(kind: &str, step: &str, flags: &[&str]) {
    let server = Entityd::with_variables(flags, &[("ENTITYD_SLOW_MS", &format!("{step}=1500"))]);
    let delays = || server.log().matches("failpoint: the step is delayed").count();
    for (what, damage) in DAMAGES {
        let seen = delays();
        let project = linked(&server, "groups").await;
        let run = project.run(0.9).await;
        eventually(&format!("the run reaches {step}"), async || (delays() > seen).then_some(())).await;
        server.files(kind).iter().for_each(|file| damage(file));
        let status = run.ended().await;
        assert_eq!(status["state"], "error", "{kind}: {what}");
        assert!(message(&status).contains("the stored data cannot be used"), "{kind}: {what}: {status}");
        assert!(message(&status).contains(kind), "{kind}: {what}: {status}");
        assert!(refused(run.result(&project.result_token).await, 500).await.contains(kind));
        assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);

        let next = linked(&server, "groups").await;
        assert_eq!(next.run(0.9).await.ended().await["state"], "completed", "after {kind}: {what}");
        assert_eq!(next.api.delete(&next.path, &next.result_token).await.status(), 204);
    }
}

#[tokio::test]
async fn a_damaged_matrix_ends_the_run() {
    damaged("matrix", "compare", &IN_PARTS).await;
}

#[tokio::test]
async fn a_damaged_matrix_ends_a_run_of_one_job() {
    damaged("matrix", "compare", &[]).await;
}

#[tokio::test]
async fn a_damaged_index_ends_the_run() {
    damaged("index", "plan", &IN_PARTS).await;
}

#[tokio::test]
async fn a_damaged_index_ends_a_run_of_one_job() {
    damaged("index", "plan", &[]).await;
    damaged("index", "compare", &[]).await;
}

#[tokio::test]
async fn a_damaged_plan_ends_the_run() {
    damaged("plan", "compare", &IN_PARTS).await;
}

#[tokio::test]
async fn damaged_pairs_end_the_run() {
    damaged("pairs", "finalize", &IN_PARTS).await;
}

/// A small file system in memory.
struct Disk(TempDir);

impl Disk {
    /// Mounts the file system; `None` where mounting is not permitted.
    fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let options = "size=64m,mode=700";
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            // The output of `eprintln!` is hidden if the test passes.
            let _ = io::stderr().write_all(b"skipped: only root can mount a small disk\n");
        }
        mounted.then_some(Self(folder))
    }

    /// Fills the file system until `but` bytes are free.
    fn fill(&self, but: u64) {
        let room = rustix::fs::statvfs(self.0.path()).unwrap();
        let ballast = room.f_bavail * room.f_frsize - but;
        fs::write(self.0.path().join("ballast"), vec![0; ballast.try_into().unwrap()]).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

/// Runs a linkage with `records` equal encodings in each party, while only `room` bytes of disk space are free.
async fn on_a_full_disk(records: usize, room: u64) {
    let Some(disk) = Disk::mount() else { return };
    let folder = TempDir::new_in(disk.0.path()).unwrap();
    let server = Entityd::in_folder(folder, &["--disk-free-min", "0"]);
    let project = server.api().project("similarity_scores").await;
    for party in 0..2 {
        project.upload(party, &vec![ENCODING; records]).await;
    }
    disk.fill(room);
    let run = project.run(0.9).await;
    let status = run.ended().await;
    assert_eq!(status["state"], "error", "{status}");
    // The message is that of the failed write, or that of the check before it.
    let said = message(&status);
    assert!(said.contains("no space left") || said.contains("free some space"), "{status}");
    assert!(message(&status).contains("free some space"), "{status}");
    eventually("the files of the run are removed", async || server.files("pairs").is_empty().then_some(()))
        .await;
    let next = linked(&server, "similarity_scores").await;
    assert_eq!(next.run(0.9).await.ended().await["state"], "completed");
    drop(server);
}

#[tokio::test]
async fn a_disk_that_is_full_of_pairs_ends_the_run() {
    on_a_full_disk(800, 8 << 20).await;
}

#[tokio::test]
async fn a_disk_that_is_full_of_the_result_ends_the_run() {
    // The pairs take 4 MB, and the result another 4 MB.
    on_a_full_disk(400, 6 << 20).await;
}

fn job(number: usize) -> NewJob {
    NewJob::new(number.to_string(), "queue", "group", vec![7; 50_000])
}

async fn claimed(queue: &SledBroker, count: usize, now: Timestamp) -> Vec<Lease> {
    let queues = vec![Share { queue: "queue".into(), weight: NonZeroU32::MIN }];
    let claim =
        Claim { queues, count, lease: Duration::from_mins(1), wait: Duration::ZERO, for_guest: false };
    queue.claim(&claim, now).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_on_a_full_disk_accepts_jobs_again_once_there_is_room_and_loses_none() {
    let Some(disk) = Disk::mount() else { return };
    let settings = Settings { journal_bytes: 1 << 20, ..Settings::default() };
    let queue = SledBroker::open(&disk.0.path().join("queue"), settings, Entropy::seeded(1)).unwrap();
    let now = Timestamp::default();
    assert_eq!(queue.enqueue(&[job(0)], now).await.unwrap(), 1);
    let held = claimed(&queue, 1, now).await.pop().unwrap();
    disk.fill(2 << 20);
    let mut count = 1;
    while queue.enqueue(&[job(count)], now).await.is_ok() {
        count += 1;
    }
    // Further jobs fail while the disk is full.
    for _ in 0..5 {
        assert!(matches!(queue.enqueue(&[job(count)], now).await, Err(queue::Error::Storage(_))));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    disk.make_room();
    eventually("the store is open again", async || queue.enqueue(&[job(count)], now).await.ok()).await;
    assert_eq!(queue.ack_all(&[held.id], now).await.unwrap(), [Acked::Done]);
    let left = claimed(&queue, 2 * count, now).await;
    let mut numbers: Vec<usize> = left.iter().map(|lease| lease.id.job.as_str().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
    assert!(left.iter().all(|lease| lease.attempt == 1), "no job has used an attempt");
    let all = DeadQuery { count: 1, ..DeadQuery::default() };
    assert!(queue.dead_letters(&all, now).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_project_that_is_deleted_during_its_run_leaves_nothing() {
    let in_parts = ["plan.done", "compare", "compare.done", "finalize", "finalize.done"];
    let in_parts = in_parts.map(|step| (step, ["--comparisons-per-job", "1"].as_slice()));
    let in_one_job = ["compare", "compare.opened", "finalize", "plan.done", "plan.published"];
    for (step, flags) in in_parts.into_iter().chain(in_one_job.map(|step| (step, [].as_slice()))) {
        let server = Entityd::with_variables(flags, &[("ENTITYD_SLOW_MS", &format!("{step}=100"))]);
        let project = linked(&server, "groups").await;
        project.run(0.9).await;
        eventually(step, async || server.log().contains("failpoint: the step is delayed").then_some(()))
            .await;
        assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
        eventually("no byte is left", async || server.payload_files().is_empty().then_some(())).await;
        let next = linked(&server, "groups").await;
        assert_eq!(next.run(0.9).await.ended().await["state"], "completed", "after {step}");
    }
}

#[tokio::test]
async fn limits_end_a_run_as_soon_as_it_exceeds_them() {
    let flags = ["--solver-pairs-max", "40", "--run-pairs-max", "90", "--comparisons-per-job", "25"];
    let cases = [("similarity_scores", false, 90, 2), ("groups", false, 40, 2), ("groups", true, 40, 3)];
    // In parts, and in one job.
    let cases = [&flags[..], &flags[..4]].into_iter().flat_map(|flags| cases.map(|case| (flags, case)));
    for (flags, (result_type, blocks, limit, stage)) in cases {
        let server = Entityd::with(flags);
        let body = json!({"schema": {}, "result_type": result_type, "uses_blocking": blocks});
        let project = server.api().create(body).await;
        for party in 0..2 {
            // There are 72 candidate pairs with blocks, and 100 without.
            let body = if blocks {
                let row = |record: usize| json!([ENCODING, record % 2]);
                json!({"clknblocks": (0..12).map(row).collect::<Vec<_>>()})
            } else {
                json!({"clks": vec![ENCODING; 10]})
            };
            assert_eq!(project.post_clks(party, &body).await.status(), 201);
        }
        let status = project.run(0.9).await.ended().await;
        assert_eq!((&status["state"], &status["current_stage"]["number"]), (&json!("error"), &json!(stage)));
        let count = message(&status)
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|number| number.parse::<u64>().ok())
            .max();
        assert!(count.is_some_and(|count| count > limit), "{status}");
        for told in [&format!(" {limit}"), "a higher threshold or blocking"] {
            assert!(message(&status).contains(told), "{status}");
        }
        eventually("the remaining jobs are cancelled", async || {
            server.files("pairs").is_empty().then_some(())
        })
        .await;
        assert_eq!(project.run(1.0).await.ended().await["state"], "error");
        assert_eq!(project.describe().await["error"], false);
    }
}

#[tokio::test]
async fn clients_that_stop_reading_a_result_cost_little_memory() {
    const CLIENTS: usize = 20;
    let server = Entityd::start();
    let project = server.api().project("similarity_scores").await;
    for party in 0..2 {
        project.upload(party, &[ENCODING; 700]).await;
    }
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed");
    let whole = run.result(&project.result_token).await.bytes().await.unwrap();
    assert!(whole.len() > 10 << 20, "{} bytes are more than any buffer", whole.len());

    let before = server.resident_bytes();
    let mut idle = Vec::new();
    for _ in 0..CLIENTS {
        let mut connection = TcpStream::connect(server.doors().api).await.unwrap();
        let request = format!(
            "GET /api/v1{}/result HTTP/1.1\r\nHost: entityd\r\nAuthorization: {}\r\n\r\n",
            run.path, project.result_token
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 64];
        connection.read_exact(&mut first).await.unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200"));
        idle.push(connection);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let more = server.resident_bytes().saturating_sub(before);
    assert!(more < (CLIENTS as u64) << 21, "{more} bytes for {CLIENTS} clients that do not read");

    let asked = Stopwatch::start();
    assert_eq!(run.result(&project.result_token).await.bytes().await.unwrap(), whole);
    assert!(asked.elapsed() < Duration::from_secs(30), "others do not wait for them");
    drop(idle);
}

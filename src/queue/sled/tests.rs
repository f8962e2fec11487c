//! Runs the conformance tests on sled, and tests specific to sled.

use std::num::NonZeroU8;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;

use super::engine::store::Failing;
use super::{Settings, SledBroker};
use crate::queue::conformance::{Fixture, at, claim, job, stories};
use crate::queue::{Acked, Broker, DeadQuery, Error, Heartbeat, NewJob, Progress, Pulse};
use crate::runtime::clock::Stopwatch;
use crate::runtime::entropy::Entropy;

struct Folder {
    directory: TempDir,
    broker: Option<SledBroker>,
    /// The seed of the queue's random numbers, which changes each time the queue is opened.
    seed: u64,
}

fn open(directory: &Path, seed: u64) -> SledBroker {
    // The files of the commit log are small, so that the journal switches often.
    let settings = Settings { journal_bytes: 16 << 10, ..Settings::default() };
    SledBroker::open(directory, settings, Entropy::seeded(seed)).unwrap()
}

impl Folder {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let broker = Some(open(directory.path(), 0));
        Self { directory, broker, seed: 0 }
    }

    fn reopen(&mut self) {
        self.seed += 1;
        self.broker = Some(open(self.directory.path(), self.seed));
    }
}

#[async_trait]
impl Fixture for Folder {
    fn broker(&self) -> &dyn Broker {
        self.broker.as_ref().expect("it is open between calls")
    }

    fn take(&mut self) -> Box<dyn Broker> {
        Box::new(self.broker.take().expect("it is open between calls"))
    }

    async fn start(&mut self) {
        self.reopen();
    }

    /// Copies the files while the broker runs, which gives their state after a kill, and opens the copy.
    async fn crash(&mut self) {
        let copy = TempDir::new().unwrap();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        self.broker = None;
        self.directory = copy;
        self.reopen();
    }
}

stories!(Folder::new());

/// Returns a job with 50,000 bytes computed from its number.
fn large_job(number: usize) -> NewJob {
    let payload: Vec<u8> = (0..50_000).map(|at: usize| (at * 7 + number) as u8).collect();
    NewJob { payload: payload.into(), ..job(&number.to_string()) }
}

/// Claims all jobs, which must be the first `count` large jobs, intact and in order.
async fn claim_large(broker: &dyn Broker, count: usize) {
    let leases = claim(broker, 1_000, at(1)).await;
    assert_eq!(leases.len(), count);
    for (number, lease) in leases.iter().enumerate() {
        assert_eq!(
            (lease.id.job.as_str(), &lease.payload),
            (&*number.to_string(), &large_job(number).payload)
        );
    }
    for lease in leases {
        broker.ack(&lease.id, at(1)).await.unwrap();
    }
}

#[tokio::test]
async fn large_jobs_stay_inside_the_log() {
    let mut folder = Folder::new();
    for first in (0..400).step_by(10) {
        let jobs: Vec<_> = (first..first + 10).map(large_job).collect();
        folder.broker().enqueue(&jobs, at(0)).await.unwrap();
    }
    folder.restart().await;
    claim_large(folder.broker(), 400).await;
    folder.restart().await;
    let blobs = std::fs::read_dir(folder.directory.path().join("blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0, "sled does not sync blobs");
    assert_eq!(claim(folder.broker(), 1_000, at(1)).await.len(), 0);
}

#[tokio::test]
async fn a_store_with_segments_of_another_size_goes_on() {
    let mut folder = Folder::new();
    folder.broker = None;
    folder.directory = TempDir::new().unwrap();
    let before = Settings { segment_bytes: 8 << 20, ..Settings::default() };
    let broker = SledBroker::open(folder.directory.path(), before, Entropy::seeded(0)).unwrap();
    broker.enqueue(&(0..50).map(large_job).collect::<Vec<_>>(), at(0)).await.unwrap();
    broker.close().await.unwrap();
    drop(broker);
    folder.reopen();
    folder.broker().enqueue(&(50..100).map(large_job).collect::<Vec<_>>(), at(0)).await.unwrap();
    folder.restart().await;
    claim_large(folder.broker(), 100).await;
}

/// Returns true if a file of the store contains these bytes.
fn is_stored(directory: &Path, secret: &[u8]) -> bool {
    let mut files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.any(|path| {
        path.is_file() && std::fs::read(path).unwrap().windows(secret.len()).any(|bytes| bytes == secret)
    })
}

#[tokio::test]
async fn compaction_erases_finished_jobs_and_keeps_held_and_waiting_ones() {
    let mut folder = Folder::new();
    let secret = |name: &str| NewJob { payload: b"a secret of a project".as_slice().into(), ..job(name) };
    folder
        .broker()
        .enqueue(&[secret("a-gone-job"), secret("a-dead-job"), large_job(0)], at(0))
        .await
        .unwrap();
    // The restart moves these jobs into sled; the next one stays in the commit log.
    folder.restart().await;
    folder.broker().enqueue(&[secret("a-late-job"), job("a-held-job"), large_job(1)], at(0)).await.unwrap();
    let mut leases = claim(folder.broker(), 9, at(1)).await;
    let keep = |lease: &crate::queue::Lease| ["0", "1", "a-held-job"].contains(&lease.id.job.as_str());
    let held: Vec<_> = leases.extract_if(.., |lease| keep(lease)).collect();
    for lease in leases {
        folder.broker().ack(&lease.id, at(1)).await.unwrap();
    }
    for secret in ["a secret of a project", "a-gone-job", "a-dead-job", "a-late-job"] {
        assert!(is_stored(folder.directory.path(), secret.as_bytes()));
    }
    folder.broker().release(&[held[0].id.clone(), held[2].id.clone()], at(1)).await.unwrap();
    folder.broker().erase_traces().await.unwrap();
    for secret in ["a secret of a project", "a-gone-job", "a-dead-job", "a-late-job"] {
        assert!(!is_stored(folder.directory.path(), secret.as_bytes()), "{secret}");
    }
    assert!(is_stored(folder.directory.path(), b"a-held-job"));
    let beat = Heartbeat { lease: held[1].id.clone(), progress: Progress::default() };
    assert!(matches!(folder.broker().heartbeat(&[beat], at(2)).await.unwrap()[..], [Pulse::Continue { .. }]));
    folder.broker().ack(&held[1].id, at(2)).await.unwrap();
    folder.broker().enqueue(&[large_job(2)], at(2)).await.unwrap();
    folder.crash().await;
    claim_large(folder.broker(), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_a_sync_and_each_job_is_delivered_once() {
    let directory = TempDir::new().unwrap();
    let broker = Arc::new(open(directory.path(), 0));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let broker = Arc::clone(&broker);
        callers.spawn(async move {
            for number in 0..50 {
                let name = format!("{caller}-{number}");
                assert_eq!(broker.enqueue(&[job(&name)], at(0)).await.unwrap(), 1);
            }
            let mut done = Vec::new();
            while let Some(lease) = claim(&*broker, 1, at(1)).await.pop() {
                broker.ack(&lease.id, at(1)).await.unwrap();
                done.push(lease.id.job);
            }
            done
        });
    }
    let mut done: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    done.extend(claim(&*broker, 1_000, at(1)).await.into_iter().map(|lease| lease.id.job));
    done.sort();
    done.dedup();
    assert_eq!(done.len(), 16 * 50);
}

#[tokio::test]
async fn a_second_broker_on_the_same_directory_is_refused() {
    let folder = Folder::new();
    let second = SledBroker::open(folder.directory.path(), Settings::default(), Entropy::system());
    assert!(matches!(second, Err(Error::Storage(_))));
}

#[tokio::test]
async fn a_start_that_was_cut_off_is_no_damage() {
    for written in [0, 5, 20] {
        let mut folder = Folder::new();
        folder.broker().enqueue(&[job("a")], at(0)).await.unwrap();
        folder.broker.take().unwrap().close().await.unwrap();
        // sled determines the latest snapshot by the file names.
        let unfinished = folder.directory.path().join("snap.7FFFFFFFFFFFFFFF.generating");
        std::fs::write(&unfinished, vec![1; written]).unwrap();
        folder.reopen();
        assert!(!unfinished.exists());
        assert_eq!(claim(folder.broker(), 9, at(1)).await.len(), 1);
    }
}

#[test]
fn garbage_is_not_taken_for_a_new_queue() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("db"), [7; 3_000]).unwrap();
    let refused = SledBroker::open(directory.path(), Settings::default(), Entropy::system());
    let Err(refused @ Error::Damaged(_)) = refused else { panic!("{refused:?}") };
    assert!(refused.to_string().contains("--queue-damaged rebuild"), "{refused}");
    // A power cut during creation leaves arbitrary files, and the mark of an unfinished store.
    std::fs::write(directory.path().join("unfinished"), []).unwrap();
    drop(open(directory.path(), 0));
    assert!(!directory.path().join("unfinished").exists());
}

/// Enqueues a job; repeats the call until the store is open again.
async fn enqueue_at_last(broker: &SledBroker, name: &str) {
    for _ in 0..3_000 {
        match broker.enqueue(&[job(name)], at(0)).await {
            Ok(_) => return,
            Err(Error::Storage(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store does not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_is_opened_again_and_who_holds_a_job_keeps_it() {
    for failing in [Failing::Before, Failing::After] {
        let folder = Folder::new();
        let broker = folder.broker.as_ref().unwrap();
        broker.enqueue(&[job("a"), job("b"), job("c")], at(0)).await.unwrap();
        let held = claim(broker, 2, at(1)).await;
        *broker.shared().store().unwrap().failing.lock().unwrap() = Some(failing);
        let answer = broker.ack(&held[0].id, at(2)).await;
        assert!(matches!(answer, Err(Error::Storage(_))), "{answer:?}");
        enqueue_at_last(broker, "d").await;
        let beat = [Heartbeat { lease: held[1].id.clone(), progress: Progress::default() }];
        assert_eq!(broker.heartbeat(&beat, at(3)).await.unwrap(), [Pulse::Continue { until: at(63) }]);
        // The first ack may or may not have been written; acks may be repeated.
        let leases: Vec<_> = held.into_iter().map(|lease| lease.id).collect();
        assert_eq!(broker.ack_all(&leases, at(4)).await.unwrap(), [Acked::Done, Acked::Done]);
        let left = claim(broker, 9, at(5)).await;
        assert_eq!(left.iter().map(|lease| lease.id.job.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_survives_a_store_that_has_its_job_delayed() {
    let folder = Folder::new();
    let broker = folder.broker.as_ref().unwrap();
    broker.enqueue(&[NewJob { not_before: Some(at(10)), ..job("a") }], at(0)).await.unwrap();
    *broker.shared().store().unwrap().failing.lock().unwrap() = Some(Failing::Before);
    let held = claim(broker, 1, at(10)).await.remove(0).id;
    enqueue_at_last(broker, "b").await;
    let beat = [Heartbeat { lease: held.clone(), progress: Progress::default() }];
    assert_eq!(broker.heartbeat(&beat, at(11)).await.unwrap(), [Pulse::Continue { until: at(71) }]);
    let left = claim(broker, 9, at(12)).await;
    assert_eq!(left.iter().map(|lease| lease.id.job.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(broker.ack_all(&[held], at(12)).await.unwrap(), [Acked::Done]);
}

/// Reads the pages as the dashboard does. `TESTS_LONG=1` makes 10,000 dead letters.
#[tokio::test]
async fn the_last_page_of_many_dead_jobs_comes_as_quickly_as_the_first() {
    const PAGE: usize = 26;
    let count = if std::env::var_os("TESTS_LONG").is_some() { 10_000 } else { 1_000 };
    let folder = Folder::new();
    let queue = folder.broker();
    let once = |at: usize| NewJob { attempts_max: NonZeroU8::MIN, ..job(&format!("job {at}")) };
    queue.enqueue(&(0..count).map(once).collect::<Vec<_>>(), at(0)).await.unwrap();
    let leases = claim(queue, count, at(0)).await;
    let ended = leases.iter().map(|lease| queue.nack(&lease.id, "no", at(0)));
    futures::future::try_join_all(ended).await.unwrap();
    let (mut seen, mut after, mut slowest) = (0, 0, Duration::ZERO);
    loop {
        let begun = Stopwatch::start();
        let query = DeadQuery { after, count: PAGE, ..DeadQuery::default() };
        let page = queue.dead_letters(&query, at(1)).await.unwrap();
        let mut took = begun.elapsed();
        // Others use the machine, too: the quickest of several reads counts.
        for _ in 0..9 {
            let again = Stopwatch::start();
            queue.dead_letters(&query, at(1)).await.unwrap();
            took = took.min(again.elapsed());
        }
        slowest = slowest.max(took);
        let Some(last) = page.last() else { break };
        (seen, after) = (seen + page.len(), last.sequence);
    }
    println!("the slowest page of {count} dead jobs took {slowest:?}");
    assert_eq!(seen, count);
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
}

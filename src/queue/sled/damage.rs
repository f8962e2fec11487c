//! Tests of damaged stores: every loss is reported, and the queue opens.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{OnDamage, Settings, SledBroker};
use crate::queue::conformance::{at, claim, job};
use crate::queue::{Broker, Error, NewJob};
use crate::runtime::entropy::Entropy;

const JOBS: usize = 400;
/// The number of jobs that are written together.
const COMMIT: usize = 20;
const PAGE: usize = 4096;

/// A name, and a function that returns true for the files that remain.
type Kept = (&'static str, fn(&str) -> bool);

/// A kind of damage, and the function that does it to a file.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 7] = [
    ("gone", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| fs::write(path, []).unwrap()),
    ("cut", |path| {
        let length = fs::metadata(path).unwrap().len();
        fs::File::options().write(true).open(path).unwrap().set_len(length / 2).unwrap();
    }),
    ("garbage", |path| spoil(path, |bytes| fill(bytes))),
    ("one bit", |path| {
        spoil(path, |bytes| {
            let place = bytes.len() / 3;
            bytes[place] ^= 4;
        });
    }),
    ("first page", |path| spoil(path, |bytes| fill(head(bytes)))),
    ("page in the middle", |path| {
        spoil(path, |bytes| {
            let middle = bytes.len() / 2;
            fill(head(&mut bytes[middle..]));
        });
    }),
];

fn head(bytes: &mut [u8]) -> &mut [u8] {
    let length = bytes.len().min(PAGE);
    &mut bytes[..length]
}

fn spoil(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn fill(bytes: &mut [u8]) {
    let garbage =
        std::iter::successors(Some(7_u32), |last| Some(last.wrapping_mul(1_664_525).wrapping_add(1)));
    bytes.iter_mut().zip(garbage).for_each(|(byte, number)| *byte = (number >> 24) as u8);
}

fn settings(on_damage: OnDamage) -> Settings {
    Settings { journal_bytes: 64 << 10, on_damage, expected: true, ..Settings::default() }
}

fn open(directory: &Path, on_damage: OnDamage) -> Result<SledBroker, Error> {
    SledBroker::open(directory, settings(on_damage), Entropy::seeded(1))
}

fn some_job(number: usize) -> NewJob {
    NewJob { payload: vec![number as u8; 1_000].into(), ..job(&number.to_string()) }
}

/// Creates a store with jobs in sled and in the commit log, in the state after a kill or a regular close.
async fn store(folder: &Path, killed: bool) -> PathBuf {
    let (alive, left) = (folder.join("alive"), folder.join("queue"));
    let fresh = Settings { expected: false, ..settings(OnDamage::Refuse) };
    let broker = SledBroker::open(&alive, fresh, Entropy::seeded(0)).unwrap();
    for first in (0..JOBS).step_by(COMMIT) {
        let jobs: Vec<_> = (first..first + COMMIT).map(some_job).collect();
        broker.enqueue(&jobs, at(0)).await.unwrap();
    }
    if killed {
        copy(&alive, &left);
        broker.close().await.unwrap();
    } else {
        broker.close().await.unwrap();
        copy(&alive, &left);
    }
    left
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Claims jobs until none has come for a while; returns true if every job was intact, and false if the store was
/// replaced. The last commit may be missing: damage to it looks like a power cut during the write.
async fn is_whole(broker: &SledBroker) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut quiet = 0;
    while quiet < 20 {
        if broker.renewals() > 0 {
            return false;
        }
        let claimed = broker.claim(&crate::queue::conformance::wish(&[("q", 1)], 50), at(1)).await;
        let claimed = claimed.unwrap_or_default();
        quiet = if claimed.is_empty() { quiet + 1 } else { 0 };
        for lease in claimed {
            let number: usize = lease.id.job.as_str().parse().unwrap();
            assert_eq!(lease.payload, some_job(number).payload);
            seen.insert(number);
        }
        if seen.len() == JOBS {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = (0..JOBS - COMMIT).all(|number| seen.contains(&number));
    assert!(first, "{} jobs of {JOBS} are there, and the store was not begun anew", seen.len());
    true
}

async fn outlives(folder: &TempDir, what: &str) {
    let directory = folder.path().join("queue");
    let nothing = fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none());
    let broker = open(&directory, OnDamage::Rebuild).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let whole = is_whole(&broker).await;
    let aside = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
    let aside =
        aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("queue.damaged-")).count();
    assert_eq!(aside, usize::from(!whole && !nothing), "{what}");
    let mut broker = broker;
    for round in 0..2 {
        let name = format!("after {round}");
        while broker.enqueue(&[job(&name)], at(2)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        broker.close().await.unwrap();
        drop(broker);
        broker = open(&directory, OnDamage::Refuse).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let waiting = claim(&broker, 2 * JOBS, at(3)).await;
        assert!(waiting.iter().any(|lease| lease.id.job.as_str() == name), "{what}");
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_damaged_is_noticed_and_the_queue_opens() {
    for killed in [false, true] {
        let folder = TempDir::new().unwrap();
        let left = store(folder.path(), killed).await;
        for (damage, apply) in DAMAGES {
            for file in files(&left) {
                let damaged = TempDir::new().unwrap();
                let directory = damaged.path().join("queue");
                copy(&left, &directory);
                let name = file.file_name().unwrap();
                apply(&directory.join(name));
                outlives(&damaged, &format!("{}: {damage}, killed: {killed}", name.display())).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_gone_together_are_noticed_and_the_queue_opens() {
    let folder = TempDir::new().unwrap();
    let left = store(folder.path(), true).await;
    let kept: [Kept; 4] = [
        ("the commit log alone", |name| name.starts_with("journal")),
        ("sled alone", |name| !name.starts_with("journal")),
        ("its settings alone", |name| name == "conf"),
        ("snapshots alone", |name| name.starts_with("snap")),
    ];
    for (what, is_kept) in kept {
        let damaged = TempDir::new().unwrap();
        let directory = damaged.path().join("queue");
        copy(&left, &directory);
        for file in files(&directory) {
            if !is_kept(&file.file_name().unwrap().to_string_lossy()) {
                fs::remove_file(file).unwrap();
            }
        }
        outlives(&damaged, what).await;
    }
    let damaged = TempDir::new().unwrap();
    fs::write(damaged.path().join("queue"), "a file").unwrap();
    outlives(&damaged, "a file in its place").await;
}

#[tokio::test]
async fn a_queue_that_is_gone_is_begun_anew_or_refused() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("queue");
    let refused = open(&directory, OnDamage::Refuse);
    assert!(matches!(refused, Err(Error::Damaged(_))), "{refused:?}");
    let broker = open(&directory, OnDamage::Rebuild).unwrap();
    assert_eq!(broker.renewals(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "there was nothing to be set aside");
}

/// A lease from the earlier store is invalid in the new one, although its number occurs there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_about_jobs_of_an_earlier_store_change_nothing() {
    let folder = TempDir::new().unwrap();
    let fresh = Settings { expected: false, ..settings(OnDamage::Rebuild) };
    let broker = SledBroker::open(&folder.path().join("queue"), fresh, Entropy::seeded(0)).unwrap();
    broker.enqueue(&[job("a")], at(0)).await.unwrap();
    let held = claim(&broker, 1, at(1)).await;
    broker.shared().report_failure(&Error::damaged("a test says so"));
    while broker.renewals() == 0 || broker.enqueue(&[job("a")], at(2)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.ack(&held[0].id, at(3)).await.unwrap();
    assert_eq!(claim(&broker, 9, at(4)).await.len(), 1, "the new one is not done");
}

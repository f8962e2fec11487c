//! The stories on sled, and what only sled can show.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use super::{Settings, SledBroker};
use crate::queue::conformance::{Fixture, at, claim, job, stories};
use crate::queue::{Broker, Error, NewJob};
use crate::runtime::entropy::Entropy;

struct Folder {
    directory: TempDir,
    broker: Option<SledBroker>,
    /// Another for each time it is opened.
    seed: u64,
}

fn open(directory: &Path, seed: u64) -> SledBroker {
    SledBroker::open(directory, Settings::default(), Entropy::seeded(seed)).unwrap()
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

    async fn restart(&mut self) {
        let broker = self.broker.take().expect("it is open between calls");
        broker.close().await.unwrap();
        assert!(matches!(broker.enqueue(&[job("late")], at(0)).await, Err(Error::Closed)));
        drop(broker);
        self.reopen();
    }

    /// The files as they are while the broker runs are what a kill leaves behind.
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

#[tokio::test]
async fn large_jobs_stay_inside_the_log() {
    let folder = Folder::new();
    for batch in 0..40 {
        let jobs = (0..10).map(|number| {
            let name = format!("{batch}-{number}");
            NewJob { payload: vec![batch; 50_000].into(), ..job(&name) }
        });
        folder.broker().enqueue(&jobs.collect::<Vec<_>>(), at(0)).await.unwrap();
    }
    let blobs = std::fs::read_dir(folder.directory.path().join("blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0, "sled does not sync blobs");
    assert_eq!(claim(folder.broker(), 1_000, at(1)).await.len(), 400);
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

//! The recorded workload. It prints each request and each acknowledgement in a separate write, so that the recording
//! shows their order relative to the writes of the stores.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use entityd::coordinator::{Coordinator, NewProject, Rules};
use entityd::metadata::Sqlite;
use entityd::model::ResultType;
use entityd::queue::sled::{Settings, SledBroker};
use entityd::queue::{Broker, Claim, NewJob, Share};
use entityd::runtime::clock::Clock;
use entityd::runtime::entropy::Entropy;
use entityd::system::identity::Identity;
use entityd::system::sqlite::{Losses, Owner};

pub(super) const FOLDER: &str = "ENTITYD_TEST_POWERCUT_FOLDER";
pub(super) const PART: &str = "ENTITYD_TEST_POWERCUT_PART";
/// The name of the file to which requests and acknowledgements are printed.
pub(super) const LOG: &str = "promises";
/// The number of calls whose syncs are counted.
pub(super) const CALLS: usize = 40;
/// The group-commit delay while syncs are counted, long enough that a slow machine does not change the count.
const GROUP_COMMIT_DELAY: Duration = Duration::from_millis(50);

const CLIENTS: usize = 4;
const ROUNDS: usize = 700;
const BACKLOG_ROUNDS: usize = 100;

/// The stores of the workload.
pub(super) struct Shelves {
    pub(super) broker: Arc<SledBroker>,
    pub(super) coordinator: Coordinator,
    pub(super) clock: Clock,
}

/// Opens the stores, with files so small that they are overwritten often.
pub(super) fn open(data: &Path) -> Result<Shelves, Box<dyn std::error::Error>> {
    open_with(data, Settings::default())
}

fn open_with(data: &Path, settings: Settings) -> Result<Shelves, Box<dyn std::error::Error>> {
    let settings = Settings { journal_bytes: 64 << 10, segment_bytes: 512 << 10, ..settings };
    let identity = Identity::parse(&"0f".repeat(16)).expect("these are 32 digits");
    // No loss is accepted: the state after a power cut must never count as one.
    let owner = Owner {
        identity,
        made: false,
        accepted: Losses::default(),
        companion: None,
        take_over: None,
        known: Arc::default(),
    };
    let store = Sqlite::open_owned(&data.join("metadata.db"), &owner)?;
    let broker = Arc::new(SledBroker::open(&data.join("queue"), settings, Entropy::system())?);
    let rules = Rules {
        min_encoding_bytes: 8,
        max_encoding_bytes: 1024,
        run_pairs_max: 1_000,
        solver_pairs_max: 1_000,
        comparisons_per_job: None,
        small_work_at_once: true,
        upkeep: entityd::coordinator::Upkeep::default(),
    };
    let shelf: Arc<dyn Broker> = broker.clone();
    let clock = Clock::system();
    let coordinator = Coordinator::new(Arc::new(store), shelf, clock.clone(), Entropy::system(), rules);
    Ok(Shelves { broker, coordinator, clock })
}

/// Returns the payload of a job.
pub(super) fn payload(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(40 + name.len() * 8).collect()
}

#[test]
#[ignore = "the tests beside it run and record it"]
fn workload() {
    let folder = PathBuf::from(std::env::var(FOLDER).expect("the tests beside it set the folder"));
    let log = File::options().create(true).append(true).open(folder.join(LOG)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let count = std::env::var(PART).as_deref() == Ok("syncs");
        let group_commit_delay =
            if count { GROUP_COMMIT_DELAY } else { Settings::default().group_commit_delay };
        let settings = Settings { group_commit_delay, ..Settings::default() };
        let work = Arc::new(Work { shelves: open_with(&folder.join("data"), settings).unwrap(), log });
        if count {
            work.count().await;
        } else {
            work.mix().await;
        }
    });
}

struct Work {
    shelves: Shelves,
    log: File,
}

impl Work {
    fn say(&self, words: &str) {
        (&self.log).write_all(format!("{words}\n").as_bytes()).unwrap();
    }

    /// Enqueues single jobs, first one after another, then concurrently.
    async fn count(self: Arc<Self>) {
        self.say("alone");
        for number in 0..CALLS {
            self.enqueue(&[format!("alone-{number}")]).await;
        }
        self.say("together");
        let calls = (0..CALLS).map(|number| {
            let work = Arc::clone(&self);
            async move { work.enqueue(&[format!("together-{number}")]).await }
        });
        futures::future::join_all(calls).await;
        self.say("done");
    }

    /// Enqueues and finishes jobs, and creates projects, concurrently.
    async fn mix(self: Arc<Self>) {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(Arc::clone(&self).come_and_go(client));
        }
        clients.spawn(Arc::clone(&self).make_projects());
        clients.join_all().await;
    }

    async fn come_and_go(self: Arc<Self>, client: usize) {
        for round in 0..ROUNDS {
            let jobs = (0..=round % 10).map(|number| format!("{client}-{round}-{number}"));
            self.enqueue(&jobs.collect::<Vec<_>>()).await;
            // In the first rounds no job is finished, so that jobs wait long enough to be written into sled.
            if round > BACKLOG_ROUNDS {
                self.finish(1 + (round + 3) % 10).await;
            }
        }
    }

    async fn enqueue(&self, names: &[String]) {
        for name in names {
            self.say(&format!("enqueueing {name}"));
        }
        let job = |name: &String| NewJob::new(name.as_str(), "q", &name[..1], payload(name));
        let jobs: Vec<_> = names.iter().map(job).collect();
        self.shelves.broker.enqueue(&jobs, self.shelves.clock.now()).await.unwrap();
        for name in names {
            self.say(&format!("enqueued {name}"));
        }
    }

    async fn finish(&self, count: usize) {
        let queues = vec![Share { queue: "q".into(), weight: NonZeroU32::MIN }];
        let claim =
            Claim { queues, count, lease: Duration::from_mins(10), wait: Duration::ZERO, for_guest: false };
        let (broker, clock) = (&self.shelves.broker, &self.shelves.clock);
        let leases = broker.claim(&claim, clock.now()).await.unwrap();
        for lease in &leases {
            self.say(&format!("finishing {}", lease.id.job));
        }
        let names: Vec<_> = leases.iter().map(|lease| lease.id.job.clone()).collect();
        let ids: Vec<_> = leases.into_iter().map(|lease| lease.id).collect();
        broker.ack_all(&ids, clock.now()).await.unwrap();
        for name in names {
            self.say(&format!("finished {name}"));
        }
    }

    async fn make_projects(self: Arc<Self>) {
        for number in 0..60 {
            let new =
                NewProject { name: format!("project {number}"), ..NewProject::plain(ResultType::Groups) };
            self.say("creating");
            let created = self.shelves.coordinator.create_project(new).await.unwrap();
            self.say(&format!("created {}", created.id));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

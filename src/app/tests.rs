//! Tests of both sources of jobs: the coordinator, and a client of the worker listener.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use linkage::similarity::Kernel;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{Assignment, Coordinator, NewProject, Rules};
use crate::external::ClientFiles;
use crate::http::workers::{JoinTokens, NodeReport, Nodes as AllNodes, Parts, WorkerRegistry, routes};
use crate::metadata::commons::Node;
use crate::metadata::{Runs, Sqlite};
use crate::model::{Contents, Dataset, Outcome, ProjectId, ResultType, Task, Upload};
use crate::objects::{Key, Objects, keys};
use crate::queue::sled::{Settings, SledBroker};
use crate::queue::{Backoff, Broker, Claim, Heartbeat, LeaseId, Progress, Pulse, Share};
use crate::runtime::clock::{Clock, Stopwatch, Timestamp};
use crate::runtime::compute::Pool;
use crate::runtime::entropy::Entropy;
use crate::system::secret;
use crate::worker::protocol::{Hello, VERSION};
use crate::worker::remote::{JoinSettings, Nodes, RemoteStore};
use crate::worker::{self, JobSource, Worker};

/// A service with embedded stores. Its own worker serves only the queue for maintenance.
struct Service {
    folder: TempDir,
    coordinator: Coordinator,
    objects: Objects,
    parts: Option<Parts>,
    token: String,
}

impl Service {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (entropy, clock) = (Entropy::system(), Clock::system());
        let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
        let settings = Settings { backoff, ..Settings::default() };
        let broker: Arc<dyn Broker> =
            Arc::new(SledBroker::open(&path("queue"), settings, entropy.clone()).unwrap());
        let store = Arc::new(Sqlite::open(&path("metadata.db")).unwrap());
        let rules = Rules { solver_pairs_max: 50, ..Rules::of_tests(100) };
        let coordinator = Coordinator::new(store, Arc::clone(&broker), clock.clone(), entropy.clone(), rules);
        let pumping = coordinator.clone();
        tokio::spawn(async move { pumping.pump(CancellationToken::new()).await });
        let objects = Objects::open(&path("objects"), &path("spool")).unwrap();
        let lease = Duration::from_secs(30);
        let work = worker::Settings {
            lease,
            drain_timeout: lease,
            job_deadline: lease,
            objects_wait: lease,
            copies_every: Duration::from_hours(1),
            queue_slots: "maintenance=1".parse().unwrap(),
            memory_bytes: 1 << 30,
            disk: folder.path().to_owned(),
            kernel: Kernel::best(),
            pairs: linkage::pairs::Version::Dense,
            client_files: ClientFiles::default(),
        };
        let worker = Worker::start(coordinator.clone(), objects.clone(), Pool::new(1).unwrap(), work);
        let tokens = JoinTokens::open(folder.path(), None, &entropy).unwrap();
        let token = tokens.issue(Duration::ZERO, None).await.unwrap().reveal().to_string();
        let node = Node {
            node: "0".repeat(32),
            role: "api".to_owned(),
            name: "here".to_owned(),
            version: String::new(),
            queues: String::new(),
            threads: 0,
            jobs: 0,
        };
        let own = NodeReport {
            node: "0".repeat(32),
            name: "here".to_owned(),
            role: "api".to_owned(),
            state: "joined",
            version: String::new(),
            queues: String::new(),
            threads: 0,
            jobs: 0,
            joined: Timestamp::default(),
            heard_ms: 0,
        };
        let parts = Parts {
            coordinator: coordinator.clone(),
            broker,
            clock: clock.clone(),
            objects: objects.clone(),
            uploads: None,
            guests: worker.guests(),
            tokens,
            nodes: AllNodes::new(WorkerRegistry::new(own, clock, lease), node, None),
            settings: BTreeMap::new(),
            pairs: linkage::pairs::Version::Dense,
            lease,
            stop: CancellationToken::new(),
        };
        Self { folder, coordinator, objects, parts: Some(parts), token }
    }

    /// Opens the worker listener, and joins it.
    async fn join(&mut self) -> (Nodes, impl JobSource + use<>, Objects) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = routes(self.parts.take().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let token_file = self.folder.path().join("token");
        secret::write(&token_file, &self.token).unwrap();
        let hello = Hello {
            protocol: VERSION,
            version: String::new(),
            node: "1".repeat(32),
            name: "there".to_owned(),
            queues: String::new(),
            threads: 1,
            settings: BTreeMap::new(),
        };
        crate::edge::tls::install_provider();
        // Nothing listens at the first address.
        let urls = vec!["http://127.0.0.1:9".parse().unwrap(), url];
        let join = JoinSettings { urls, token_file, authorities: None };
        let nodes = Nodes::new(join, hello, Entropy::system()).unwrap();
        let (source, store, _) = RemoteStore::join(&nodes);
        let objects = Objects::over(Arc::new(store), &self.folder.path().join("remote"), None).unwrap();
        (nodes, source, objects)
    }

    /// Returns a project with an upload that must be ingested.
    async fn upload(&self) -> (ProjectId, Upload) {
        let new = NewProject::plain(ResultType::Groups);
        let project = self.coordinator.create_project(new).await.unwrap().id;
        let upload = self.coordinator.begin_upload(project, 0).await.unwrap();
        put(&self.objects, &keys::matrix(project, 0, upload), &[7; 80]).await;
        let upload = Upload { upload, records: 10, encoding_bytes: 8, blocks: false };
        self.coordinator.accept_upload(project, 0, upload.clone()).await.unwrap();
        (project, upload)
    }
}

async fn put(objects: &Objects, key: &Key, bytes: &[u8]) {
    let mut staged = objects.stage();
    staged.write_all(bytes).unwrap();
    staged.publish(key).await.unwrap();
}

fn claim(wait: Duration) -> Claim {
    let share = Share { queue: "ingest".into(), weight: NonZeroU32::MIN };
    Claim { queues: vec![share], count: 1, lease: Duration::from_secs(30), wait, for_guest: false }
}

async fn claimed(source: &impl JobSource) -> Assignment {
    for _ in 0..100 {
        let found = source.claim(&claim(Duration::from_millis(500))).await.unwrap();
        if let Some(assignment) = found.into_iter().next() {
            return assignment;
        }
    }
    panic!("there is a job");
}

async fn pulse(source: &impl JobSource, lease: &LeaseId) -> Pulse {
    let beat = Heartbeat { lease: lease.clone(), progress: Progress { done: 1, total: 2 } };
    source.heartbeat(&[beat]).await.unwrap()[0]
}

/// Checks the contract of a source of jobs. `objects` is the object store that its jobs use.
async fn conforms(service: &Service, source: &impl JobSource, objects: &Objects) {
    let watch = Stopwatch::start();
    assert!(source.claim(&claim(Duration::from_millis(200))).await.unwrap().is_empty());
    assert!(watch.elapsed() >= Duration::from_millis(150), "a claim waits");

    let (project, upload) = service.upload().await;
    let first = claimed(source).await;
    assert_eq!((first.job.project, first.lease.attempt), (project, 1));
    assert_eq!(first.job.task, Task::Ingest { party: 0, upload: upload.clone() });
    assert!(source.claim(&claim(Duration::from_millis(50))).await.unwrap().is_empty(), "it is held");
    assert!(matches!(pulse(source, &first.lease.id).await, Pulse::Continue { .. }));

    source.release(std::slice::from_ref(&first)).await.unwrap();
    let again = claimed(source).await;
    assert_eq!(again.lease.attempt, 1, "a release uses no attempt");
    assert_ne!(again.lease.id, first.lease.id);
    assert_eq!(pulse(source, &first.lease.id).await, Pulse::Lost);

    source.failed(&again, "for a reason").await.unwrap();
    let second = claimed(source).await;
    assert_eq!(second.lease.attempt, 2);

    let read = objects.blob(&keys::matrix(project, 0, upload.upload)).await.unwrap();
    assert_eq!(&*read, [7; 80]);
    let index = keys::index(project, 0, upload.upload);
    assert!(!objects.exists(&index).await.unwrap());
    put(objects, &index, b"an index").await;
    put(objects, &index, b"another!").await;
    assert_eq!(&*service.objects.blob(&index).await.unwrap(), b"an index", "an object stays as it was made");

    let dataset = Dataset { upload: upload.upload, records: 10, encoding_bytes: 8, blocks: 1 };
    for _ in 0..2 {
        source.report(&second, Outcome::Ingested(dataset.clone())).await.unwrap();
    }
    let state = service.coordinator.project(project, Runs::None).await.unwrap().unwrap();
    assert_eq!(state.parties[0].contents, Contents::Ready(dataset));
    assert_eq!(pulse(source, &second.lease.id).await, Pulse::Lost);
    source.forget(&second.lease.id);

    let (gone, _) = service.upload().await;
    let unwanted = claimed(source).await;
    service.coordinator.delete_project(gone).await.unwrap();
    let stopped = async {
        while matches!(pulse(source, &unwanted.lease.id).await, Pulse::Continue { .. }) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stopped).await.expect("the job is stopped");
    let late = Outcome::Rejected { message: "late".to_owned() };
    source.report(&unwanted, late).await.unwrap();
    source.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_is_a_source_of_jobs() {
    let service = Service::start().await;
    conforms(&service, &service.coordinator.clone(), &service.objects.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_the_worker_listener() {
    let mut service = Service::start().await;
    let (nodes, source, objects) = service.join().await;
    assert_eq!(nodes.join(Duration::from_secs(5)).await.unwrap().protocol, VERSION);
    conforms(&service, &source, &objects).await;
    assert!(nodes.silence().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_travel_in_parts() {
    let mut service = Service::start().await;
    let (_, source, objects) = service.join().await;
    let (project, upload) = service.upload().await;
    let held = claimed(&source).await;
    let index = keys::index(project, 0, upload.upload);
    let bytes: Vec<u8> = (0..20_000_003_u32).map(|at| (at % 251) as u8).collect();
    put(&objects, &index, &bytes).await;
    assert!(*service.objects.blob(&index).await.unwrap() == bytes[..]);
    assert!(*objects.blob(&index).await.unwrap() == bytes[..]);
    let middle = objects.range(&index, 8_388_600..16_777_300).await.unwrap();
    let middle: Vec<_> = futures::TryStreamExt::try_collect(middle).await.unwrap();
    assert!(middle.concat() == bytes[8_388_600..16_777_300]);
    let other = keys::index(project, 1, upload.upload);
    assert!(objects.blob(&other).await.is_err(), "no job is about it");
    source.release(&[held]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_given_up_loses_no_job() {
    let mut service = Service::start().await;
    let (_, source, _) = service.join().await;
    for _ in 0..3 {
        let long = claim(Duration::from_secs(20));
        let given_up = source.claim(&long);
        assert!(tokio::time::timeout(Duration::from_millis(50), given_up).await.is_err());
    }
    service.upload().await;
    let watch = Stopwatch::start();
    let assignment = claimed(&source).await;
    assert!(watch.elapsed() < Duration::from_secs(25), "no lease had to expire: {:?}", watch.elapsed());
    assert!(matches!(pulse(&source, &assignment.lease.id).await, Pulse::Continue { .. }));
}

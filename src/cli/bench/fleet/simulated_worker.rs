//! Workers that claim and report as real ones do, and sleep instead of comparing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api_node::{Entrance, LEASE};
use super::meter::Meter;
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::coordinator::Assignment;
use crate::model::{Dataset, Job, Outcome, Summary, Task};
use crate::objects::{Key, keys};
use crate::queue::{Claim, Heartbeat, Progress, Pulse};
use crate::runtime::clock::{Clock, Stopwatch};
use crate::runtime::entropy::Entropy;
use crate::worker::protocol::{Hello, VERSION};
use crate::worker::remote::{JoinSettings, Nodes, RemoteSource, RemoteStore};
use crate::worker::{JobSource, weight_of};

/// The maximum wait of a claim, as in a real worker.
const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// The time for which a worker tries to join.
const JOIN_FOR: Duration = Duration::from_secs(30);
/// The number of comparisons in a part, which has no effect.
const COMPARISONS: u64 = 150_000_000;
/// The queues that workers serve.
const QUEUES: [&str; 3] = ["ingest", "compute", "highmemory"];

/// The properties of all workers.
#[derive(Clone)]
pub(super) struct Fleet {
    pub(super) api_node: Entrance,
    pub(super) meter: Arc<Meter>,
    pub(super) job: Duration,
    pub(super) at_once: usize,
    pub(super) pairs: Bytes,
    pub(super) seed: u64,
}

struct SimulatedWorker {
    fleet: Fleet,
    source: RemoteSource,
    store: Arc<dyn ObjectStore>,
    /// The computing threads, each of which one job has at a time.
    cores: Semaphore,
    entropy: Entropy,
    clock: Clock,
}

impl Fleet {
    /// Starts workers, which run until `stop`. Returns when all have joined.
    pub(super) async fn join(
        &self,
        count: usize,
        stop: &CancellationToken,
    ) -> Result<JoinSet<Result<(), String>>, Failure> {
        crate::edge::tls::install_provider();
        let mut workers = JoinSet::new();
        for number in 0..count {
            let worker = Arc::new(self.worker(number).await?);
            workers.spawn(worker.serve(stop.clone()));
        }
        Ok(workers)
    }

    async fn worker(&self, number: usize) -> Result<SimulatedWorker, Failure> {
        let entropy = Entropy::seeded(self.seed.wrapping_add(number as u64));
        let hello = Hello {
            protocol: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: hex::encode(Entropy::system().bytes::<16>()),
            name: format!("worker-{number}"),
            queues: QUEUES.join(","),
            threads: self.at_once,
            settings: BTreeMap::new(),
        };
        let url = format!("http://{}", self.api_node.address).parse().expect("it is a URL");
        let token_file = self.api_node.token_file.clone();
        let settings = JoinSettings { urls: vec![url], token_file, authorities: None };
        let nodes = Nodes::new(settings, hello, Entropy::system()).or_fail()?;
        nodes.join(JOIN_FOR).await.or_fail()?;
        let (source, store, _) = RemoteStore::join(&nodes);
        let store: Arc<dyn ObjectStore> = match &self.api_node.bucket {
            Some(bucket) => Arc::clone(bucket) as Arc<_>,
            None => Arc::new(store),
        };
        let cores = Semaphore::new(self.at_once);
        Ok(SimulatedWorker { fleet: self.clone(), source, store, cores, entropy, clock: Clock::system() })
    }
}

impl SimulatedWorker {
    /// Claims a job for each free slot until `stop`.
    async fn serve(self: Arc<Self>, stop: CancellationToken) -> Result<(), String> {
        // A job more than are computed: it is claimed while others are reported.
        let slots = Arc::new(Semaphore::new(self.fleet.at_once + 1));
        let mut jobs = JoinSet::new();
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = self.claim(&slots) => taken?,
            };
            for (assignment, permit) in taken {
                let worker = Arc::clone(&self);
                jobs.spawn(async move { worker.run(assignment, permit).await });
            }
            while let Some(ended) = jobs.try_join_next() {
                ended.map_err(|error| error.to_string())??;
            }
        }
        self.source.close().await;
        Ok(())
    }

    async fn claim(&self, slots: &Arc<Semaphore>) -> Result<Vec<(Assignment, OwnedSemaphorePermit)>, String> {
        let free = slots.available_permits().clamp(1, self.source.claims_at_once());
        let permits = Arc::clone(slots).acquire_many_owned(free as u32).await;
        let mut permits = permits.map_err(|error| error.to_string())?;
        let share = |queue: &str| {
            let weight = weight_of(queue).expect("it is a queue");
            crate::queue::Share { queue: queue.into(), weight }
        };
        let queues = QUEUES.iter().map(|queue| share(queue)).collect();
        let claim = Claim { queues, count: free, lease: LEASE, wait: CLAIM_WAIT, for_guest: false };
        let watch = Stopwatch::start();
        let found = self.source.claim(&claim).await.map_err(|error| error.to_string())?;
        if !found.is_empty() {
            self.fleet.meter.claimed(watch.elapsed());
        }
        let now = self.clock.steady();
        let mut taken = Vec::with_capacity(found.len());
        for assignment in found {
            self.fleet.meter.waited(now.since(assignment.lease.ready));
            // A claim that was overtaken may bring jobs of an earlier one.
            let permit = permits.split(1).ok_or("a claim brought too many jobs")?;
            taken.push((assignment, permit));
        }
        Ok(taken)
    }

    /// Runs a job in the steps of a real worker: a heartbeat, the work, the objects, the report.
    async fn run(&self, assignment: Assignment, permit: OwnedSemaphorePermit) -> Result<(), String> {
        let lease = &assignment.lease.id;
        let beat = Heartbeat { lease: lease.clone(), progress: Progress::default() };
        let pulses = self.source.heartbeat(&[beat]).await.map_err(|error| error.to_string())?;
        if matches!(pulses.first(), Some(Pulse::Continue { .. })) {
            let busy = self.work(&assignment.job).await?;
            let (outcome, key) = self.outcome(&assignment.job)?;
            let bytes = if busy.is_zero() { Bytes::from_static(b"{}") } else { self.fleet.pairs.clone() };
            self.store.put(&key.as_str().into(), bytes.into()).await.map_err(|error| error.to_string())?;
            let watch = Stopwatch::start();
            self.source.report(&assignment, outcome).await.map_err(|error| error.to_string())?;
            if !busy.is_zero() {
                self.fleet.meter.reported(busy, watch.elapsed());
            }
        }
        self.source.forget(lease);
        drop(permit);
        Ok(())
    }

    /// Sleeps for the time of a comparison. Other jobs take no time.
    async fn work(&self, job: &Job) -> Result<Duration, String> {
        let Task::Compare { .. } = &job.task else { return Ok(Duration::ZERO) };
        let _core = self.cores.acquire().await.map_err(|error| error.to_string())?;
        let [byte] = self.entropy.bytes::<1>();
        let time = self.fleet.job.mul_f64(0.9 + 0.2 * f64::from(byte) / 255.0);
        tokio::time::sleep(time).await;
        Ok(time)
    }

    /// Returns the outcome of a job, and the key of the object that it makes.
    fn outcome(&self, job: &Job) -> Result<(Outcome, Key), String> {
        let project = job.project;
        match &job.task {
            Task::Ingest { party, upload } => {
                let (records, encoding_bytes) = (upload.records, upload.encoding_bytes);
                let dataset = Dataset { upload: upload.upload, records, encoding_bytes, blocks: 1 };
                Ok((Outcome::Ingested(dataset), keys::index(project, *party, upload.upload)))
            }
            Task::Plan { run, .. } => {
                let planned = self.fleet.api_node.plans.lock().get(&project).copied();
                let parts = planned.ok_or("a plan of an unknown project")?;
                let comparisons = u64::from(parts) * COMPARISONS;
                let outcome = Outcome::Planned { parts, comparisons, largest_blocks: Vec::new() };
                Ok((outcome, keys::plan(project, *run)))
            }
            Task::Compare { run, part, .. } => {
                let pairs = self.fleet.pairs.len() as u64 / 24;
                let outcome = Outcome::Compared { comparisons: COMPARISONS, pairs };
                Ok((outcome, keys::pairs(project, *run, *part)))
            }
            Task::Finalize { run, .. } => {
                Ok((Outcome::Finalized(Summary::default()), keys::groups(project, *run)))
            }
            Task::Fetch { .. } | Task::Chore { .. } | Task::Purge(_) => {
                Err(format!("a worker got a job of kind {}", job.task.kind()))
            }
        }
    }
}

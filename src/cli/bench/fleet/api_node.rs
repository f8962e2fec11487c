//! An API node: its stores, its worker listener behind a simulated network, and its projects with runs.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::body::Body;
use linkage::similarity::Kernel;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::meter::Meter;
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::coordinator::{Coordinator, NewProject, NewRun, Rules, Upkeep};
use crate::edge::{self, ConnectionLimiter, ListenerConfig, ProxyHeader, Timeouts, TrustedProxies};
use crate::external::ClientFiles;
use crate::http::refuse;
use crate::http::workers::{JoinTokens, NodeReport, Nodes, Parts, WorkerRegistry, routes};
use crate::metadata::commons::Node;
use crate::metadata::{Runs, Store};
use crate::model::{ProjectId, ResultType, RunId, RunState, Threshold, Upload};
use crate::objects::Objects;
use crate::queue::Broker;
use crate::runtime::clock::{Clock, Stopwatch, Timestamp};
use crate::runtime::compute::Pool;
use crate::runtime::entropy::Entropy;
use crate::system::secret;
use crate::worker::{self, Worker};

/// The length of a lease, as in the settings of `serve`.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// The maximum number of pairs, which no run of a benchmark reaches.
const PAIRS_MAX: u64 = u64::MAX;
/// The maximum number of connections.
const CONNECTIONS_MAX: usize = 100_000;
/// The interval at which the states of the runs are read.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The time without a finished job after which the benchmark fails.
const STANDSTILL: Duration = Duration::from_mins(2);

/// The stores that are measured.
pub(super) struct Stores {
    pub(super) store: Arc<dyn Store>,
    pub(super) broker: Arc<dyn Broker>,
}

/// The network between workers and the API node: delays every request and every answer.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) seed: u64,
    pub(super) meter: Arc<Meter>,
}

/// The address and the token with which workers join, and what they share with the API node.
#[derive(Clone)]
pub(super) struct Entrance {
    pub(super) address: SocketAddr,
    pub(super) token_file: PathBuf,
    /// The bucket to which workers write themselves; `None` if they write through the API node.
    pub(super) bucket: Option<Arc<InMemory>>,
    /// The number of parts into which the run of each project is planned.
    pub(super) plans: Arc<Mutex<HashMap<ProjectId, u32>>>,
}

/// A running API node.
pub(super) struct ApiNode {
    coordinator: Coordinator,
    broker: Arc<dyn Broker>,
    worker: Worker,
    entrance: Entrance,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl ApiNode {
    pub(super) async fn start(
        stores: Stores,
        folder: &Path,
        keeps_objects: bool,
        network: Network,
    ) -> Result<Self, Failure> {
        let (entropy, clock, stop) = (Entropy::system(), Clock::system(), CancellationToken::new());
        let Stores { store, broker } = stores;
        let rules = Rules {
            min_encoding_bytes: 8,
            max_encoding_bytes: 1024,
            run_pairs_max: PAIRS_MAX,
            solver_pairs_max: PAIRS_MAX,
            comparisons_per_job: None,
            small_work_at_once: false,
            upkeep: Upkeep::default(),
        };
        let coordinator = Coordinator::new(store, Arc::clone(&broker), clock.clone(), entropy.clone(), rules);
        let (pumping, stopped) = (coordinator.clone(), stop.clone());
        let pump = tokio::spawn(async move { pumping.pump(stopped).await });
        let bucket = (!keeps_objects).then(|| Arc::new(InMemory::new()));
        let staging = folder.join("spool");
        let objects = match &bucket {
            Some(bucket) => Objects::over(Arc::clone(bucket) as Arc<_>, &staging, None),
            None => Objects::open(&folder.join("objects"), &staging),
        };
        let objects = objects.or_fail()?;
        let pool = Pool::new(1).map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
        let worker = Worker::start(coordinator.clone(), objects.clone(), pool, own_work(folder));
        let tokens = JoinTokens::open(folder, None, &entropy).or_fail()?;
        let token = tokens.issue(Duration::ZERO, None).await.or_fail()?;
        let token_file = folder.join("join-token");
        secret::write(&token_file, &token.reveal()).or_fail()?;
        let router = routes(Parts {
            coordinator: coordinator.clone(),
            broker: Arc::clone(&broker),
            clock: clock.clone(),
            objects,
            uploads: None,
            guests: worker.guests(),
            tokens,
            nodes: nodes(clock),
            settings: BTreeMap::new(),
            pairs: linkage::pairs::Version::Dense,
            lease: LEASE,
            stop: stop.clone(),
        });
        let delays = Delays { network: network.clone(), entropy: Entropy::seeded(network.seed) };
        let router = router.layer(from_fn_with_state(Arc::new(delays), delayed));
        let listener = TcpListener::bind("127.0.0.1:0").await.or_fail()?;
        let address = listener.local_addr().or_fail()?;
        let serving = edge::serve(listener, router, listener_config(entropy), stop.clone(), Duration::ZERO);
        let tasks = vec![pump, tokio::spawn(serving)];
        let entrance = Entrance { address, token_file, bucket, plans: Arc::default() };
        Ok(Self { coordinator, broker, worker, entrance, stop, tasks })
    }

    pub(super) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Creates a project with a run for each of `parts`, and waits until all runs have completed. Returns the seconds.
    pub(super) async fn complete(&self, parts: &[u32], meter: &Meter) -> Result<f64, Failure> {
        let watch = Stopwatch::start();
        let mut runs = Vec::with_capacity(parts.len());
        for parts in parts {
            runs.push(self.post(*parts).await?);
        }
        let (mut progress, mut latest) = (0, Stopwatch::start());
        while let Some((project, run)) = runs.last().copied() {
            let state = self.coordinator.project(project, Runs::One(run)).await.or_fail()?;
            match state.as_ref().and_then(|state| state.run(run)).map(|run| run.state.clone()) {
                Some(RunState::Completed(_)) => {
                    runs.pop();
                    continue;
                }
                Some(RunState::Failed { message, .. }) => {
                    return Err(Failure::Failed(format!("a run failed: {message}")));
                }
                _ => {}
            }
            if meter.jobs() > progress {
                (progress, latest) = (meter.jobs(), Stopwatch::start());
            }
            if latest.elapsed() > STANDSTILL {
                return Err(Failure::Failed(format!(
                    "no job was finished for {} s; {progress} are done",
                    STANDSTILL.as_secs()
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(watch.seconds())
    }

    /// Creates a project of two parties with a run that will be planned into `parts` parts.
    async fn post(&self, parts: u32) -> Result<(ProjectId, RunId), Failure> {
        let new = NewProject::plain(ResultType::Groups);
        let project = self.coordinator.create_project(new).await.or_fail()?.id;
        self.entrance.plans.lock().insert(project, parts);
        for party in 0..2 {
            let upload = self.coordinator.begin_upload(project, party).await.or_fail()?;
            let upload = Upload { upload, records: 1_000, encoding_bytes: 128, blocks: false };
            self.coordinator.accept_upload(project, party, upload).await.or_fail()?;
        }
        let new = NewRun {
            name: String::new(),
            notes: String::new(),
            threshold: Threshold::new(0.8).expect("it is between 0 and 1"),
            with_scores: false,
        };
        let run = self.coordinator.post_run(project, new).await.or_fail()?;
        Ok((project, run.id))
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.worker.drain().await;
        for task in self.tasks {
            task.await.or_fail()?;
        }
        self.broker.close().await.or_fail()?;
        self.coordinator.close().await.or_fail()
    }
}

/// Returns the settings of the API node's own worker, which only removes objects.
fn own_work(folder: &Path) -> worker::Settings {
    worker::Settings {
        lease: LEASE,
        drain_timeout: LEASE,
        job_deadline: Duration::from_hours(1),
        objects_wait: LEASE,
        copies_every: Duration::from_hours(1),
        queue_slots: "maintenance=1".parse().expect("it names a queue"),
        memory_bytes: 1 << 30,
        disk: folder.to_owned(),
        kernel: Kernel::best(),
        pairs: linkage::pairs::Version::Dense,
        client_files: ClientFiles::default(),
    }
}

fn nodes(clock: Clock) -> Nodes {
    let (id, role, name) = ("0".repeat(32), "api".to_owned(), "here".to_owned());
    let own = NodeReport {
        node: id.clone(),
        name: name.clone(),
        role: role.clone(),
        state: "joined",
        version: String::new(),
        queues: String::new(),
        threads: 0,
        jobs: 0,
        joined: Timestamp::default(),
        heard_ms: 0,
    };
    let node =
        Node { node: id, role, name, version: String::new(), queues: String::new(), threads: 0, jobs: 0 };
    Nodes::new(WorkerRegistry::new(own, clock, LEASE), node, None)
}

fn listener_config(entropy: Entropy) -> ListenerConfig {
    ListenerConfig {
        tls: None,
        connection_limiter: ConnectionLimiter::new(CONNECTIONS_MAX, CONNECTIONS_MAX),
        trusted_proxies: Arc::new(TrustedProxies::new(Vec::new(), ProxyHeader::XForwardedFor)),
        rate_limit: None,
        timeouts: Timeouts {
            header: Duration::from_secs(20),
            idle: Duration::from_mins(1),
            transfer: Duration::from_secs(20),
            rate_min: 0,
        },
        entropy,
        refuse,
    }
}

struct Delays {
    network: Network,
    entropy: Entropy,
}

impl Delays {
    async fn pass(&self) {
        let [byte] = self.entropy.bytes::<1>();
        let delay = self.network.latency + self.network.jitter.mul_f64(f64::from(byte) / 255.0);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}

/// Answers a request after the delay of the network, and sends the answer after another.
async fn delayed(State(delays): State<Arc<Delays>>, request: Request, next: Next) -> Response {
    delays.pass().await;
    let path = request.uri().path().to_owned();
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let response = next.run(request).await;
    let bytes = length.unwrap_or(0) + response.body().size_hint().exact().unwrap_or(0);
    delays.network.meter.answered(&path, bytes);
    delays.pass().await;
    response
}

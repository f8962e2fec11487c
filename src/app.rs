//! Builds the shelves, opens the doors, starts the hands, and drains.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Settings;
use crate::coordinator::{Coordinator, Rules};
use crate::metadata::Sqlite;
use crate::objects::Objects;
use crate::queue::Broker;
use crate::queue::sled::{Settings as QueueSettings, SledBroker};
use crate::runtime::clock::Clock;
use crate::runtime::compute::Pool;
use crate::runtime::data_dir::{self, DataDir};
use crate::runtime::entropy::Entropy;
use crate::worker::{self, Worker};
use crate::{coordinator, http, metadata, objects, queue, s3};

/// How long work that does not hear that it is to stop may go on at the very end.
const LAST_WORK: Duration = Duration::from_millis(500);

/// Why the server does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory is in use, foreign or not writable.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (--{setting})")]
    Listen {
        /// The setting that says so.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        cause: std::io::Error,
    },
    /// The metadata cannot be opened.
    #[error("cannot open the metadata in {}", path.display())]
    Metadata {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        #[source]
        cause: metadata::Error,
    },
    /// The objects cannot be opened.
    #[error("cannot open the objects")]
    Objects(#[from] objects::Error),
    /// The queue cannot be opened.
    #[error("cannot open the queue in {}", path.display())]
    Queue {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        #[source]
        cause: queue::Error,
    },
    /// What was left by the last process cannot be taken up.
    #[error("cannot take up what was left at the last stop")]
    Reconcile(#[source] coordinator::Error),
    /// The queue has stopped writing: nothing would be done any more.
    #[error("the queue has failed, and what was under way resumes at the next start")]
    QueueFailed(#[source] queue::Error),
    /// The operating system refuses threads or signals.
    #[error("the operating system refuses threads or signals")]
    System(#[from] std::io::Error),
}

/// A server at work. It goes on until [`Server::stop`].
pub struct Server {
    addresses: Addresses,
    threads: usize,
    data_dir: DataDir,
    broker: Arc<SledBroker>,
    worker: Worker,
    doors: TaskTracker,
    pump: TaskTracker,
    doors_stop: CancellationToken,
    pump_stop: CancellationToken,
}

/// Where a server listens.
#[derive(Clone, Copy)]
struct Addresses {
    api: SocketAddr,
    s3: SocketAddr,
    ops: SocketAddr,
}

/// Runs a server until SIGTERM or Ctrl-C, and then lets it drain. A second signal ends it at once.
///
/// # Errors
/// [`Error`], if it does not start.
pub fn run(settings: &Settings) -> Result<(), Error> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(until_signalled(settings));
    // Work that would not hear of it is cut off here; it resumes at the next start.
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// The threads that wait for the network and the disk. Every upload under way has one of the blocking ones for
/// itself, and there must be others for the metadata and the jobs.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let blocking = 2 * http::UPLOADS_MAX;
    tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(blocking).build()
}

async fn until_signalled(settings: &Settings) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = start(settings).await?;
    // Whoever started this may not be reading; that is no reason to stop.
    let _ = std::io::stdout().write_all(server.banner().to_string().as_bytes());
    let broker = Arc::clone(&server.broker);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        failure = broker.failed() => {
            server.stop().await;
            return Err(Error::QueueFailed(failure));
        }
    }
    tracing::info!("draining; a second signal stops at once");
    tokio::select! {
        () = server.stop() => tracing::info!("stopped"),
        _ = terminate.recv() => tracing::warn!("stopped at once; interrupted work resumes at the next start"),
        _ = interrupt.recv() => tracing::warn!("stopped at once; interrupted work resumes at the next start"),
    }
    Ok(())
}

/// Starts a server: takes the data directory, opens what is in it, takes up what was left, and opens the doors.
///
/// # Errors
/// [`Error`]; nothing is left running then.
pub async fn start(settings: &Settings) -> Result<Server, Error> {
    // What is stored is for this user's eyes, whichever library makes the file.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let data_dir = DataDir::open(&settings.data_dir)?;
    let api = listen("listen", settings.listen).await?;
    let s3 = listen("s3-listen", settings.s3_listen).await?;
    let ops = listen("ops-listen", settings.ops_listen).await?;
    let addresses = Addresses { api: api.local_addr()?, s3: s3.local_addr()?, ops: ops.local_addr()? };

    let pool = Pool::new(settings.worker_threads)?;
    let entropy = Entropy::system();
    let store = open_metadata(data_dir.path().join("metadata.db"))?;
    let objects = Objects::open(&data_dir.folder("objects")?, &data_dir.folder("spool")?)?;
    let broker = Arc::new(open_queue(&data_dir.folder("queue")?, entropy.clone())?);
    let shelf: Arc<dyn Broker> = broker.clone();
    let coordinator =
        Coordinator::new(Arc::new(store), shelf, Clock::system(), entropy.clone(), rules(settings));
    coordinator.reconcile().await.map_err(Error::Reconcile)?;

    tokio::spawn(remove_strays(coordinator.clone(), objects.clone()));

    let (doors_stop, pump_stop) = (CancellationToken::new(), CancellationToken::new());
    let (pump, doors) = (TaskTracker::new(), TaskTracker::new());
    let (pumping, stop) = (coordinator.clone(), pump_stop.clone());
    pump.spawn(async move { pumping.pump(stop).await });

    let drain = Duration::from_millis(settings.drain_timeout_ms);
    let lease = Duration::from_millis(settings.lease_ms);
    let threads = pool.threads();
    let work = worker::Settings { lease, drain_timeout: drain };
    let worker = Worker::start(coordinator.clone(), objects.clone(), pool, work);

    let state = http::State::new(coordinator, objects, entropy, http_settings(settings));
    let open = |listener: TcpListener, router: Router| {
        doors.spawn(http::serve(listener, router, doors_stop.clone(), drain));
    };
    open(api, http::api(state));
    open(s3, s3::closed());
    open(ops, http::ops());
    Ok(Server { addresses, threads, data_dir, broker, worker, doors, pump, doors_stop, pump_stop })
}

impl Server {
    /// Where the API is served.
    pub const fn api(&self) -> SocketAddr {
        self.addresses.api
    }

    /// What a person wants to know of a server that has just started.
    pub fn banner(&self) -> Banner<'_> {
        Banner(self)
    }

    /// Stops: the doors close and requests under way may finish, jobs are finished or handed back, and
    /// everything is written. What was interrupted resumes at the next start.
    pub async fn stop(self) {
        self.doors_stop.cancel();
        self.doors.close();
        tokio::join!(self.doors.wait(), self.worker.drain());
        self.pump_stop.cancel();
        self.pump.close();
        self.pump.wait().await;
        if let Err(error) = self.broker.close().await {
            tracing::error!("cannot close the queue: {error}");
        }
    }
}

/// What a server says when it has started.
pub struct Banner<'a>(&'a Server);

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { addresses: Addresses { api, s3, ops }, threads, data_dir, .. } = self.0;
        writeln!(f, "entityd {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  API             http://{api}/api/v1/")?;
        writeln!(f, "  documentation   http://{api}/docs")?;
        writeln!(f, "  S3              http://{s3}/ (not enabled)")?;
        writeln!(f, "  health          http://{ops}/healthz")?;
        writeln!(f, "  data directory  {}", data_dir.path().display())?;
        writeln!(f, "  worker threads  {threads}")?;
        writeln!(f, "  no telemetry, no outbound connections")
    }
}

/// Removes what a crash has left of projects that are gone. Nobody waits for it.
async fn remove_strays(coordinator: Coordinator, objects: Objects) {
    let found = match objects.projects().await {
        Ok(found) => found,
        Err(error) => return tracing::warn!("cannot look for strays: {error}"),
    };
    if let Err(error) = coordinator.remove_strays(found).await {
        tracing::warn!("cannot remove strays: {error}");
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|cause| Error::Listen { setting, address, cause })
}

fn open_metadata(path: PathBuf) -> Result<Sqlite, Error> {
    Sqlite::open(&path).map_err(|cause| Error::Metadata { path, cause })
}

fn open_queue(path: &Path, entropy: Entropy) -> Result<SledBroker, Error> {
    SledBroker::open(path, QueueSettings::default(), entropy)
        .map_err(|cause| Error::Queue { path: path.to_owned(), cause })
}

fn rules(settings: &Settings) -> Rules {
    Rules {
        min_encoding_bytes: settings.min_encoding_bytes,
        max_encoding_bytes: settings.max_encoding_bytes,
        run_pairs_max: settings.run_pairs_max,
        solver_pairs_max: settings.solver_pairs_max,
        comparisons_per_job: settings.comparisons_per_job,
    }
}

fn http_settings(settings: &Settings) -> http::Settings {
    http::Settings {
        body_bytes_max: settings.body_bytes_max,
        log_http_header_fields: settings.log_http_header_fields.clone(),
    }
}

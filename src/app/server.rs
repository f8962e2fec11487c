//! Starts a server by opening the stores, the listeners and the worker, and stops it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::addresses::Addresses;
use super::joining::{Joining, Operator};
use super::listen::listen;
use super::listeners::Listeners;
use super::ops_listener::OpsListener;
use super::resources::{self, Files, Memory};
use super::s3::Own;
use super::sharing::{Sharing, host_name};
use super::snapshot::{self, Source};
use super::stores::{Blobs, Stores};
use super::transfer;
use super::versions;
use super::{Error, objects, settings, stores, systemd, worker_node};
use crate::buckets::Buckets;
use crate::config::{Role, Settings};
use crate::coordinator::Coordinator;
use crate::edge::tls::Tls;
use crate::edge::{self, ListenerConfig};
use crate::external::UploadBucket;
use crate::http;
use crate::http::admin::{Access, CurrentSnapshot, Made, Opened};
use crate::http::{HealthDependencies, Phase};
use crate::metadata;
use crate::model::ProjectId;
use crate::objects::{Error as ObjectsError, Location, NotOurs, Objects, Owner};
use crate::queue::Broker;
use crate::queue::redis::QueueUrl;
use crate::runtime::clock::Clock;
use crate::runtime::compute::Pool;
use crate::runtime::entropy::Entropy;
use crate::system::audit::Audit;
use crate::system::ballast::Ballast;
use crate::system::data_dir::DataDir;
use crate::telemetry::{chain, metrics};
use crate::worker::Worker;

/// The time limit for tasks that still run at the end of the process.
const LAST_WORK: Duration = Duration::from_millis(500);

/// The time limit for closing the databases.
const CLOSE: Duration = Duration::from_secs(5);

/// The interval at which a missing ballast is created if there is space.
const BALLAST_EVERY: Duration = Duration::from_secs(30);

/// The minimum number of blocking threads for uploads, which the metadata and the jobs use too.
const UPLOADS_MIN: usize = 64;

/// A running server. It runs until [`Server::stop`].
pub struct Server {
    pub(super) addresses: Addresses,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) threads: usize,
    pub(super) memory: Memory,
    pub(super) data_dir: DataDir,
    pub(super) database: metadata::Location,
    /// The URL of the queue; `None` if it is in the data directory.
    pub(super) queue: Option<QueueUrl>,
    pub(super) objects: Location,
    /// True if uploads may name files in stores of other providers.
    pub(super) reads_elsewhere: bool,
    /// The admin token, if this start has generated it.
    pub(super) admin_token: Option<Zeroizing<String>>,
    /// True if there are pages for browsers besides the documentation.
    pub(super) dashboard: bool,
    pub(super) coordinator: Coordinator,
    pub(super) buckets: Option<Buckets>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) owner: Owner,
    pub(super) ownership: JoinHandle<NotOurs>,
    pub(super) role: Role,
    pub(super) worker: Worker,
    pub(super) ops_listener: OpsListener,
    pub(super) serving: TaskTracker,
    pub(super) pump: TaskTracker,
    pub(super) serving_stop: CancellationToken,
    pub(super) pump_stop: CancellationToken,
}

/// Runs a server until SIGTERM or Ctrl-C, and then stops it after its work in progress. A second signal ends it at
/// once.
///
/// # Errors
/// [`Error`], if it does not start.
pub fn run(settings: &Settings) -> Result<(), Error> {
    Files::share_out(settings)?;
    resources::check(settings)?;
    let runtime = runtime(settings)?;
    let spare = Spare::start(&runtime);
    let outcome = runtime.block_on(until_signalled(settings));
    drop(spare);
    // Tasks that are still running are aborted here. Their jobs are repeated at the next start.
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Builds the asynchronous runtime. Its blocking threads are enough for all uploads in progress, one for each, and for
/// the metadata and the jobs.
fn runtime(settings: &Settings) -> std::io::Result<tokio::runtime::Runtime> {
    let blocking = 2 * settings.uploads_max.max(UPLOADS_MIN) + 1;
    tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(blocking).build()
}

/// A blocking thread that does nothing. While there is one, the runtime queues work if the system cannot start another
/// thread. Without one, it would panic.
struct Spare(#[expect(dead_code, reason = "it ends by being dropped")] mpsc::Sender<()>);

impl Spare {
    fn start(runtime: &tokio::runtime::Runtime) -> Self {
        let (keep, kept) = mpsc::channel();
        runtime.spawn_blocking(move || kept.recv());
        Self(keep)
    }
}

async fn until_signalled(settings: &Settings) -> Result<(), Error> {
    if settings.role == Role::Worker {
        return worker_node::run(settings).await;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // The start may wait for a database: a signal must end it.
    let mut server = tokio::select! {
        started = start(settings) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    // A closed standard output does not stop the server.
    let _ = std::io::stdout().write_all(server.banner().to_string().as_bytes());
    server.announce(settings);
    systemd::ready();
    let broker = Arc::clone(&server.broker);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        failure = broker.failed() => {
            server.stop().await;
            return Err(Error::QueueFailed(failure));
        }
        Ok(lost) = &mut server.ownership => {
            server.stop().await;
            return Err(lost.into());
        }
    }
    systemd::stopping();
    tracing::info!("draining; a second signal stops at once");
    tokio::select! {
        () = server.stop() => tracing::info!("stopped"),
        _ = terminate.recv() => tracing::warn!("stopped at once; interrupted work resumes at the next start"),
        _ = interrupt.recv() => tracing::warn!("stopped at once; interrupted work resumes at the next start"),
    }
    Ok(())
}

/// The sockets that the server listens on.
struct Sockets {
    api: TcpListener,
    s3: TcpListener,
    ops: TcpListener,
    redirect: Option<TcpListener>,
    workers: Option<TcpListener>,
}

impl Sockets {
    fn open(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            api: listen("listen", settings.listen)?,
            s3: listen("s3-listen", settings.s3_listen)?,
            ops: listen("ops-listen", settings.ops_listen)?,
            redirect: settings
                .redirect_listen
                .map(|address| listen("redirect-listen", address))
                .transpose()?,
            workers: settings
                .worker_listen
                .address(settings.role)
                .map(|address| listen("worker-listen", address))
                .transpose()?,
        })
    }

    fn addresses(&self) -> Result<Addresses, Error> {
        let [api, s3, ops] = [&self.api, &self.s3, &self.ops].map(TcpListener::local_addr);
        let workers = self.workers.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Addresses { api: api?, s3: s3?, ops: ops?, workers })
    }
}

/// Starts a server: locks the data directory, opens the stores, resumes interrupted work, and opens the listeners.
///
/// # Errors
/// [`Error`]. No part of the server is running then.
pub async fn start(settings: &Settings) -> Result<Server, Error> {
    let server = open(settings).await.map_err(|error| versions::explain(error, &settings.data_dir))?;
    versions::note_program(&server.data_dir);
    Ok(server)
}

async fn open(settings: &Settings) -> Result<Server, Error> {
    // Only this user may read stored data, also in files that libraries create.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let files = Files::share_out(settings)?;
    let data_dir = take(settings)?;
    let ballast = ballast(&data_dir);
    let listeners = Listeners::open(settings, &data_dir, files)?;
    let sockets = Sockets::open(settings)?;
    let addresses = sockets.addresses()?;
    listeners.warn(&addresses);
    listeners.keep()?;

    let entropy = Entropy::system();
    let ops_listener = OpsListener::start(sockets.ops, listeners.ops.clone());
    metrics::node(settings.role.name(), &host_name());
    let pool = pool(settings)?;
    let admin = Access::open(data_dir.path(), settings.admin_token_file.as_deref(), &entropy)?;
    ops_listener.enter(Phase::Migrating);
    let sharing = Sharing::enter(settings, &data_dir, &entropy).await?;
    let agreed = agree(settings, &data_dir, (&listeners, &entropy), &sharing, admin).await;
    let (joining, admin) = sharing.or_leave(agreed).await?;
    let secure = listeners.tls.is_some();
    let opened = stores::open(settings, &data_dir, &entropy, &sharing, (&addresses, secure)).await;
    let Stores { metadata, broker, blobs } = sharing.or_leave(opened).await?;
    let Blobs { objects, owner, partial, uploads, external, own } = blobs;
    let queue = Arc::clone(&broker);
    let (clock, rules) = (Clock::system(), settings::rules(settings));
    let coordinator = Coordinator::new(metadata, Arc::clone(&queue), clock.clone(), entropy.clone(), rules);
    sharing.or_leave(coordinator.reconcile().await.map_err(Error::Reconcile)).await?;
    // From here on, the start cannot fail, so that the token is surely printed.
    let admin_token = kept(admin.made).await?;
    let dependencies = HealthDependencies {
        coordinator: coordinator.clone(),
        broker: queue,
        objects: objects.clone(),
        buckets: own.as_ref().map(|own| own.buckets.clone()),
        clock,
        data_dir: data_dir.path().to_owned(),
        partial: partial.clone(),
        disk_free_min: settings.disk_free_min,
    };
    let (serving_stop, operator) = (CancellationToken::new(), operator(settings, &data_dir));
    let admin_state = joining.admin_state(&admin.access, &dependencies, operator, serving_stop.clone());
    ops_listener.open(admin_state);

    let place = settings.objects.clone();
    tokio::spawn(remove_strays(coordinator.clone(), objects.clone(), uploads.clone(), place));

    let (pump_stop, serving) = (CancellationToken::new(), TaskTracker::new());
    let pump = start_pump(&coordinator, &ballast, sharing, &joining, &pump_stop);
    pump.spawn(http::remove_unneeded(coordinator.clone(), partial.clone(), pump_stop.clone()));
    let s3_router = match own {
        Some(own) => {
            pump.spawn(sweep(&own, settings, pump_stop.clone()));
            crate::s3::endpoint(own.parts(settings, &coordinator, objects.clone(), partial.spool().clone()))
        }
        None => crate::s3::disabled(),
    };

    let (drain, threads) = (Duration::from_millis(settings.drain_timeout_ms), pool.threads());
    let work = settings::worker(settings, &data_dir, uploads.clone());
    let memory = Memory::found(work.memory_bytes, files);
    let worker = Worker::start(coordinator.clone(), objects.clone(), pool, work);

    let wishes = settings::http(settings, files.uploads);
    let state =
        http::ApiState::new(coordinator.clone(), objects, admin.access, partial, ballast, wishes, external);
    let open = |listener: TcpListener, router: Router, config: ListenerConfig| {
        serving.spawn(edge::serve(listener, router, config, serving_stop.clone(), drain));
    };
    let live = http::Live::new(coordinator.clone(), serving_stop.clone());
    open(sockets.api, http::api(state, live), listeners.api);
    open(sockets.s3, s3_router, listeners.s3);
    if let Some(listener) = sockets.redirect {
        open(listener, http::redirect(addresses.api.port()), listeners.redirect);
    }
    if let Some(listener) = sockets.workers {
        let routes = joining.routes(settings, &dependencies, uploads, &worker, serving_stop.clone());
        open(listener, routes, listeners.workers);
    }
    ops_listener.enter(Phase::Serving);
    Ok(Server {
        addresses,
        tls: listeners.tls,
        threads,
        memory,
        data_dir,
        database: settings.database.clone(),
        queue: settings.queue.clone(),
        objects: settings.objects.clone(),
        reads_elsewhere: settings.external_uploads && !settings.external_endpoints.is_empty(),
        admin_token,
        dashboard: settings.dashboard,
        coordinator,
        buckets: dependencies.buckets,
        broker,
        ownership: tokio::spawn(owner.clone().keep()),
        owner,
        role: settings.role,
        worker,
        ops_listener,
        serving,
        pump,
        serving_stop,
        pump_stop,
    })
}

/// Locks the data directory, and removes temporary files of killed processes.
fn take(settings: &Settings) -> Result<DataDir, Error> {
    let data_dir = DataDir::open(&settings.data_dir)?;
    transfer::refuse_incomplete(&data_dir)?;
    snapshot::remove_left_behind(data_dir.path())?;
    Ok(data_dir)
}

/// Agrees with other nodes on the tokens, if there may be other nodes.
async fn agree(
    settings: &Settings,
    data_dir: &DataDir,
    (listeners, entropy): (&Listeners, &Entropy),
    sharing: &Sharing,
    admin: Opened,
) -> Result<(Joining, Opened), Error> {
    let joining = Joining::open(settings, data_dir, listeners, entropy, sharing).await?;
    let admin = match sharing.together().filter(|_| settings.admin_token_file.is_none()) {
        Some(commons) => admin.share(commons).await?,
        None => admin,
    };
    Ok((joining, admin))
}

/// Stores a new admin token, and returns it to be printed.
async fn kept(made: Option<Made>) -> Result<Option<Zeroizing<String>>, Error> {
    Ok(match made {
        Some(made) => made.keep().await?,
        None => None,
    })
}

/// Starts the tasks that run until `stop`: they process the outbox, keep the ballast, and exchange heartbeats with
/// other nodes.
fn start_pump(
    coordinator: &Coordinator,
    ballast: &Ballast,
    sharing: Sharing,
    joining: &Joining,
    stop: &CancellationToken,
) -> TaskTracker {
    let pump = TaskTracker::new();
    let (pumping, stopped) = (coordinator.clone(), stop.clone());
    pump.spawn(async move { pumping.pump(stopped).await });
    pump.spawn(keep_ballast(ballast.clone(), stop.clone()));
    let (nodes, tokens) = joining.known();
    pump.spawn(sharing.keep(nodes, tokens, coordinator.clone(), stop.clone()));
    pump
}

/// Builds the pool of threads that compare. It has only a few if this node makes no comparisons.
fn pool(settings: &Settings) -> Result<Pool, Error> {
    Ok(Pool::new(if settings.role == Role::Api { 1 } else { settings.worker_threads })?)
}

fn operator(settings: &Settings, data_dir: &DataDir) -> Operator {
    let snapshot = CurrentSnapshot::new(Arc::new(Source::new(data_dir.path(), &settings.objects)));
    Operator { audit: Audit::of(data_dir.path()), snapshot, dashboard: settings.dashboard }
}

/// Removes multipart uploads that were never completed, until `stop`.
fn sweep(own: &Own, settings: &Settings, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
    let age = Duration::from_hours(settings.s3_upload_expiry_h);
    crate::s3::sweep(own.buckets.clone(), age, stop)
}

impl Server {
    /// Returns the address of the S3 endpoint.
    pub const fn s3(&self) -> SocketAddr {
        self.addresses.s3
    }

    /// Returns the address of the API.
    pub const fn api(&self) -> SocketAddr {
        self.addresses.api
    }

    /// Stops the server: closes the listeners after the requests in progress, finishes jobs or returns them to the
    /// queue, and writes all data. Interrupted work resumes at the next start.
    pub async fn stop(self) {
        self.ops_listener.enter(Phase::Draining);
        self.serving_stop.cancel();
        self.serving.close();
        tokio::join!(self.serving.wait(), self.worker.drain());
        self.pump_stop.cancel();
        self.pump.close();
        self.pump.wait().await;
        self.ownership.abort();
        // If the store does not answer, the claim expires later.
        let _ = timeout(LAST_WORK, self.owner.release()).await;
        if let Err(error) = self.broker.close().await {
            tracing::error!("cannot close the queue: {error}");
        }
        self.ops_listener.stop().await;
        if timeout(CLOSE, close_databases(&self.coordinator, self.buckets.as_ref())).await.is_err() {
            tracing::warn!("the databases were not closed in time; their logs are read at the next start");
        }
    }
}

/// Closes the databases, so that their files are complete without the write-ahead logs.
async fn close_databases(coordinator: &Coordinator, buckets: Option<&Buckets>) {
    if let Err(error) = coordinator.close().await {
        tracing::warn!("cannot close the metadata: {}", chain(&error));
    }
    if let Some(buckets) = buckets
        && let Err(error) = buckets.close().await
    {
        tracing::warn!("cannot close buckets.db: {}", chain(&error));
    }
}

/// Opens the ballast, and releases it if the disk is almost full.
fn ballast(data_dir: &DataDir) -> Ballast {
    let ballast = Ballast::of(data_dir.path());
    if ballast.release_if_needed() {
        tracing::error!("the disk is full; releasing the ballast: delete projects, or free some space");
    }
    ballast
}

/// Creates a missing ballast whenever there is plenty of space, until `stop`.
async fn keep_ballast(ballast: Ballast, stop: CancellationToken) {
    loop {
        let ballast = ballast.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || ballast.create()).await {
            return tracing::warn!("cannot allocate the ballast for a full disk: {error}");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BALLAST_EVERY) => {}
        }
    }
}

/// Removes data of deleted projects that a crash may have left. Runs in the background.
async fn remove_strays(
    coordinator: Coordinator,
    objects: Objects,
    uploads: Option<UploadBucket>,
    location: Location,
) {
    objects::until_found(&objects, &location).await;
    if let Err(error) = objects.confirm_owner().await {
        return tracing::warn!("not looking for stray objects: {error}");
    }
    let deleted = match coordinator.deleted().await {
        Ok(deleted) => deleted,
        Err(error) => return tracing::warn!("cannot look for stray objects: {}", chain(&error)),
    };
    let found = match projects(&objects, uploads.as_ref()).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!("cannot look for stray objects: {}", chain(&error)),
    };
    if let Err(error) = coordinator.remove_strays(found, deleted).await {
        tracing::warn!("cannot remove stray objects: {error}");
    }
}

/// Returns the projects that have objects, or files of clients.
async fn projects(objects: &Objects, uploads: Option<&UploadBucket>) -> Result<Vec<ProjectId>, ObjectsError> {
    let mut found = objects.projects().await?;
    if let Some(uploads) = uploads {
        found.extend(uploads.projects().await?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

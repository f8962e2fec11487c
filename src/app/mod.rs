//! Builds the shelves, opens the doors, starts the hands, and drains.

mod announce;
mod banner;
mod error;
mod identity;
mod listen;
mod listeners;
mod objects;
mod ops_listener;
mod owner;
mod resources;
mod s3;
mod settings;
mod stores;
mod systemd;

pub use banner::Banner;
pub use error::Error;
pub use s3::CREDENTIALS as S3_CREDENTIALS;

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

use crate::config::Settings;
use crate::coordinator::Coordinator;
use crate::edge::tls::Tls;
use crate::edge::{self, ListenerConfig};
use crate::http;
use crate::http::admin::{Access, Made, Office};
use crate::http::{Dependencies, Phase};
use crate::model::ProjectId;
use crate::objects::{Error as ObjectsError, Location, NotOurs, Objects, Owner};
use crate::queue::Broker;
use crate::queue::sled::SledBroker;
use crate::runtime::clock::Clock;
use crate::runtime::compute::Pool;
use crate::runtime::entropy::Entropy;
use crate::system::ballast::Reserve;
use crate::system::data_dir::DataDir;
use crate::system::{file_size, memory};
use crate::telemetry::chain;
use crate::worker::Worker;
use listen::listen;
use listeners::Listeners;
use ops_listener::Operator;
use resources::{Files, Memory};
use stores::{Blobs, Shelves};

/// How long work that does not hear that it is to stop may go on at the very end.
const LAST_WORK: Duration = Duration::from_millis(500);

/// How often it is looked whether room can be set aside again.
const RESERVE_EVERY: Duration = Duration::from_secs(30);

/// With fewer uploads, too, the metadata and the jobs want threads that may block.
const UPLOADS_MIN: usize = 64;

/// A server at work. It goes on until [`Server::stop`].
pub struct Server {
    addresses: Addresses,
    tls: Option<Arc<Tls>>,
    threads: usize,
    memory: Memory,
    data_dir: DataDir,
    objects: Location,
    /// If it was made at this start.
    admin_token: Option<Zeroizing<String>>,
    broker: Arc<SledBroker>,
    owner: Owner,
    ownership: JoinHandle<NotOurs>,
    worker: Worker,
    operator: Operator,
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
    Files::share_out(settings)?;
    resources::check(settings)?;
    let runtime = runtime(settings)?;
    let spare = Spare::start(&runtime);
    let outcome = runtime.block_on(until_signalled(settings));
    drop(spare);
    // Work that would not hear of it is cut off here; it resumes at the next start.
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// The threads that wait for the network and the disk. Every upload under way has one of the blocking ones for
/// itself, and there must be others for the metadata and the jobs.
fn runtime(settings: &Settings) -> std::io::Result<tokio::runtime::Runtime> {
    let blocking = 2 * settings.uploads_max.max(UPLOADS_MIN) + 1;
    tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(blocking).build()
}

/// A thread that may block and does nothing. While there is one, the runtime keeps work for later that the system
/// refuses a thread for; without any, it would panic.
struct Spare(#[expect(dead_code, reason = "it ends by being dropped")] mpsc::Sender<()>);

impl Spare {
    fn start(runtime: &tokio::runtime::Runtime) -> Self {
        let (keep, kept) = mpsc::channel();
        runtime.spawn_blocking(move || kept.recv());
        Self(keep)
    }
}

async fn until_signalled(settings: &Settings) -> Result<(), Error> {
    file_size::survive_limit()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut server = start(settings).await?;
    // Whoever started this may not be reading; that is no reason to stop.
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

/// Starts a server: takes the data directory, opens what is in it, takes up what was left, and opens the doors.
///
/// # Errors
/// [`Error`]; nothing is left running then.
pub async fn start(settings: &Settings) -> Result<Server, Error> {
    // What is stored is for this user's eyes, whichever library makes the file.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let files = Files::share_out(settings)?;
    let data_dir = DataDir::open(&settings.data_dir)?;
    let reserve = reserve(&data_dir);
    let listeners = Listeners::open(settings, &data_dir, files)?;
    let api = listen("listen", settings.listen)?;
    let s3_listener = listen("s3-listen", settings.s3_listen)?;
    let ops = listen("ops-listen", settings.ops_listen)?;
    let redirect = match settings.redirect_listen {
        Some(address) => Some(listen("redirect-listen", address)?),
        None => None,
    };
    let addresses =
        Addresses { api: api.local_addr()?, s3: s3_listener.local_addr()?, ops: ops.local_addr()? };
    listeners.warn(&addresses);
    listeners.keep()?;

    let operator = Operator::start(ops, listeners.ops);
    let pool = Pool::new(settings.worker_threads)?;
    let entropy = Entropy::system();
    let admin = Access::open(data_dir.path(), settings.admin_token_file.as_deref(), &entropy)?;
    operator.enter(Phase::Migrating);
    let Shelves { metadata, broker, blobs } =
        stores::open(settings, &data_dir, &entropy, &addresses, listeners.tls.is_some()).await?;
    let Blobs { objects, owner, spool, external, own } = blobs;
    let broker = Arc::new(broker);
    let shelf: Arc<dyn Broker> = broker.clone();
    let (clock, rules) = (Clock::system(), settings::rules(settings));
    let office = Office { access: admin.access.clone(), broker: Arc::clone(&shelf), clock: clock.clone() };
    let coordinator =
        Coordinator::new(Arc::new(metadata), Arc::clone(&shelf), clock.clone(), entropy.clone(), rules);
    coordinator.reconcile().await.map_err(Error::Reconcile)?;
    // Nothing fails any more from here on: whoever started this will be told.
    let admin_token = admin.made.map(Made::keep).transpose()?;
    let dependencies = Dependencies {
        coordinator: coordinator.clone(),
        broker: shelf,
        objects: objects.clone(),
        clock,
        data_dir: data_dir.path().to_owned(),
        disk_free_min: settings.disk_free_min,
    };
    operator.open(&dependencies, office);

    tokio::spawn(remove_strays(coordinator.clone(), objects.clone(), settings.objects.clone()));

    let (doors_stop, pump_stop) = (CancellationToken::new(), CancellationToken::new());
    let (pump, doors) = (TaskTracker::new(), TaskTracker::new());
    let (pumping, stop) = (coordinator.clone(), pump_stop.clone());
    pump.spawn(async move { pumping.pump(stop).await });
    pump.spawn(keep_reserve(reserve.clone(), pump_stop.clone()));
    let s3_door = match own {
        Some(own) => {
            let age = Duration::from_hours(settings.s3_upload_expiry_h);
            pump.spawn(crate::s3::sweep(own.buckets.clone(), age, pump_stop.clone()));
            crate::s3::endpoint(own.parts(settings, &coordinator, objects.clone(), spool.clone()))
        }
        None => crate::s3::closed(),
    };

    let drain = Duration::from_millis(settings.drain_timeout_ms);
    let threads = pool.threads();
    let work = settings::worker(settings, &data_dir);
    let memory = Memory { for_runs: work.memory_bytes, available: memory::available() };
    memory.log(files);
    let worker = Worker::start(coordinator.clone(), objects.clone(), pool, work);

    let wishes = settings::http(settings, files.uploads);
    let state = http::State::new(coordinator, objects, admin.access, spool, reserve, wishes, external);
    let open = |listener: TcpListener, router: Router, config: ListenerConfig| {
        doors.spawn(edge::serve(listener, router, config, doors_stop.clone(), drain));
    };
    open(api, http::api(state), listeners.api);
    open(s3_listener, s3_door, listeners.s3);
    if let Some(listener) = redirect {
        open(listener, http::redirect(addresses.api.port()), listeners.redirect);
    }
    operator.enter(Phase::Serving);
    Ok(Server {
        addresses,
        tls: listeners.tls,
        threads,
        memory,
        data_dir,
        objects: settings.objects.clone(),
        admin_token,
        broker,
        ownership: tokio::spawn(owner.clone().keep()),
        owner,
        worker,
        operator,
        doors,
        pump,
        doors_stop,
        pump_stop,
    })
}

impl Server {
    /// Where S3 clients are answered.
    pub const fn s3(&self) -> SocketAddr {
        self.addresses.s3
    }

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
        self.operator.enter(Phase::Draining);
        self.doors_stop.cancel();
        self.doors.close();
        tokio::join!(self.doors.wait(), self.worker.drain());
        self.pump_stop.cancel();
        self.pump.close();
        self.pump.wait().await;
        self.ownership.abort();
        // A store that is silent is not waited for: the claim ends by itself.
        let _ = timeout(LAST_WORK, self.owner.release()).await;
        if let Err(error) = self.broker.close().await {
            tracing::error!("cannot close the queue: {error}");
        }
        self.operator.stop().await;
    }
}

/// The room set aside on the disk, given up at once if there is hardly any other.
fn reserve(data_dir: &DataDir) -> Reserve {
    let reserve = Reserve::of(data_dir.path());
    if reserve.give_up_if_needed() {
        tracing::error!(
            "the disk is full; what was set aside is given up: delete projects, or free some space"
        );
    }
    reserve
}

/// Sets room on the disk aside whenever there is plenty, until told to stop.
async fn keep_reserve(reserve: Reserve, stop: CancellationToken) {
    loop {
        let reserve = reserve.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || reserve.set_aside()).await {
            return tracing::warn!("no room can be set aside for a full disk: {error}");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESERVE_EVERY) => {}
        }
    }
}

/// Removes what a crash has left of projects that are gone. Nobody waits for it.
async fn remove_strays(coordinator: Coordinator, objects: Objects, location: Location) {
    objects::until_found(&objects, &location).await;
    if let Err(error) = objects.confirm_owner().await {
        return tracing::warn!("no strays are looked for: {error}");
    }
    let deleted = match coordinator.deleted().await {
        Ok(deleted) => deleted,
        Err(error) => return tracing::warn!("cannot look for strays: {}", chain(&error)),
    };
    let found = match projects(&objects).await {
        Ok(found) => found,
        Err(error) => return tracing::warn!("cannot look for strays: {}", chain(&error)),
    };
    if let Err(error) = coordinator.remove_strays(found, deleted).await {
        tracing::warn!("cannot remove strays: {error}");
    }
}

/// The projects of which there are objects, or files of clients.
async fn projects(objects: &Objects) -> Result<Vec<ProjectId>, ObjectsError> {
    let mut found = objects.projects().await?;
    if let Some(uploads) = objects.uploads() {
        found.extend(uploads.projects().await?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

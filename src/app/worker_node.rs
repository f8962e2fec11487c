//! A worker: a node that computes for the API nodes that it joins. It has no metadata, no queue and no API.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::listen::listen;
use super::listeners::{Listeners, address};
use super::ops_listener::OpsListener;
use super::resources::{Files, Memory};
use super::sharing::host_name;
use super::{Error, objects, settings, systemd};
use crate::config::Settings;
use crate::external::UploadBucket;
use crate::http::Phase;
use crate::objects::{Location, Objects};
use crate::runtime::compute::Pool;
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::DataDir;
use crate::telemetry::metrics;
use crate::worker::Worker;
use crate::worker::protocol::{self, Hello, Welcome};
use crate::worker::remote::{CallError, JoinSettings, Nodes, RemoteStore};

/// The time between two attempts to join.
const RETRY: Duration = Duration::from_secs(2);

/// Runs a worker until SIGTERM or Ctrl-C, and then stops it after its work in progress. A second signal ends it at
/// once.
///
/// # Errors
/// [`Error`], if it does not start.
pub(super) async fn run(settings: &Settings) -> Result<(), Error> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let files = Files::share_out(settings)?;
    let data_dir = DataDir::open(&settings.data_dir)?;
    let listeners = Listeners::open(settings, &data_dir, files)?;
    let ops = listen("ops-listen", settings.ops_listen)?;
    let ops_address = ops.local_addr()?;
    let is_secure = listeners.tls.is_some();
    listeners.keep()?;
    let ops_listener = OpsListener::start(ops, listeners.ops);

    metrics::node(settings.role.name(), &host_name());
    let nodes = nodes(settings)?;
    ops_listener.open_worker(&nodes);
    let welcome = tokio::select! {
        welcome = joined(&nodes) => welcome,
        () = signals.next() => {
            tracing::info!("stopped before an API node accepted this worker");
            ops_listener.stop().await;
            return Ok(());
        }
    };
    let pool = Pool::new(settings.worker_threads)?;
    let threads = pool.threads();
    let (source, remote_objects, remote_files) = RemoteStore::join(&nodes);
    let objects = objects_of(settings, &data_dir, remote_objects)?;
    let uploads = welcome.client_files.then(|| UploadBucket::new(Arc::new(remote_files)));
    let mut work = settings::worker(settings, &data_dir, uploads);
    work.lease = Duration::from_millis(welcome.lease_ms);
    let memory = Memory::found(work.memory_bytes, files);
    let worker = Worker::start(source, objects, pool, work);
    ops_listener.enter(Phase::Serving);

    let banner =
        Banner { ops: ops_address, is_secure, nodes: &nodes, settings, data_dir: &data_dir, threads, memory };
    // A closed standard output does not stop the worker.
    let _ = std::io::stdout().write_all(banner.to_string().as_bytes());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        process = std::process::id(),
        role = settings.role.name(),
        ops = %ops_address,
        joined = nodes.urls(),
        queues = %settings::queues(settings),
        worker_threads = threads,
        data_dir = %data_dir.path().display(),
        "started"
    );
    systemd::ready();
    signals.next().await;
    systemd::stopping();
    tracing::info!("draining; a second signal stops at once");
    ops_listener.enter(Phase::Draining);
    tokio::select! {
        () = worker.drain() => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("stopped at once; the leases of interrupted jobs expire"),
    }
    ops_listener.stop().await;
    Ok(())
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Prepares to call the API nodes.
pub(super) fn nodes(settings: &Settings) -> Result<Nodes, Error> {
    let entropy = Entropy::system();
    let mut urls = Vec::with_capacity(settings.join.len());
    for url in &settings.join {
        let parsed =
            url.parse().map_err(|cause| Error::JoinUrl { url: url.clone(), cause: format!("{cause}") });
        urls.push(parsed?);
    }
    let mut shared = settings::shared(settings);
    if !matches!(settings.objects, Location::Bucket { .. }) {
        // The worker accesses objects through the worker listener, so that their location may differ.
        shared.remove("objects");
    }
    let hello = Hello {
        protocol: protocol::VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: hex::encode(entropy.bytes::<16>()),
        name: host_name(),
        queues: settings::queues(settings).to_string(),
        threads: settings::threads(settings),
        settings: shared,
    };
    let token_file = settings.join_token_file.clone().expect("the settings were checked for a worker");
    let join = JoinSettings { urls, token_file, authorities: settings.join_ca.clone() };
    Ok(Nodes::new(join, hello, entropy)?)
}

/// Waits until an API node accepts this worker, and logs the reason while none does.
async fn joined(nodes: &Nodes) -> Welcome {
    let mut said = String::new();
    loop {
        match nodes.join(Duration::ZERO).await {
            Ok(welcome) => return welcome,
            Err(error) => {
                let why = error.to_string();
                if why != said {
                    match error {
                        CallError::Rejected { .. } => {
                            tracing::error!("an API node rejects this worker; trying again: {why}");
                        }
                        CallError::Unreachable(_) => {
                            tracing::warn!("no API node of --join answers; trying again: {why}");
                        }
                    }
                    said = why;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Returns the object store of the API nodes, through their listener or, if the worker can reach it, directly.
fn objects_of(settings: &Settings, data_dir: &DataDir, remote: RemoteStore) -> Result<Objects, Error> {
    let spool = data_dir.folder("spool")?;
    let cache = objects::cache(settings, data_dir, true)?;
    let store = objects::bucket(settings)?.unwrap_or_else(|| Arc::new(remote));
    Ok(Objects::over(store, &spool, cache)?)
}

/// The text that a worker prints when it has started.
struct Banner<'a> {
    ops: SocketAddr,
    is_secure: bool,
    nodes: &'a Nodes,
    settings: &'a Settings,
    data_dir: &'a DataDir,
    threads: usize,
    memory: Memory,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ops, is_secure, nodes, settings, data_dir, threads, memory } = self;
        writeln!(f, "entityd {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  role            {}", settings.role.name())?;
        writeln!(f, "  joined          {}", nodes.urls())?;
        writeln!(f, "  queues          {}", settings::queues(settings))?;
        writeln!(f, "  health          {}/healthz", address(*is_secure, *ops))?;
        writeln!(f, "  data directory  {}", data_dir.path().display())?;
        writeln!(f, "  worker threads  {threads}")?;
        writeln!(f, "  memory          {memory}")?;
        match &settings.objects {
            Location::Bucket { .. } => {
                writeln!(f, "  no telemetry, no outbound connections but to these and {}", settings.objects)
            }
            _ => writeln!(f, "  no telemetry, no outbound connections but to these"),
        }
    }
}

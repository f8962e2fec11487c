//! The operations listener, which is opened first and closed last.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::edge::{self, ListenerConfig};
use crate::http::admin::AdminState;
use crate::http::{Ops, Phase, Readiness};
use crate::telemetry::metrics;
use crate::worker::remote::Nodes;

/// The time limit for responses in progress when the listener closes.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The operations listener. It is closed when this value is dropped.
pub(super) struct OpsListener {
    ops: Ops,
    readiness: Readiness,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl OpsListener {
    /// Opens the listener. Until [`OpsListener::open`], it reports that the server is starting.
    pub(super) fn start(listener: TcpListener, entrance: ListenerConfig) -> Self {
        let (readiness, stop, tasks) = (Readiness::default(), CancellationToken::new(), TaskTracker::new());
        let ops = Ops::new(readiness.clone(), metrics::start());
        tasks.spawn(edge::serve(listener, ops.routes(), entrance, stop.clone(), LAST_ANSWERS));
        tasks.spawn(ops.clone().tick(stop.clone()));
        Self { ops, readiness, tasks, stop: stop.drop_guard() }
    }

    /// Enables the probes and the admin API, after the stores are open.
    pub(super) fn open(&self, admin: AdminState) {
        self.ops.open(admin);
    }

    /// Enables the probes of a worker.
    pub(super) fn open_worker(&self, nodes: &Nodes) {
        self.ops.open_worker(nodes);
    }

    /// Sets the phase of the server.
    pub(super) fn enter(&self, phase: Phase) {
        self.readiness.enter(phase);
    }

    /// Closes the listener.
    pub(super) async fn stop(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

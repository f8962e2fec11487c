//! The worker listener: its tokens, the nodes that have joined, and its routes.

use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::listeners::Listeners;
use super::{Error, settings};
use crate::config::Settings;
use crate::external::UploadBucket;
use crate::http::Dependencies;
use crate::http::admin::{Access, AdminState, CurrentSnapshot};
use crate::http::workers::{self, JoinTokens, NodeReport, Parts, Roster};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::system::audit::Audit;
use crate::system::data_dir::DataDir;
use crate::worker::Worker;

/// The state that the worker listener and the administration share.
pub(super) struct Joining {
    tokens: JoinTokens,
    roster: Roster,
    pin: Option<[u8; 32]>,
}

/// The parts of the administration beside the stores and the nodes.
pub(super) struct Operator {
    pub(super) audit: Audit,
    pub(super) snapshot: CurrentSnapshot,
    /// Set if there is a page for the operator.
    pub(super) dashboard: bool,
}

impl Joining {
    /// Reads the join tokens. No worker has joined yet.
    pub(super) fn open(
        settings: &Settings,
        data_dir: &DataDir,
        listeners: &Listeners,
        entropy: &Entropy,
    ) -> Result<Self, Error> {
        let own = NodeReport {
            node: hex::encode(entropy.bytes::<16>()),
            name: host_name(),
            role: settings.role.name(),
            state: "joined",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queues: settings::queues(settings).to_string(),
            threads: settings::threads(settings),
            jobs: 0,
            joined: Clock::system().now(),
            heard_ms: 0,
        };
        let tokens = JoinTokens::open(data_dir.path(), settings.join_token_file.as_deref(), entropy)?;
        if settings.worker_listen.address(settings.role).is_some() {
            tokens.keep()?;
        }
        Ok(Self { tokens, roster: Roster::new(own, Clock::system()), pin: listeners.pin(settings) })
    }

    /// Returns the state of the administration.
    pub(super) fn admin_state(
        &self,
        access: &Access,
        dependencies: &Dependencies,
        operator: Operator,
        stop: CancellationToken,
    ) -> AdminState {
        AdminState {
            access: access.clone(),
            broker: dependencies.broker.clone(),
            clock: dependencies.clock.clone(),
            audit: operator.audit,
            snapshot: operator.snapshot,
            dependencies: dependencies.clone(),
            dashboard: operator.dashboard,
            stop,
            roster: self.roster.clone(),
            join_tokens: self.tokens.clone(),
            pin: self.pin,
        }
    }

    /// Returns the routes for workers, until `stop`. `worker` is that of this process.
    pub(super) fn routes(
        self,
        settings: &Settings,
        dependencies: &Dependencies,
        uploads: Option<UploadBucket>,
        worker: &Worker,
        stop: CancellationToken,
    ) -> Router {
        workers::routes(Parts {
            coordinator: dependencies.coordinator.clone(),
            broker: dependencies.broker.clone(),
            clock: dependencies.clock.clone(),
            objects: dependencies.objects.clone(),
            uploads,
            guests: worker.guests(),
            tokens: self.tokens,
            roster: self.roster,
            settings: settings::shared(settings),
            lease: Duration::from_millis(settings.lease_ms),
            stop,
        })
    }
}

/// Returns the name of this machine.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

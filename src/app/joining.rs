//! The worker listener: its tokens, the nodes that have joined, and its routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::listeners::Listeners;
use super::sharing::Sharing;
use super::{Error, settings};
use crate::config::Settings;
use crate::external::UploadBucket;
use crate::http::admin::{Access, AdminState, CurrentSnapshot};
use crate::http::workers::{self, JoinTokens, NodeReport, Nodes, Parts, WorkerRegistry};
use crate::http::{HealthDependencies, Probes};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::system::audit::Audit;
use crate::system::data_dir::DataDir;
use crate::worker::Worker;

/// The state that the worker listener and the admin API share.
pub(super) struct Joining {
    tokens: JoinTokens,
    nodes: Nodes,
    pin: Option<[u8; 32]>,
}

/// The parts of the admin API besides the stores and the nodes.
pub(super) struct Operator {
    pub(super) audit: Audit,
    pub(super) snapshot: CurrentSnapshot,
    /// True if there is a page for the operator.
    pub(super) dashboard: bool,
}

impl Joining {
    /// Reads the join tokens. Returns the state without any worker.
    pub(super) async fn open(
        settings: &Settings,
        data_dir: &DataDir,
        listeners: &Listeners,
        entropy: &Entropy,
        sharing: &Sharing,
    ) -> Result<Self, Error> {
        let node = sharing.own.clone();
        let own = NodeReport {
            node: node.node.clone(),
            name: node.name.clone(),
            role: node.role.clone(),
            state: "joined",
            version: node.version.clone(),
            queues: node.queues.clone(),
            threads: node.threads,
            jobs: 0,
            joined: Clock::system().now(),
            heard_ms: 0,
        };
        let mut tokens = JoinTokens::open(data_dir.path(), settings.join_token_file.as_deref(), entropy)?;
        if let Some(commons) = sharing.together() {
            tokens = tokens.share(commons).await?;
        }
        if settings.worker_listen.address(settings.role).is_some() {
            tokens.keep().await?;
        }
        let registry = WorkerRegistry::new(own, Clock::system(), Duration::from_millis(settings.lease_ms));
        let nodes = Nodes::new(registry, node, sharing.commons.clone());
        Ok(Self { tokens, nodes, pin: listeners.pin(settings) })
    }

    /// Returns the nodes, and the tokens with which workers join.
    pub(super) fn known(&self) -> (Nodes, JoinTokens) {
        (self.nodes.clone(), self.tokens.clone())
    }

    /// Returns the state of the admin API.
    pub(super) fn admin_state(
        &self,
        access: &Access,
        dependencies: &HealthDependencies,
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
            probes: Arc::new(Probes::of(dependencies)),
            dashboard: operator.dashboard,
            stop,
            nodes: self.nodes.clone(),
            join_tokens: self.tokens.clone(),
            pin: self.pin,
        }
    }

    /// Returns the routes for workers. Waiting requests end on `stop`. `worker` is the worker of this process.
    pub(super) fn routes(
        self,
        settings: &Settings,
        dependencies: &HealthDependencies,
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
            nodes: self.nodes,
            settings: settings::shared(settings),
            pairs: settings::pairs_written(settings),
            lease: Duration::from_millis(settings.lease_ms),
            stop,
        })
    }
}

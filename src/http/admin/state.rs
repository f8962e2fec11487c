//! The state of the handlers of admin requests.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::current_snapshot::Current as CurrentSnapshot;
use crate::http::ops::{HealthDependencies, Probes};
use crate::http::workers::{JoinTokens, Nodes};
use crate::queue::Broker;
use crate::runtime::clock::Clock;
use crate::system::audit::Audit;

/// The state of the handlers of admin requests. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// The admin token.
    pub access: Access,
    /// The queues.
    pub broker: Arc<dyn Broker>,
    /// The snapshot that a backup reads.
    pub snapshot: CurrentSnapshot,
    /// The clock.
    pub clock: Clock,
    /// The audit log of admin requests that changed something.
    pub audit: Audit,
    /// The dependencies of the server.
    pub dependencies: HealthDependencies,
    /// The checks of the dependencies.
    pub probes: Arc<Probes>,
    /// True if there is a page for the operator.
    pub dashboard: bool,
    /// Cancelled when streams of events must end.
    pub stop: CancellationToken,
    /// All nodes.
    pub nodes: Nodes,
    /// The tokens with which workers join.
    pub join_tokens: JoinTokens,
    /// The SHA-256 of the certificate if it is self-signed. Join tokens contain it.
    pub pin: Option<[u8; 32]>,
}

//! The state that several serving nodes share in one database: the settings that must be equal, and their heartbeats.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{Error, database, identity, settings};
use crate::config::Settings;
use crate::coordinator::Coordinator;
use crate::http::workers::{JoinTokens, Nodes};
use crate::metadata::commons::{self, ListedNode, Node, SILENCE_MAX};
use crate::metadata::postgres::{Entrant, PostgresCommons};
use crate::metadata::{Commons, Migrate};
use crate::runtime::clock::Stopwatch;
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::{self, DataDir};
use crate::system::identity::Register;
use crate::system::regular;
use crate::telemetry::chain;

/// The file in the data directory with the name of the last process that used it with a database elsewhere.
const FILE: &str = "node";
/// The interval of heartbeats between nodes.
const BEAT: Duration = Duration::from_secs(2);
/// After a longer pause between two answers of the database, silent nodes are not considered ended.
const GAP_MAX: Duration = Duration::from_secs(6);
/// The time limit for recording in the database that this node ends.
const LEAVE: Duration = Duration::from_secs(1);

/// This node, and the state that it shares with others. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sharing {
    pub(super) own: Node,
    /// The process that used the data directory before, which has ended.
    pub(super) ended: Option<String>,
    /// The state shared by nodes, if the metadata is in PostgreSQL.
    pub(super) commons: Option<Arc<dyn Commons>>,
    /// True if other nodes may serve at the same time.
    pub(super) shares: bool,
}

impl Sharing {
    /// Adds this node to the database, if the metadata is in one that several nodes can use. A new data directory takes
    /// the identity of the other nodes.
    pub(super) async fn enter(
        settings: &Settings,
        data_dir: &DataDir,
        entropy: &Entropy,
    ) -> Result<Self, Error> {
        let own = Node {
            node: hex::encode(entropy.bytes::<16>()),
            role: settings.role.name().to_owned(),
            name: host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queues: settings::queues(settings).to_string(),
            threads: settings::threads(settings),
            jobs: 0,
        };
        let mut sharing = Self { own, ended: None, commons: None, shares: settings::is_shared(settings) };
        let Some(way) = database::way(settings)? else { return Ok(sharing) };
        let path = data_dir.path();
        sharing.ended = last_process(path)?;
        let register = identity::open(data_dir, entropy)?;
        let entrant = Entrant {
            node: sharing.own.clone(),
            ended: sharing.ended.clone(),
            embedded: settings::embedded(settings),
            settings: agreed(settings),
            identity: register.identity(),
            is_new: register.is_new(),
            takes_over: settings.take_over_objects.is_some(),
        };
        let place = settings.database.to_string();
        let entered = PostgresCommons::enter(&way, settings.migrate == Migrate::Auto, &entrant).await;
        let (commons, adopted) = entered.map_err(|cause| Error::Metadata { place, cause })?;
        if adopted != register.identity() {
            Register::make(path, adopted).map_err(|cause| identity::unusable(path, cause))?;
        }
        data_dir::write_durably(path, FILE, &format!("{}\n", sharing.own.node))?;
        sharing.commons = Some(Arc::new(commons));
        Ok(sharing)
    }

    /// Returns the shared state, if other nodes may serve at the same time.
    pub(super) fn together(&self) -> Option<Arc<dyn Commons>> {
        self.commons.clone().filter(|_| self.shares)
    }

    /// Returns the name of this node, if several share the database.
    pub(super) fn name(&self) -> Option<String> {
        self.shares.then(|| self.own.node.clone())
    }

    /// Sends heartbeats until `stop`, and releases the jobs and uploads of nodes that have ended.
    pub(super) async fn keep(
        self,
        nodes: Nodes,
        tokens: JoinTokens,
        coordinator: Coordinator,
        stop: CancellationToken,
    ) {
        let Some(commons) = self.commons.clone() else { return };
        let (mut ticks, mut well, mut latest) = (interval(BEAT), Stopwatch::start(), Stopwatch::start());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let listed = match nodes.exchange().await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::debug!("cannot record this node's heartbeat: {}", chain(&error));
                    continue;
                }
            };
            if latest.elapsed() > GAP_MAX {
                // The other nodes may have been disconnected from the database for the same time.
                well = Stopwatch::start();
            }
            latest = Stopwatch::start();
            if !self.shares {
                continue;
            }
            if let Err(error) = tokens.refresh().await {
                tracing::debug!("cannot read the join tokens: {}", chain(&error));
            }
            if well.elapsed() > SILENCE_MAX {
                bury(&*commons, &coordinator, &listed).await;
            }
        }
        self.leave().await;
    }

    /// Returns the outcome of a step of the start. After an error, removes this node from the list of nodes.
    pub(super) async fn or_leave<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.is_err() {
            self.leave().await;
        }
        outcome
    }

    pub(super) async fn leave(&self) {
        let Some(commons) = &self.commons else { return };
        let left = timeout(LEAVE, commons.forget(&self.own.node)).await;
        if !matches!(left, Ok(Ok(_))) {
            tracing::debug!("the end of this node was not recorded; the other nodes detect its silence");
        }
    }
}

/// Releases the jobs and uploads of silent nodes, and removes the nodes from the list.
async fn bury(commons: &dyn Commons, coordinator: &Coordinator, listed: &[ListedNode]) {
    let silent: Vec<_> = listed.iter().filter(|node| node.serves() && !node.is_serving()).collect();
    if silent.is_empty() {
        return;
    }
    if let Err(error) = coordinator.release_lost(Arc::new(commons::serving(listed))).await {
        tracing::warn!("cannot release what a node has left; trying again: {}", chain(&error));
        return;
    }
    for ListedNode { node, silence, .. } in silent {
        tracing::warn!(
            node = node.node,
            name = node.name,
            silence_s = silence.as_secs(),
            "a node is silent and counts as ended"
        );
        if let Err(error) = commons.forget(&node.node).await {
            tracing::debug!("cannot forget a node: {}", chain(&error));
        }
    }
}

/// Returns the settings that affect results, by name. All serving nodes must have the same values.
fn agreed(settings: &Settings) -> BTreeMap<String, String> {
    let mut agreed = settings::shared(settings);
    let others = [
        ("min_encoding_bytes", settings.min_encoding_bytes.to_string()),
        ("max_encoding_bytes", settings.max_encoding_bytes.to_string()),
        ("run_pairs_max", settings.run_pairs_max.to_string()),
        ("solver_pairs_max", settings.solver_pairs_max.to_string()),
        ("upload_bucket", settings.upload_bucket.clone()),
        ("lease_ms", settings.lease_ms.to_string()),
    ];
    agreed.extend(others.map(|(name, value)| (name.to_owned(), value)));
    agreed
}

/// Reads the name of the last process. That process has ended, since this one has locked the data directory.
fn last_process(data_dir: &Path) -> Result<Option<String>, Error> {
    match regular::read(&data_dir.join(FILE)) {
        Ok(bytes) => {
            let name = String::from_utf8_lossy(&bytes).trim().to_owned();
            Ok(Some(name)
                .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the name of this machine.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

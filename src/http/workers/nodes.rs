//! The nodes of the service that this node, or a node that shares its database, knows.

use std::sync::Arc;

use parking_lot::Mutex;

use super::registry::{NodeReport, SILENT_AFTER, WorkerRegistry};
use crate::metadata::commons::{Commons, HeardNode, ListedNode, Node};
use crate::metadata::{self};

/// All nodes of the service. Cheap to clone.
#[derive(Clone)]
pub struct Nodes {
    registry: WorkerRegistry,
    shared: Option<Arc<Shared>>,
}

struct Shared {
    own: Node,
    commons: Arc<dyn Commons>,
    /// The latest list of all nodes.
    latest: Mutex<Option<Vec<NodeReport>>>,
}

impl Nodes {
    /// Returns the nodes in `registry` and `commons`. `own` is this node.
    pub fn new(registry: WorkerRegistry, own: Node, commons: Option<Arc<dyn Commons>>) -> Self {
        let shared = |commons| Arc::new(Shared { own, commons, latest: Mutex::default() });
        Self { registry, shared: commons.map(shared) }
    }

    /// Returns all nodes.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn list(&self) -> Result<Vec<NodeReport>, metadata::Error> {
        if self.shared.is_some() {
            self.exchange().await?;
        }
        Ok(self.known())
    }

    /// Returns the role of this node.
    pub fn role(&self) -> &str {
        self.registry.role()
    }

    /// Returns the latest list of all nodes.
    pub fn known(&self) -> Vec<NodeReport> {
        let latest = self.shared.as_ref().and_then(|shared| shared.latest.lock().clone());
        latest.unwrap_or_else(|| self.registry.list())
    }

    /// Returns the number of workers that get jobs, nodes that also serve included.
    pub(super) fn computing(&self) -> usize {
        let is_computing = |node: &&NodeReport| node.state == "joined" && node.role != "api";
        self.known().iter().filter(is_computing).count().max(1)
    }

    /// Reports to the other nodes that this one is alive and which workers it has heard from; receives their
    /// reports.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn exchange(&self) -> Result<Vec<ListedNode>, metadata::Error> {
        let Some(shared) = &self.shared else { return Ok(Vec::new()) };
        let listed = shared.commons.beat(&shared.own, &self.heard()).await?;
        for node in listed.iter().filter(|node| node.draining) {
            self.registry.drain(&node.node.node);
        }
        *shared.latest.lock() = Some(listed.iter().map(report).collect());
        Ok(listed)
    }

    /// Returns the workers from which this node has received requests recently.
    fn heard(&self) -> Vec<HeardNode> {
        let workers = self.registry.workers().into_iter();
        let heard = workers.map(|report| HeardNode {
            silence: std::time::Duration::from_millis(report.heard_ms),
            node: Node {
                node: report.node,
                role: report.role,
                name: report.name,
                version: report.version,
                queues: report.queues,
                threads: report.threads,
                jobs: report.jobs,
            },
        });
        heard.filter(|heard| heard.silence < SILENT_AFTER).collect()
    }

    /// Stops giving jobs to a worker; returns false if the worker is unknown.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn drain(&self, node: &str) -> Result<bool, metadata::Error> {
        let mut is_known = self.registry.drain(node);
        if let Some(shared) = &self.shared {
            is_known |= shared.commons.drain(node).await?;
        }
        Ok(is_known)
    }

    /// Removes a worker from the list; returns false if the worker is unknown. If it is running, it joins again.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn forget(&self, node: &str) -> Result<bool, metadata::Error> {
        let mut is_known = self.registry.forget(node);
        if let Some(shared) = &self.shared {
            let worker = self.known().into_iter().any(|known| known.node == node && known.role == "worker");
            is_known |= worker && shared.commons.forget(node).await?;
        }
        Ok(is_known)
    }

    /// Removes a worker that has stopped.
    pub(super) fn leave(&self, node: &str) {
        self.registry.leave(node);
        if let Some(shared) = self.shared.clone() {
            let node = node.to_owned();
            tokio::spawn(async move {
                if let Err(error) = shared.commons.forget(&node).await {
                    tracing::debug!("cannot forget a worker that has left: {error}");
                }
            });
        }
    }

    /// Returns the nodes that this one has heard from.
    pub(super) const fn registry(&self) -> &WorkerRegistry {
        &self.registry
    }
}

fn report(listed: &ListedNode) -> NodeReport {
    let ListedNode { node, draining, joined, silence } = listed;
    NodeReport {
        node: node.node.clone(),
        name: node.name.clone(),
        role: node.role.clone(),
        state: NodeReport::state(*silence, *draining, node.jobs),
        version: node.version.clone(),
        queues: node.queues.clone(),
        threads: node.threads,
        jobs: node.jobs,
        joined: *joined,
        heard_ms: silence.as_millis() as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::runtime::clock::{Clock, Timestamp};
    use crate::worker::protocol::{Hello, VERSION};

    fn nodes(role: &str) -> Nodes {
        let own = Node {
            node: "0".repeat(32),
            role: role.to_owned(),
            name: String::new(),
            version: String::new(),
            queues: String::new(),
            threads: 0,
            jobs: 0,
        };
        let listed = ListedNode {
            node: own.clone(),
            draining: false,
            joined: Timestamp::default(),
            silence: Duration::ZERO,
        };
        let registry = WorkerRegistry::new(report(&listed), Clock::system(), Duration::from_secs(30));
        Nodes::new(registry, own, None)
    }

    #[test]
    fn nodes_that_get_jobs_are_counted() {
        let (api, all) = (nodes("api"), nodes("all"));
        assert_eq!((api.computing(), all.computing()), (1, 1));
        for number in 1..=3 {
            let hello = Hello {
                protocol: VERSION,
                version: String::new(),
                node: number.to_string().repeat(32),
                name: String::new(),
                queues: String::new(),
                threads: 1,
                settings: BTreeMap::new(),
            };
            api.registry().join(hello.clone());
            all.registry().join(hello);
        }
        assert_eq!((api.computing(), all.computing()), (3, 4));
        assert!(api.registry().drain(&"2".repeat(32)));
        assert_eq!(api.computing(), 2, "a worker that drains gets no jobs");
    }
}

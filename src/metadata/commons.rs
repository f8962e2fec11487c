//! State that the nodes share in addition to the projects: the list of nodes, and named values (*words*).

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;

use super::store::Error;
use crate::runtime::clock::Timestamp;

/// The time without a heartbeat after which a serving node counts as ended. Another node then releases its jobs and
/// uploads.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The description of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The identifier of the node's process.
    pub node: String,
    /// The role of the node: `all`, `api` or `worker`.
    pub role: String,
    /// The name of the node's machine.
    pub name: String,
    /// The version of the node's program.
    pub version: String,
    /// The queues that the node serves.
    pub queues: String,
    /// The number of computing threads.
    pub threads: usize,
    /// The number of jobs that the node holds.
    pub jobs: usize,
}

/// A node in the list of nodes. Times are by the clock of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedNode {
    /// The node.
    pub node: Node,
    /// True if the node gets no more jobs.
    pub draining: bool,
    /// The time at which the node joined.
    pub joined: Timestamp,
    /// The time since the last heartbeat of the node.
    pub silence: Duration,
}

impl ListedNode {
    /// Returns true if the node serves clients.
    pub fn serves(&self) -> bool {
        self.node.role != "worker"
    }

    /// Returns true if the node serves clients and has sent a heartbeat lately.
    pub fn is_serving(&self) -> bool {
        self.serves() && self.silence < SILENCE_MAX
    }
}

/// A worker from which a serving node has received a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardNode {
    /// The node.
    pub node: Node,
    /// The time since that heartbeat.
    pub silence: Duration,
}

/// State shared by the nodes.
#[async_trait]
pub trait Commons: Send + Sync {
    /// Records a heartbeat of this node, and the heartbeats that it has received from workers; returns all nodes, in
    /// the order of joining.
    async fn beat(&self, own: &Node, heard: &[HeardNode]) -> Result<Vec<ListedNode>, Error>;

    /// Removes a node from the list; returns false if it was not there.
    async fn forget(&self, node: &str) -> Result<bool, Error>;

    /// Records that a worker gets no more jobs; returns false if the worker is unknown.
    async fn drain(&self, node: &str) -> Result<bool, Error>;

    /// Returns the time by the clock that all nodes share: that of the database.
    async fn now(&self) -> Result<Timestamp, Error>;

    /// Returns the shared value `name`; `None` if no node has stored one.
    async fn word(&self, name: &str) -> Result<Option<String>, Error>;

    /// Replaces the shared value `name` if it is still `before`; otherwise returns false.
    async fn swap(&self, name: &str, before: Option<&str>, after: &str) -> Result<bool, Error>;
}

/// Returns the serving nodes that have sent a heartbeat lately.
pub fn serving(nodes: &[ListedNode]) -> HashSet<String> {
    nodes.iter().filter(|node| node.is_serving()).map(|node| node.node.node.clone()).collect()
}

//! The knowledge that nodes share beside the projects: which nodes there are, and words that all of them must know.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;

use super::store::Error;
use crate::runtime::clock::Timestamp;

/// A serving node that has not been heard for this long counts as ended: another one releases what it held.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

/// A node, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Names the process.
    pub node: String,
    /// Its role: `all`, `api` or `worker`.
    pub role: String,
    /// The name of its machine.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// The queues that it serves.
    pub queues: String,
    /// Computing threads.
    pub threads: usize,
    /// Jobs that it holds.
    pub jobs: usize,
}

/// A node in the list of all. Times are those of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedNode {
    /// The node.
    pub node: Node,
    /// True if it gets no more jobs.
    pub draining: bool,
    /// The time at which it has joined.
    pub joined: Timestamp,
    /// The time since it was heard last.
    pub silence: Duration,
}

impl ListedNode {
    /// Returns whether it serves clients.
    pub fn serves(&self) -> bool {
        self.node.role != "worker"
    }

    /// Returns whether it serves clients and has been heard lately.
    pub fn is_serving(&self) -> bool {
        self.serves() && self.silence < SILENCE_MAX
    }
}

/// A worker that a serving node has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardNode {
    /// The node.
    pub node: Node,
    /// The time since it was heard.
    pub silence: Duration,
}

/// The knowledge that nodes share.
#[async_trait]
pub trait Commons: Send + Sync {
    /// Notes that this node is alive, and which workers it has heard; returns all nodes, those that joined first at the head.
    async fn beat(&self, own: &Node, heard: &[HeardNode]) -> Result<Vec<ListedNode>, Error>;

    /// Removes a node from the list; returns whether it was there.
    async fn forget(&self, node: &str) -> Result<bool, Error>;

    /// Notes that a worker gets no more jobs; returns whether there is such a worker.
    async fn drain(&self, node: &str) -> Result<bool, Error>;

    /// Returns a word; none if no node has put one.
    async fn word(&self, name: &str) -> Result<Option<String>, Error>;

    /// Puts a word in the place of `before`; returns false if there is another one than `before`.
    async fn swap(&self, name: &str, before: Option<&str>, after: &str) -> Result<bool, Error>;
}

/// Returns the serving nodes that have been heard lately.
pub fn serving(nodes: &[ListedNode]) -> HashSet<String> {
    nodes.iter().filter(|node| node.is_serving()).map(|node| node.node.node.clone()).collect()
}

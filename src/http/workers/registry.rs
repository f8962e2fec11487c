//! The nodes that have joined this API node since its start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::queue::LeaseId;
use crate::runtime::clock::{Clock, Stopwatch, Timestamp};
use crate::worker::protocol::{ClaimAnswer, ClaimRequest, Hello};

/// The time without requests after which a worker is silent. A worker that claims jobs sends requests more often.
pub(super) const SILENT_AFTER: Duration = Duration::from_mins(1);
/// The maximum number of workers in the list. Beyond it, the one that has been silent longest is removed.
const NODES_MAX: usize = 10_000;

/// The nodes that have joined. Cheap to clone.
#[derive(Clone)]
pub struct WorkerRegistry(Arc<Inner>);

struct Inner {
    own: NodeReport,
    clock: Clock,
    lease: Duration,
    nodes: Mutex<BTreeMap<String, Node>>,
}

/// A node in the list of all nodes.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// The identity of the node.
    pub node: String,
    /// The name of the node's machine.
    pub name: String,
    /// The role of the node: `all`, `api` or `worker`.
    pub role: String,
    /// The state of the node: `joined`, `draining`, `drained` or `silent`.
    pub state: &'static str,
    /// The version of the node's program.
    pub version: String,
    /// The queues that the node serves.
    pub queues: String,
    /// The number of threads that compute.
    pub threads: usize,
    /// The number of jobs that the node holds.
    pub jobs: usize,
    /// The time at which the worker has joined this API node, or at which this node has started.
    pub joined: Timestamp,
    /// The time since the node's last request, in milliseconds.
    pub heard_ms: u64,
}

impl NodeReport {
    /// Returns the name of the state of a node.
    pub(super) fn state(silence: Duration, draining: bool, jobs: usize) -> &'static str {
        match (silence > SILENT_AFTER, draining, jobs) {
            (true, ..) => "silent",
            (false, true, 0) => "drained",
            (false, true, _) => "draining",
            (false, false, _) => "joined",
        }
    }
}

struct Node {
    hello: Hello,
    joined: Timestamp,
    heard: Stopwatch,
    /// The jobs that the worker has, each with the time since its last heartbeat. Reports that it sends to other API
    /// nodes are not included.
    held: HashMap<LeaseId, Stopwatch>,
    draining: bool,
    /// The number of the latest claim, in progress or answered, and the token that ends it.
    claim: (u64, CancellationToken),
    /// The latest answer with jobs, until its receipt is confirmed.
    answer: Option<(u64, ClaimAnswer)>,
}

/// The decision about a claim.
pub(super) enum Claiming {
    /// A later claim has begun.
    Overtaken,
    /// The answer to an earlier claim was lost.
    Repeated(ClaimAnswer),
    /// The worker is draining.
    Draining,
    /// The worker waits for jobs until the token is cancelled.
    Waits(CancellationToken),
}

impl WorkerRegistry {
    /// Returns a registry without workers. `own` is this node, and `lease` is the length of leases.
    pub fn new(own: NodeReport, clock: Clock, lease: Duration) -> Self {
        Self(Arc::new(Inner { own, clock, lease, nodes: Mutex::default() }))
    }

    /// Adds a worker, or records that it has joined again.
    pub(super) fn join(&self, hello: Hello) {
        let joined = self.0.clock.now();
        let mut nodes = self.0.nodes.lock();
        if let Some(node) = nodes.get_mut(&hello.node) {
            node.hello = hello;
            node.heard = Stopwatch::start();
            return;
        }
        if nodes.len() >= NODES_MAX {
            let oldest = nodes.iter().max_by_key(|(_, node)| node.heard.elapsed()).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| nodes.remove(&oldest));
        }
        let (held, claim) = (HashMap::new(), (0, CancellationToken::new()));
        let heard = Stopwatch::start();
        let id = hello.node.clone();
        nodes.insert(id, Node { hello, joined, heard, held, draining: false, claim, answer: None });
    }

    /// Records that a worker has sent a request; returns false if the worker has not joined.
    pub(super) fn hear(&self, node: &str) -> bool {
        self.with(node, |node| node.heard = Stopwatch::start()).is_some()
    }

    /// Begins a claim, and ends earlier claims.
    pub(super) fn claim(&self, node: &str, request: &ClaimRequest) -> Claiming {
        let began = self.with(node, |node| {
            if request.number <= node.claim.0 {
                return Claiming::Overtaken;
            }
            node.claim.1.cancel();
            let ended = CancellationToken::new();
            node.claim = (request.number, ended.clone());
            match node.answer.take() {
                Some((number, answer)) if number > request.received => {
                    node.answer = Some((request.number, answer.clone()));
                    Claiming::Repeated(answer)
                }
                _ if node.draining => Claiming::Draining,
                _ => Claiming::Waits(ended),
            }
        });
        began.unwrap_or(Claiming::Overtaken)
    }

    /// Records the jobs in the answer to a claim.
    pub(super) fn hand_out(&self, node: &str, number: u64, answer: &ClaimAnswer) {
        self.with(node, |node| {
            node.hold(answer.jobs.iter().map(|job| &job.ticket.lease));
            node.answer = Some((number, answer.clone()));
        });
    }

    /// Records the jobs that a worker still works on, and the jobs that it has finished.
    pub(super) fn note<'a>(
        &self,
        node: &str,
        held: impl Iterator<Item = &'a LeaseId>,
        done: impl Iterator<Item = &'a LeaseId>,
    ) {
        self.with(node, |node| {
            node.hold(held);
            done.for_each(|lease| _ = node.held.remove(lease));
        });
    }

    /// Removes a worker that is stopping, and ends its claim.
    pub(super) fn leave(&self, node: &str) {
        if let Some(node) = self.0.nodes.lock().remove(node) {
            node.claim.1.cancel();
        }
    }

    /// Stops giving jobs to a worker; returns false if the worker is unknown.
    pub fn drain(&self, node: &str) -> bool {
        let drained = self.with(node, |node| {
            node.draining = true;
            node.claim.1.cancel();
        });
        drained.is_some()
    }

    /// Removes a worker from the list; returns false if the worker is unknown. If it is running, it joins again.
    pub fn forget(&self, node: &str) -> bool {
        let removed = self.0.nodes.lock().remove(node);
        removed.map(|node| node.claim.1.cancel()).is_some()
    }

    /// Returns the role of this node.
    pub(super) fn role(&self) -> &str {
        &self.0.own.role
    }

    /// Returns this node and all workers.
    pub fn list(&self) -> Vec<NodeReport> {
        std::iter::once(self.0.own.clone()).chain(self.workers()).collect()
    }

    /// Returns all workers.
    pub(super) fn workers(&self) -> Vec<NodeReport> {
        self.0.nodes.lock().iter().map(|(id, node)| node.report(id, self.0.lease)).collect()
    }

    fn with<T>(&self, node: &str, act: impl FnOnce(&mut Node) -> T) -> Option<T> {
        self.0.nodes.lock().get_mut(node).map(act)
    }
}

impl Node {
    fn hold<'a>(&mut self, leases: impl Iterator<Item = &'a LeaseId>) {
        self.held.retain(|_, heard| heard.elapsed() < SILENT_AFTER);
        self.held.extend(leases.map(|lease| (lease.clone(), Stopwatch::start())));
    }

    /// Returns the number of jobs with a heartbeat within the length of a lease.
    fn jobs(&self, lease: Duration) -> usize {
        self.held.values().filter(|heard| heard.elapsed() < lease).count()
    }

    fn report(&self, id: &str, lease: Duration) -> NodeReport {
        let heard = self.heard.elapsed();
        NodeReport {
            node: id.to_owned(),
            name: self.hello.name.clone(),
            role: "worker".to_owned(),
            state: NodeReport::state(heard, self.draining, self.jobs(lease)),
            version: self.hello.version.clone(),
            queues: self.hello.queues.clone(),
            threads: self.hello.threads,
            jobs: self.jobs(lease),
            joined: self.joined,
            heard_ms: heard.as_millis() as u64,
        }
    }
}

//! The protocol between workers and API nodes: JSON, and chunks of objects, over HTTP.
//!
//! A worker first sends [`Hello`] to each node. It claims jobs with [`ClaimRequest`], which the node answers when it
//! has jobs. Heartbeats, outcomes, failures and releases of all its jobs are sent together in a [`Turn`]. Objects are
//! read in chunks of [`PIECE_BYTES`] with checksums, and written whole. Each call about a job contains its [`Ticket`].

use std::collections::BTreeMap;

use linkage::pairs::Version;
use serde::{Deserialize, Serialize};

use crate::coordinator::{Assignment, Secret};
use crate::model::{Job, Outcome};
use crate::queue::{Fence, JobId, Lease, LeaseId, Progress, Pulse, QueueName};
use crate::runtime::clock::Timestamp;

/// The version of the protocol of this program.
pub const VERSION: u32 = 1;
/// The oldest version that this program supports.
pub const OLDEST: u32 = 1;

/// The prefix of all paths.
pub const BASE: &str = "/worker/v1";
/// The number of bytes in a chunk of an object, except the last.
pub const PIECE_BYTES: u64 = 8 << 20;
/// The maximum size of the body of a call, other than an object.
pub const CALL_BYTES_MAX: usize = 1 << 20;
/// The maximum length of a message or reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// The maximum wait of a claim, in milliseconds.
pub const WAIT_MS_MAX: u64 = 30_000;

/// The header with the id of the worker.
pub const NODE: &str = "entityd-node";
/// The header with a ticket.
pub const TICKET: &str = "entityd-ticket";
/// The header with the size of an object.
pub const SIZE: &str = "entityd-size";
/// The header with the time at which an object was made, in microseconds.
pub const MODIFIED: &str = "entityd-modified";
/// The header with the CRC-32 of a chunk, or of a written object, in decimal.
pub const CRC32: &str = "entityd-crc32";
/// The header with the attributes of a client's file, as JSON.
pub const ATTRIBUTES: &str = "entityd-attributes";

/// Introduces a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol.
    pub protocol: u32,
    /// The version of the program.
    pub version: String,
    /// The identity of the process: 32 hex characters, random at each start.
    pub node: String,
    /// The name of the machine.
    pub name: String,
    /// The queues that the worker serves, in the format of the setting `queues`.
    pub queues: String,
    /// The number of computing threads.
    pub threads: usize,
    /// The settings that could change a result. They must equal those of the API node.
    pub settings: BTreeMap<String, String>,
}

/// Accepts a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the protocol that the node uses with this worker.
    pub protocol: u32,
    /// The version of the node's program.
    pub version: String,
    /// The length of a lease, in milliseconds.
    pub lease_ms: u64,
    /// True if uploads may refer to files in an upload bucket.
    pub client_files: bool,
}

/// Identifies a job that a worker holds, and proves that an API node has assigned it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The lease of the job.
    pub lease: LeaseId,
    /// The attempt, from 1.
    pub attempt: u8,
    /// The node's signature over both, in hex.
    pub grant: String,
}

impl Ticket {
    /// Formats the ticket for a header.
    pub fn to_header(&self) -> String {
        format!("{} {} {} {}", self.lease.fence, self.attempt, self.grant, self.lease.job)
    }

    /// Parses a header.
    pub fn of_header(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let fence = Fence::parse(words.next()?)?;
        let attempt = words.next()?.parse().ok()?;
        let grant = words.next()?.to_owned();
        let job = JobId::from(words.next()?);
        Some(Self { lease: LeaseId { job, fence }, attempt, grant })
    }
}

/// A request for jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// The number of the claim. A later claim of this worker ends its earlier claims.
    pub number: u64,
    /// The number of the latest claim whose answer the worker has received, so that the node can repeat a lost answer.
    pub received: u64,
    /// The queues.
    pub queues: Vec<QueueName>,
    /// The maximum number of jobs.
    pub count: usize,
    /// The maximum wait for the first job, in milliseconds.
    pub wait_ms: u64,
}

/// The answer to a claim.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClaimAnswer {
    /// The jobs; empty, if there was none in time.
    pub jobs: Vec<Assigned>,
    /// True if the worker drains: it gets no more jobs from this node.
    pub draining: bool,
}

/// A job that was assigned to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assigned {
    /// The ticket for later calls.
    pub ticket: Ticket,
    /// The job.
    pub job: Job,
    /// The secret that the job needs, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The number of workers of the service, for a job that makes a plan. Older nodes do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// The latest version of pair files that a job which compares may write. Older nodes do not send it, and older workers write
    /// version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u8>,
    /// The time at which the job was enqueued.
    pub enqueued: Timestamp,
    /// The time at which the job became ready.
    pub ready: Timestamp,
    /// The end of the lease, unless it is extended by a heartbeat.
    pub until: Timestamp,
}

impl Assigned {
    /// Converts the message into the worker's own type.
    pub fn into_assignment(self) -> Assignment {
        let Self { ticket, job, secret, workers, pairs, enqueued, ready, until } = self;
        let lease = Lease {
            id: ticket.lease,
            queue: job.queue().into(),
            group: job.group().into(),
            payload: bytes::Bytes::new(),
            attempt: ticket.attempt,
            enqueued,
            ready,
            until,
        };
        Assignment {
            lease,
            job,
            secret,
            workers: workers.unwrap_or(1),
            pairs: pairs.map_or(Version::Plain, Version::up_to),
        }
    }
}

/// Messages of a worker about its jobs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Turn {
    /// The heartbeats of running jobs.
    #[serde(default)]
    pub beats: Vec<Beat>,
    /// The outcomes of finished jobs.
    #[serde(default)]
    pub reports: Vec<OutcomeReport>,
    /// The failed attempts.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// The jobs that are returned to the queue.
    #[serde(default)]
    pub releases: Vec<Ticket>,
}

/// A heartbeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// The job.
    pub ticket: Ticket,
    /// The progress of the job.
    pub progress: Progress,
}

/// The outcome of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeReport {
    /// The job.
    pub ticket: Ticket,
    /// The outcome.
    pub outcome: Outcome,
}

/// A failed attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The job.
    pub ticket: Ticket,
    /// The reason.
    pub reason: String,
}

/// The answers to a [`Turn`], each list in its order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TurnAnswer {
    /// The answer to each heartbeat: continue or stop.
    pub pulses: Vec<Pulse>,
    /// The receipt of each outcome.
    pub reports: Vec<Receipt>,
    /// The receipt of each failure.
    pub failures: Vec<Receipt>,
    /// The receipt of each release.
    pub releases: Vec<Receipt>,
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// The report is recorded, or no longer needed.
    Done,
    /// The node cannot record the report now: the worker must send it again.
    Later(String),
    /// The node rejects the report.
    Rejected(String),
}

/// A request for the attributes of cached objects, to find out which copies are still valid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopiesRequest {
    /// The keys of the objects, as text.
    pub keys: Vec<String>,
}

/// The attributes of objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopiesAnswer {
    /// The attributes of the object of each key; `None` if it does not exist.
    pub found: Vec<Option<Attributes>>,
}

/// The attributes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// The number of bytes.
    pub size: u64,
    /// The time at which the object was created.
    pub modified: Timestamp,
    /// The store's identifier of this content.
    pub etag: String,
}

/// Truncates a text to [`TEXT_BYTES_MAX`].
pub fn shortened(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(TEXT_BYTES_MAX - 4)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_a_header() {
        let lease = LeaseId { job: "a/b c/compare/3".into(), fence: Fence::from_bits(7) };
        let ticket = Ticket { lease, attempt: 2, grant: "00ff".to_owned() };
        assert_eq!(Ticket::of_header(&ticket.to_header()), Some(ticket));
        for wrong in ["", "7 1 x y", "00000000000000000000000000000007 300 x y", "a b"] {
            assert_eq!(Ticket::of_header(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_older_node_does_not_know_the_number_of_workers() {
        let job = Job {
            project: crate::model::ProjectId::from_bytes([1; 24]),
            task: crate::model::Task::Ingest {
                party: 0,
                upload: crate::model::Upload { upload: 7, records: 1, encoding_bytes: 8, blocks: false },
            },
        };
        let lease = LeaseId { job: job.id().into(), fence: Fence::from_bits(7) };
        let assigned = |workers| Assigned {
            ticket: Ticket { lease: lease.clone(), attempt: 1, grant: String::new() },
            job: job.clone(),
            secret: None,
            workers,
            pairs: None,
            enqueued: Timestamp::default(),
            ready: Timestamp::default(),
            until: Timestamp::default(),
        };
        let old = serde_json::to_string(&assigned(None)).unwrap();
        assert!(!old.contains("workers"), "{old}");
        let of_old: Assigned = serde_json::from_str(&old).unwrap();
        assert_eq!(of_old.into_assignment().workers, 1);
        let new = serde_json::to_string(&assigned(Some(40))).unwrap();
        assert_eq!(serde_json::from_str::<Assigned>(&new).unwrap().into_assignment().workers, 40);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened("é"), "é");
        let long = shortened(&"é".repeat(TEXT_BYTES_MAX));
        assert!(long.len() <= TEXT_BYTES_MAX && long.ends_with("é…"));
    }
}

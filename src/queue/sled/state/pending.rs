//! Pending writes, and the callers that wait for them.

use std::num::NonZeroU8;
use std::sync::{Arc, Condvar};

use tokio::sync::oneshot;

use super::leases::Address;
use crate::queue::{Error, Group, JobId, NewJob, QueueName};
use crate::runtime::clock::Timestamp;

/// A request to write new jobs.
#[derive(Debug)]
pub(in crate::queue::sled) struct Request {
    pub(in crate::queue::sled) jobs: Vec<NewJob>,
    /// The dead letters that are redriven with these jobs.
    pub(in crate::queue::sled) redriven: Vec<u64>,
    pub(in crate::queue::sled) now: Timestamp,
    /// The sender that gets the number of new jobs after they are on disk.
    pub(in crate::queue::sled) answer: oneshot::Sender<usize>,
}

/// A name that is being looked up.
#[derive(Debug)]
pub(in crate::queue::sled) struct Lookup {
    pub(in crate::queue::sled) job: JobId,
    /// The sender that gets the address of the living job with this name; `None` if there is none.
    pub(in crate::queue::sled) answer: oneshot::Sender<Option<Address>>,
}

/// A job that becomes a dead letter; its name and payload are still in its segment.
#[derive(Debug)]
pub(in crate::queue::sled) struct NewDeadLetter {
    pub(in crate::queue::sled) sequence: u64,
    pub(in crate::queue::sled) address: Address,
    pub(in crate::queue::sled) queue: QueueName,
    pub(in crate::queue::sled) group: Group,
    pub(in crate::queue::sled) priority: i8,
    pub(in crate::queue::sled) attempts: u8,
    pub(in crate::queue::sled) attempts_max: NonZeroU8,
    pub(in crate::queue::sled) reason: String,
    pub(in crate::queue::sled) died: Timestamp,
}

/// The changes of one group commit.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct Batch {
    pub(in crate::queue::sled) requests: Vec<Request>,
    pub(in crate::queue::sled) lookups: Vec<Lookup>,
    pub(in crate::queue::sled) dead_letters: Vec<NewDeadLetter>,
    /// The segments whose marks on the disk are out of date.
    pub(in crate::queue::sled) dirty: Vec<u32>,
    /// Other keys, each with true if it is written and false if it is removed.
    pub(in crate::queue::sled) keys: Vec<(Vec<u8>, bool)>,
    /// The senders that get the result when the store has been rewritten without removed data.
    pub(in crate::queue::sled) erasures: Vec<oneshot::Sender<Result<(), Error>>>,
}

impl Batch {
    pub(in crate::queue::sled) fn is_empty(&self) -> bool {
        let writes = self.requests.len() + self.dead_letters.len() + self.dirty.len() + self.keys.len();
        writes + self.lookups.len() + self.erasures.len() == 0
    }
}

/// The number of waiting callers at which the batch is written without a delay.
const CALLERS_MANY: usize = 4;
/// The number of callers of the batch before up to which a batch is written without a delay: no others are expected.
const CALLERS_FEW: usize = 2;

/// The urgency of the next flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::queue::sled) enum FlushUrgency {
    /// No caller waits.
    #[default]
    None,
    /// A few callers wait: others may come within the group-commit delay and share the sync.
    Soon,
    /// New jobs wait, or many callers, or a caller where few have called.
    Now,
}

/// The pending batch, and the callers that wait for it.
#[derive(Debug)]
pub(in crate::queue::sled) struct PendingWrites {
    batch: Batch,
    waiting: Vec<oneshot::Sender<()>>,
    /// The callers whose changes are being written; `None` if no batch is being written.
    writing: Option<Vec<oneshot::Sender<()>>>,
    /// The number of callers of the batch that was taken last.
    callers: usize,
    urgency: FlushUrgency,
    /// True if the committer waits without a timeout until it is notified.
    pub(in crate::queue::sled) asleep: bool,
    /// The failure after which the store must be reopened.
    failure: Option<Error>,
    work: Arc<Condvar>,
}

impl PendingWrites {
    pub(in crate::queue::sled) fn new(work: Arc<Condvar>) -> Self {
        let (batch, urgency) = (Batch::default(), FlushUrgency::None);
        let (waiting, writing, callers) = (Vec::new(), None, 0);
        Self { batch, waiting, writing, callers, urgency, asleep: false, failure: None, work }
    }

    pub(in crate::queue::sled) fn add_dirty(&mut self, segment: u32) {
        self.wake_if_asleep();
        self.batch.dirty.push(segment);
    }

    fn wake_if_asleep(&mut self) {
        if std::mem::take(&mut self.asleep) {
            self.work.notify_one();
        }
    }

    pub(in crate::queue::sled) fn add_dead_letter(&mut self, letter: NewDeadLetter) {
        self.wake_if_asleep();
        self.batch.dead_letters.push(letter);
    }

    /// Writes a key with an empty value, or removes the key if `present` is false.
    pub(in crate::queue::sled) fn add_key(&mut self, key: Vec<u8>, present: bool) {
        self.wake_if_asleep();
        self.batch.keys.push((key, present));
    }

    pub(in crate::queue::sled) fn add_request(&mut self, request: Request) {
        self.batch.requests.push(request);
        self.raise_urgency(FlushUrgency::Now);
    }

    pub(in crate::queue::sled) fn add_lookup(&mut self, lookup: Lookup) {
        self.batch.lookups.push(lookup);
        self.raise_urgency(FlushUrgency::Now);
    }

    pub(in crate::queue::sled) fn add_erasure(&mut self, answer: oneshot::Sender<Result<(), Error>>) {
        self.batch.erasures.push(answer);
        self.raise_urgency(FlushUrgency::Now);
    }

    /// Returns a receiver that fires once all pending writes are on the disk; `None` if nothing is pending.
    pub(in crate::queue::sled) fn ticket(&mut self) -> Option<oneshot::Receiver<()>> {
        let (send, receive) = oneshot::channel();
        if self.batch.is_empty() {
            self.writing.as_mut()?.push(send);
        } else {
            self.waiting.push(send);
            let is_alone = self.callers <= CALLERS_FEW;
            let waits = self.waiting.len() < CALLERS_MANY && !is_alone;
            self.raise_urgency(if waits { FlushUrgency::Soon } else { FlushUrgency::Now });
        }
        Some(receive)
    }

    /// Makes the committer reopen the store.
    pub(in crate::queue::sled) fn report_failure(&mut self, failure: Error) {
        self.failure.get_or_insert(failure);
        self.raise_urgency(FlushUrgency::Now);
    }

    /// Takes the failure after which the store must be reopened.
    pub(in crate::queue::sled) const fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    fn raise_urgency(&mut self, urgency: FlushUrgency) {
        if urgency > self.urgency {
            self.urgency = urgency;
            self.work.notify_one();
        }
    }

    pub(in crate::queue::sled) fn urgency(&self) -> FlushUrgency {
        self.urgency
    }

    pub(in crate::queue::sled) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Takes the batch, which the committer will write.
    pub(in crate::queue::sled) fn take(&mut self) -> Batch {
        self.urgency = FlushUrgency::None;
        self.callers = self.waiting.len() + self.batch.requests.len();
        self.writing = Some(std::mem::take(&mut self.waiting));
        std::mem::take(&mut self.batch)
    }

    /// Returns the callers that waited for the batch.
    pub(in crate::queue::sled) fn written(&mut self) -> Vec<oneshot::Sender<()>> {
        self.writing.take().unwrap_or_default()
    }

    /// Drops all pending writes; waiting callers get an error.
    pub(in crate::queue::sled) fn abandon_all(&mut self) {
        self.batch = Batch::default();
        self.failure = None;
        self.waiting.clear();
        self.writing = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_waits_for_others_only_if_several_called_before() {
        let mut pending = PendingWrites::new(Arc::default());
        let mut called = |callers| {
            pending.add_dirty(1);
            let tickets: Vec<_> = (0..callers).map(|_| pending.ticket()).collect();
            let urgency = pending.urgency();
            pending.take();
            pending.written();
            drop(tickets);
            urgency
        };
        assert_eq!(called(1), FlushUrgency::Now);
        assert_eq!(called(CALLERS_FEW + 1), FlushUrgency::Now);
        assert_eq!(called(1), FlushUrgency::Soon);
        assert_eq!(called(1), FlushUrgency::Now);
        assert_eq!(called(CALLERS_MANY), FlushUrgency::Now);
        assert_eq!(called(CALLERS_MANY - 1), FlushUrgency::Soon);
        assert_eq!(called(0), FlushUrgency::None);
    }
}

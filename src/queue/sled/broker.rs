//! The broker of the embedded queue. Each call changes the state in memory and waits for the committer.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};

use super::claim;
use super::committer;
use super::engine::placement;
use super::engine::segment_cache::Cache;
use super::home::Home;
use super::inspect;
use super::recovery::StoreLocation;
use super::settings::Settings;
use super::shared::Shared;
use super::state::pending::{Lookup, Request};
use super::state::queue_state::{Ended, QueueState};
use crate::queue::broker::JOB_BYTES_MAX;
use crate::queue::{
    Acked, Broker, Cancelled, Claim, DeadLetter, DeadQuery, Error, Group, Heartbeat, JobDetail, JobId,
    JobQuery, JobSummary, Lease, LeaseId, NewJob, Pulse, QueueName, Redelivery, Stats,
};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

/// The embedded queue.
///
/// Dropping it closes it, and blocks until everything is written.
#[derive(Debug)]
pub struct SledBroker {
    shared: Arc<Shared>,
    settings: Settings,
    entropy: Entropy,
    committer: Mutex<Option<JoinHandle<()>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl SledBroker {
    /// Opens the queue of a directory, which is created if it does not exist. Blocks while the disk is read.
    ///
    /// # Errors
    /// [`Error::Storage`] if the directory cannot be used or another process uses it; [`Error::Damaged`] if its
    /// content cannot be read and the settings forbid a quarantine.
    pub fn open(directory: &Path, settings: Settings, entropy: Entropy) -> Result<Self, Error> {
        let work = Arc::new(Condvar::new());
        let directory = placement::directory(directory);
        let mut location = StoreLocation { directory: directory.clone(), settings, entropy: entropy.clone() };
        let (store, mut opened, renewals) = match location.open(&work) {
            Err(damage @ Error::Damaged(_)) => {
                let (store, opened) = location.replace_damaged(&work, damage)?;
                (store, opened, 1)
            }
            opened => opened.map(|(store, opened)| (store, opened, 0))?,
        };
        location.settings.expected = true;
        let shared = Arc::new(Shared {
            state: Mutex::new(opened.state.take().expect("it was just read")),
            work,
            wake: Notify::new(),
            cache: Mutex::new(Cache::new(settings.cache_bytes)),
            store: RwLock::new(Some(Arc::new(store))),
            home: Home::of(&directory)?,
            renewals: AtomicU64::new(renewals),
        });
        let (send, receive) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let committer = std::thread::Builder::new()
            .name("queue-committer".to_owned())
            .spawn(move || {
                committer::run(&theirs, &location, opened);
                drop(theirs);
                // The broker may have been dropped.
                let _ = send.send(());
            })
            .map_err(|error| Error::Storage(error.into()))?;
        let (committer, ended) = (Mutex::new(Some(committer)), Mutex::new(Some(receive)));
        Ok(Self { shared, settings, entropy, committer, ended })
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Waits until the changes that a ticket covers are on disk.
    async fn written(&self, ticket: Option<oneshot::Receiver<()>>) -> Result<(), Error> {
        match ticket {
            None => Ok(()),
            Some(ticket) => ticket.await.map_err(|_| self.failure()),
        }
    }

    /// Returns the reason why a change was not written.
    fn failure(&self) -> Error {
        let ended = self.shared.state().ended.clone();
        ended.unwrap_or_else(|| Ended::Failed("the queue has stopped writing".into())).error()
    }

    /// Returns the outcome of a read, and has the store reopened after an error.
    fn checked_read<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        read.inspect_err(|failure| self.shared.report_failure(failure))
    }

    /// Makes a change and waits until it is on the disk.
    async fn change<T>(&self, change: impl FnOnce(&mut QueueState) -> Result<T, Error>) -> Result<T, Error> {
        let (outcome, ticket) = {
            let mut state = self.shared.open_state()?;
            let outcome = change(&mut state)?;
            (outcome, state.ticket())
        };
        self.written(ticket).await?;
        Ok(outcome)
    }

    async fn set_paused(&self, queue: &QueueName, paused: bool) -> Result<(), Error> {
        let change = self.change(|state| {
            state.set_paused(queue, paused);
            Ok(())
        });
        change.await
    }

    /// Passes new jobs to the committer and waits until they are on the disk.
    async fn accept(
        &self,
        request: impl FnOnce(&mut QueueState, oneshot::Sender<usize>) -> Option<Request>,
    ) -> Result<usize, Error> {
        let (send, receive) = oneshot::channel();
        {
            let mut state = self.shared.open_state()?;
            let Some(request) = request(&mut state, send) else { return Ok(0) };
            state.pending.add_request(request);
        }
        receive.await.map_err(|_| self.failure())
    }
}

impl Drop for SledBroker {
    fn drop(&mut self) {
        self.shared.end(Ended::Closed);
        let committer = self.committer.lock().ok().and_then(|mut committer| committer.take());
        if let Some(committer) = committer {
            // If the committer panicked, the callers that waited for it have got an error.
            let _ = committer.join();
        }
    }
}

#[async_trait]
impl Broker for SledBroker {
    async fn enqueue(&self, jobs: &[NewJob], now: Timestamp) -> Result<usize, Error> {
        if let Some(job) = jobs.iter().find(|job| job.size_bytes() > JOB_BYTES_MAX) {
            let (job, size_bytes) = (job.job.clone(), job.size_bytes());
            return Err(Error::TooLarge { job, size_bytes, size_bytes_max: JOB_BYTES_MAX });
        }
        let jobs = jobs.to_vec();
        self.accept(|_, answer| {
            (!jobs.is_empty()).then_some(Request { jobs, redriven: Vec::new(), now, answer })
        })
        .await
    }

    async fn claim(&self, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, Error> {
        claim::claim(&self.shared, claim, now).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.change(|_| Ok(())).await
    }

    async fn heartbeat(&self, beats: &[Heartbeat], now: Timestamp) -> Result<Vec<Pulse>, Error> {
        // Leases are in memory only: they continue while the store is being reopened.
        let mut state = self.shared.state();
        if let Some(ended @ (Ended::Closed | Ended::Failed(_))) = &state.ended {
            return Err(ended.error());
        }
        let length = self.settings.lease_taken_up;
        Ok(beats.iter().map(|beat| state.heartbeat(beat, length, now)).collect())
    }

    async fn ack_all(&self, leases: &[LeaseId], now: Timestamp) -> Result<Vec<Acked>, Error> {
        self.change(|state| Ok(leases.iter().map(|lease| state.ack(lease, now)).collect())).await
    }

    async fn nack(&self, lease: &LeaseId, reason: &str, now: Timestamp) -> Result<Redelivery, Error> {
        let backoff = (self.settings.backoff, &self.entropy);
        let redelivery = self.change(|state| state.nack(lease, reason, backoff, now)).await?;
        self.shared.wake.notify_waiters();
        Ok(redelivery)
    }

    async fn release(&self, leases: &[LeaseId], now: Timestamp) -> Result<(), Error> {
        let released = self.change(|state| {
            for lease in leases.iter().rev() {
                state.release(lease.fence, now);
            }
            Ok(())
        });
        released.await?;
        self.shared.wake.notify_waiters();
        Ok(())
    }

    async fn cancel_group(&self, group: &Group, _now: Timestamp) -> Result<Cancelled, Error> {
        self.change(|state| Ok(state.cancel_group(group))).await
    }

    async fn pause(&self, queue: &QueueName, _now: Timestamp) -> Result<(), Error> {
        self.set_paused(queue, true).await
    }

    async fn resume(&self, queue: &QueueName, _now: Timestamp) -> Result<(), Error> {
        self.set_paused(queue, false).await?;
        self.shared.wake.notify_waiters();
        Ok(())
    }

    async fn dead_letters(&self, query: &DeadQuery, now: Timestamp) -> Result<Vec<DeadLetter>, Error> {
        let died = self.change(|state| {
            state.advance(now);
            Ok(())
        });
        died.await?;
        Ok(self.shared.open_state()?.dead.list(query))
    }

    async fn redrive(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error> {
        self.accept(|state, answer| {
            let redriven = state.redrive(jobs);
            (!redriven.is_empty()).then_some(Request { jobs: Vec::new(), redriven, now, answer })
        })
        .await
    }

    async fn discard(&self, jobs: &[JobId], _now: Timestamp) -> Result<usize, Error> {
        let discarded = self.change(|state| {
            let letters = state.dead.find(jobs);
            state.discard(&letters);
            Ok(letters.len())
        });
        discarded.await
    }

    async fn show(&self, job: &JobId, now: Timestamp) -> Result<Option<JobDetail>, Error> {
        if let Some(dead) = self.checked_read(inspect::dead(&self.shared, job).await)? {
            return Ok(Some(dead));
        }
        let (answer, found) = oneshot::channel();
        let lookup = Lookup { job: job.clone(), answer };
        self.shared.open_state()?.pending.add_lookup(lookup);
        match found.await.map_err(|_| self.failure())? {
            Some(address) => self.checked_read(inspect::living(&self.shared, address, now).await),
            None => Ok(None),
        }
    }

    async fn jobs(&self, query: &JobQuery, now: Timestamp) -> Result<Vec<JobSummary>, Error> {
        self.checked_read(inspect::jobs(&self.shared, query, now).await)
    }

    async fn has_jobs(&self, group: &Group, now: Timestamp) -> Result<bool, Error> {
        let mut state = self.shared.open_state()?;
        state.advance(now);
        Ok(!state.scheduler.of_group(group).is_empty())
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, Error> {
        let in_place = self.shared.in_place();
        let mut state = self.shared.open_state()?;
        if let Err(displaced) = in_place {
            drop(state);
            self.shared.report_failure(&displaced);
            return Err(displaced);
        }
        state.advance(now);
        Ok(inspect::stats(&state, now))
    }

    /// Returns once the store is damaged and the settings forbid a quarantine, or the committer has failed for good.
    async fn failed(&self) -> Error {
        loop {
            let mut woken = std::pin::pin!(self.shared.wake.notified());
            woken.as_mut().enable();
            let ended = self.shared.state().ended.clone();
            if let Some(failed @ Ended::Failed(_)) = ended {
                return failed.error();
            }
            woken.await;
        }
    }

    fn renewals(&self) -> u64 {
        self.shared.renewals.load(Ordering::Acquire)
    }

    async fn erase_traces(&self) -> Result<(), Error> {
        let (answer, erased) = oneshot::channel();
        self.shared.open_state()?.pending.add_erasure(answer);
        erased.await.map_err(|_| self.failure())?
    }

    async fn close(&self) -> Result<(), Error> {
        self.shared.end(Ended::Closed);
        let ended = self.ended.lock().ok().and_then(|mut ended| ended.take());
        if let Some(ended) = ended {
            // An error means that the sender was dropped: the committer has ended, too.
            let _ = ended.await;
        }
        match &self.shared.state().ended {
            Some(Ended::Failed(reason)) => Err(Ended::Failed(Arc::clone(reason)).error()),
            _ => Ok(()),
        }
    }
}

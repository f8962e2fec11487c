//! The state that callers and the committer share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::engine::layout::{Body, damaged};
use super::engine::segment_cache::Cache;
use super::engine::store::Store;
use super::home::Home;
use super::state::queue_state::{Ended, QueueState};
use crate::queue::Error;

/// The interval at which a store that is to be closed is checked for readers.
const READER_PAUSE: Duration = Duration::from_millis(1);

/// The state that callers and the committer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<QueueState>,
    /// Notifies the committer that there is something to write.
    pub(super) work: Arc<Condvar>,
    /// Notifies claims that there may be ready jobs.
    pub(super) wake: Notify,
    pub(super) cache: Mutex<Cache>,
    /// Absent while the store is being reopened.
    pub(super) store: RwLock<Option<Arc<Store>>>,
    /// The parent directory and file system of the store.
    pub(super) home: Home,
    /// The number of new stores that have replaced damaged ones.
    pub(super) renewals: AtomicU64,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect("no caller panics with the state")
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().expect("no caller panics with the cache")
    }

    /// Returns the store, unless it is being reopened.
    pub(super) fn store(&self) -> Result<Arc<Store>, Error> {
        let store = self.store.read().expect("no caller panics with the store").clone();
        store.ok_or_else(|| Error::Storage("it is being opened again".into()))
    }

    /// Makes the committer reopen or replace the store, after a failed read.
    pub(super) fn report_failure(&self, failure: &Error) {
        let failure = match failure {
            Error::Storage(_) => Error::Storage(failure.reason().into()),
            Error::Damaged(_) => Error::Damaged(failure.reason().into()),
            _ => return,
        };
        let mut state = self.state();
        if state.ended.is_none() {
            state.pending.report_failure(failure);
        }
    }

    /// Checks that the store is still where it was opened.
    ///
    /// # Errors
    /// [`Error::Storage`], if the file system of the store is missing; [`Error::Damaged`], if files of the store are
    /// missing.
    pub(super) fn in_place(&self) -> Result<(), Error> {
        self.home.check()?;
        self.store()?.in_place()
    }

    /// Drops the store once its current readers have finished.
    pub(super) fn take_store(&self) {
        self.store.write().expect("no caller panics with the store").take();
    }

    /// Makes an opened store available.
    pub(super) fn put_store(&self, store: Store) {
        *self.store.write().expect("no caller panics with the store") = Some(Arc::new(store));
    }

    /// Replaces the store. `exchange` receives the old one once it has no readers; new readers wait.
    pub(super) fn exchange_store(
        &self,
        exchange: impl FnOnce(Store) -> Result<Store, Error>,
    ) -> Result<(), Error> {
        let mut place = self.store.write().expect("no caller panics with the store");
        let Some(mut old) = place.take() else {
            return Err(Error::Storage("it is being opened again".into()));
        };
        let store = loop {
            match Arc::try_unwrap(old) {
                Ok(store) => break store,
                Err(in_use) => old = in_use,
            }
            std::thread::sleep(READER_PAUSE);
        };
        *place = Some(Arc::new(exchange(store)?));
        Ok(())
    }

    /// Locks the state, unless the queue has ended.
    pub(super) fn open_state(&self) -> Result<MutexGuard<'_, QueueState>, Error> {
        let state = self.state();
        match &state.ended {
            None => Ok(state),
            Some(ended) => Err(ended.error()),
        }
    }

    /// Ends the queue for this reason, unless it has already failed or been closed.
    pub(super) fn end(&self, ended: Ended) {
        let mut state = self.state();
        if !matches!(ended, Ended::Closed) {
            state.pending.abandon_all();
        }
        // A recovery that begins while the queue is being closed must not reopen the store: nothing would close it.
        if !matches!(state.ended, Some(Ended::Failed(_) | Ended::Closed)) {
            state.ended = Some(ended);
        }
        drop(state);
        self.work.notify_one();
        self.wake.notify_waiters();
    }

    /// Returns the names and payloads of a segment with living jobs. Blocks.
    pub(super) fn body(&self, segment: u64) -> Result<Body, Error> {
        self.find_body(segment)?.ok_or_else(damaged)
    }

    /// Returns the names and payloads of a segment, if it still exists. Blocks.
    pub(super) fn find_body(&self, segment: u64) -> Result<Option<Body>, Error> {
        if let Some(body) = self.cache().get(segment) {
            return Ok(Some(body));
        }
        let body = self.store()?.body(segment)?;
        if let Some(body) = &body {
            self.cache().insert(segment, body.clone());
        }
        Ok(body)
    }
}

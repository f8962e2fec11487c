//! Recovery of the store. After an I/O error it is closed and reopened, and leases continue. A damaged store is
//! quarantined and replaced by a new one.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, mpsc};
use std::thread;
use std::time::Duration;

use super::engine::store::Store;
use super::engine::tree::{self, storage};
use super::quarantine::quarantine;
use super::settings::{OnDamage, Settings};
use super::shared::Shared;
use super::state::load::{Opened, read};
use super::state::queue_state::{Ended, QueueState};
use super::state::segment::State;
use crate::queue::Error;
use crate::runtime::clock::{Clock, Stopwatch};
use crate::runtime::compute::panic_text;
use crate::runtime::entropy::Entropy;
use crate::system::disk;
use crate::system::permission::{self, Access};
use crate::telemetry::chain;

/// The first pause before the store is reopened; each later pause is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause before the store is reopened.
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
/// The time limit for opening a store, after which it counts as damaged.
const OPEN_MAX: Duration = Duration::from_mins(2);
/// The number of failed attempts to open a store after which it counts as damaged, if the disk accepts writes.
const ATTEMPTS_MAX: u32 = 10;

/// The number of bits of the random number from which a new store numbers its segments.
const FIRST_NUMBER_BITS: u32 = 46;

/// The directory and settings of the store, with which it can be reopened.
#[derive(Clone, Debug)]
pub(super) struct StoreLocation {
    pub(super) directory: PathBuf,
    pub(super) settings: Settings,
    pub(super) entropy: Entropy,
}

impl StoreLocation {
    /// Opens the store and reads it. sled may panic or never return if files are damaged; both count as damage, unless
    /// the disk does not accept writes.
    pub(super) fn open(&self, work: &Arc<Condvar>) -> Result<(Store, Opened), Error> {
        let (location, work) = (self.clone(), Arc::clone(work));
        match bounded(OPEN_MAX, move || location.try_to_open(work)) {
            Err(damage @ Error::Damaged(_)) => Err(self.probe().map_or_else(storage, |()| damage)),
            // The error of sled for a denied access names neither path nor user, so a better one is returned.
            Err(denied @ Error::Storage(_)) => Err(self.may_be_used().map_or_else(storage, |()| denied)),
            outcome => outcome,
        }
    }

    fn try_to_open(&self, work: Arc<Condvar>) -> Result<(Store, Opened), Error> {
        let store = Store::open(&self.directory, &self.settings)?;
        let opened = read(&store, &self.entropy, work, self.settings.backoff)?;
        Ok((store, opened))
    }

    /// Checks that this process may use the files, and that the disk accepts writes. If so, unreadable data is damaged.
    fn probe(&self) -> io::Result<()> {
        self.may_be_used()?;
        let parent = self.directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = if self.directory.is_dir() { Some(self.directory.as_path()) } else { parent };
        folder.map_or(Ok(()), disk::takes_writes)
    }

    /// Checks that this process may use the directory and its content.
    fn may_be_used(&self) -> io::Result<()> {
        let all = Access::READ_OK | Access::WRITE_OK;
        permission::check(&self.directory, all)?;
        if self.directory.is_dir() {
            permission::check(&self.directory, Access::EXEC_OK)?;
            let explained = |error| permission::explained(&self.directory, error);
            for entry in fs::read_dir(&self.directory).map_err(explained)? {
                permission::check(&entry?.path(), all)?;
            }
        }
        Ok(())
    }

    /// Quarantines a damaged store and creates a new one, if the settings allow it.
    pub(super) fn replace_damaged(
        &self,
        work: &Arc<Condvar>,
        damage: Error,
    ) -> Result<(Store, Opened), Error> {
        if self.settings.on_damage == OnDamage::Refuse {
            return Err(damage);
        }
        let place = quarantine(&self.directory, Clock::system().now()).map_err(storage)?;
        let place = place.map_or_else(String::new, |place| format!(" and was moved to {}", place.display()));
        tracing::warn!(
            "the queue is damaged{place}: {}; a new one is filled from the metadata. Dead letters, pauses of queues, delays after failures, and the count of attempts in progress are lost; unfinished jobs are done again",
            damage.reason()
        );
        let settings = Settings { expected: false, ..self.settings };
        let (store, mut opened) = Self { settings, ..self.clone() }.open(work)?;
        // Numbers the segments from a random number, so that fences from the old store are invalid in the new one.
        let anywhere = u64::from_le_bytes(self.entropy.bytes()) >> (64 - FIRST_NUMBER_BITS);
        opened.state.as_mut().expect("it was just read").count_on_from(anywhere);
        Ok((store, opened))
    }
}

/// Runs `open` on a separate thread. A panic counts as damage, and so does exceeding `limit`; the thread is then
/// abandoned.
///
/// # Errors
/// The errors of `open`, and [`Error::Damaged`].
fn bounded<T: Send + 'static>(
    limit: Duration,
    open: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (send, outcome) = mpsc::channel();
    let open = move || {
        let opened = catch_unwind(AssertUnwindSafe(open));
        // There is no receiver after the timeout.
        let _ =
            send.send(opened.unwrap_or_else(|panic| Err(Error::Damaged(panic_text(panic.as_ref()).into()))));
    };
    thread::Builder::new().name("queue-opener".to_owned()).spawn(open).map_err(storage)?;
    outcome.recv_timeout(limit).unwrap_or_else(|_| Err(Error::damaged("opening it takes too long")))
}

/// Reopens the store, or replaces it with a new one; returns `None` if the queue is closed before that succeeds.
///
/// # Errors
/// [`Error::Damaged`] if the settings forbid a quarantine, or the new store is damaged, too.
pub(super) fn recover(
    shared: &Shared,
    location: &StoreLocation,
    failure: Error,
) -> Result<Option<Opened>, Error> {
    tracing::error!("the queue's store has failed and is being reopened: {}", chain(&failure));
    let watch = Stopwatch::start();
    shared.end(Ended::Recovering(failure.reason().into()));
    shared.take_store();
    // After a failed write, cached pages may contain data that is not on the disk.
    tree::forget_cached(&location.directory);
    let mut damage = Some(failure).filter(|failure| matches!(failure, Error::Damaged(_)));
    let (mut pause, mut attempts) = (PAUSE_FIRST, 0);
    while !is_closed_within(shared, pause) {
        pause = (2 * pause).min(PAUSE_LONGEST);
        if let Err(away) = shared.home.check() {
            tracing::warn!("the queue's store cannot be opened yet: {}", chain(&away));
            // Missing files may be on a file system that was unmounted.
            damage = None;
            continue;
        }
        let renewed = damage.is_some();
        let opened = match damage.take() {
            Some(damage) => location.replace_damaged(&shared.work, damage),
            None => location.open(&shared.work),
        };
        match opened {
            Ok((store, mut opened)) => {
                install(shared, store, &mut opened, renewed);
                let away_ms = watch.elapsed().as_millis() as u64;
                tracing::warn!(away_ms, "the queue's store is open again");
                return Ok(Some(opened));
            }
            Err(error @ Error::Damaged(_)) if renewed => return Err(error),
            Err(error @ Error::Damaged(_)) => damage = Some(error),
            Err(error) => {
                tracing::warn!("the queue's store cannot be opened yet: {}", chain(&error));
                attempts += 1;
                let unreadable = attempts >= ATTEMPTS_MAX && location.probe().is_ok();
                damage = unreadable.then(|| Error::Damaged(error.reason().into()));
            }
        }
    }
    Ok(None)
}

/// Waits; returns true if the queue was closed meanwhile.
fn is_closed_within(shared: &Shared, pause: Duration) -> bool {
    let is_recovering = |state: &mut QueueState| matches!(state.ended, Some(Ended::Recovering(_)));
    let waited = shared.work.wait_timeout_while(shared.state(), pause, is_recovering);
    let (mut state, _) = waited.expect("no caller panics with the state");
    !is_recovering(&mut state)
}

/// Publishes the new state, with the leases and meters of the old one. A new store continues the numbers of the old.
fn install(shared: &Shared, store: Store, opened: &mut Opened, renewed: bool) {
    shared.put_store(store);
    let mut state = shared.state();
    let closed = matches!(state.ended, Some(Ended::Closed));
    let old = std::mem::replace(&mut *state, std::mem::take(&mut opened.state).expect("it was just read"));
    if renewed {
        state.count_on_from(old.next_number());
        shared.renewals.fetch_add(1, Ordering::AcqRel);
    }
    state.keep_leases_of(old);
    state.ended = closed.then_some(Ended::Closed);
    drop(state);
    shared.wake.notify_waiters();
}

impl QueueState {
    /// Takes over the leases and meters of the earlier state. A job whose removal was not written is in the queue again
    /// without a lease; the caller that removed it got an error.
    fn keep_leases_of(&mut self, mut old: Self) {
        for (address, lease) in old.leases.iter() {
            match self.place_of(address) {
                // On the disk the job may still be delayed: the end of a delay is not always written.
                Some(place) if matches!(self.segments.slot(place).state, State::Ready | State::Delayed) => {
                    if let Some(before) = old.place_of(address) {
                        let attempts = &mut self.segments.slot_mut(place).attempts;
                        *attempts = old.segments.slot(before).attempts.max(*attempts);
                    }
                    self.set_state(place, State::Held);
                    self.mark_dirty(place);
                    self.leases
                        .keep(address, super::state::leases::LeaseEntry { cancelled: false, ..*lease });
                }
                // The job is cancelled, and its worker has yet to learn that.
                None if lease.cancelled => self.leases.keep(address, *lease),
                _ => {}
            }
        }
        self.leases.count_on_from(&old.leases);
        self.scheduler.keep_meters_of(&mut old.scheduler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_does_not_open_in_time_is_damaged() {
        const LIMIT: Duration = Duration::from_millis(20);
        let (hold, held) = mpsc::channel::<()>();
        let late = bounded(LIMIT, move || {
            // The thread ends when the test does.
            let _ = held.recv();
            Ok(())
        });
        assert!(matches!(&late, Err(Error::Damaged(_))), "{late:?}");
        assert!(late.unwrap_err().reason().contains("takes too long"));
        drop(hold);
        let panicked: Result<(), Error> = bounded(OPEN_MAX, || panic!("a broken page"));
        assert!(panicked.unwrap_err().reason().contains("a broken page"));
        assert_eq!(bounded(OPEN_MAX, || Ok(7)).unwrap(), 7);
    }
}

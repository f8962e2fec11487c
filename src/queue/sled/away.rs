//! When the disk does not do as told: the store is let go of and opened again, and who holds a job keeps it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::book::{Book, Ended};
use super::broker::Settings;
use super::open::{Opened, read};
use super::segment::State;
use super::shared::Shared;
use super::store::Store;
use super::tree;
use crate::queue::Error;
use crate::runtime::clock::Stopwatch;
use crate::runtime::entropy::Entropy;
use crate::telemetry::chain;

/// The first pause before the store is opened again; later ones are twice as long each.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// Where the store lies, and what it takes to open it again.
#[derive(Debug)]
pub(super) struct Lair {
    pub(super) directory: PathBuf,
    pub(super) settings: Settings,
    pub(super) entropy: Entropy,
}

impl Lair {
    /// Opens the store and reads it.
    pub(super) fn open(&self, shared_work: &Arc<std::sync::Condvar>) -> Result<(Store, Opened), Error> {
        let store = Store::open(&self.directory, &self.settings)?;
        let opened = read(&store, &self.entropy, Arc::clone(shared_work))?;
        Ok((store, opened))
    }
}

/// Goes on with the store opened anew; `None` when the queue is closed first.
///
/// # Errors
/// [`Error::Damaged`], which no further try would mend.
pub(super) fn come_back(shared: &Shared, lair: &Lair, failure: &Error) -> Result<Option<Opened>, Error> {
    tracing::error!("the queue's store has failed and is opened again: {}", chain(failure));
    let watch = Stopwatch::start();
    shared.end(Ended::Away(failure.reason().into()));
    shared.take_store();
    // What could not be written may still be in memory, as if it had been.
    tree::forget_cached(&lair.directory);
    let mut pause = PAUSE_FIRST;
    while !is_closed_within(shared, pause) {
        match lair.open(&shared.work) {
            Ok((store, mut opened)) => {
                install(shared, store, &mut opened);
                let away_ms = watch.elapsed().as_millis() as u64;
                tracing::warn!(away_ms, "the queue's store is open again; nothing acknowledged is lost");
                return Ok(Some(opened));
            }
            Err(error @ Error::Damaged(_)) => return Err(error),
            Err(error) => tracing::warn!("the queue's store cannot be opened yet: {}", chain(&error)),
        }
        pause = (2 * pause).min(PAUSE_LONGEST);
    }
    Ok(None)
}

/// Waits; says whether the queue was closed meanwhile.
fn is_closed_within(shared: &Shared, pause: Duration) -> bool {
    let is_away = |book: &mut Book| matches!(book.ended, Some(Ended::Away(_)));
    let waited = shared.work.wait_timeout_while(shared.book(), pause, is_away);
    let (mut book, _) = waited.expect("no caller panics with the book");
    !is_away(&mut book)
}

/// Lets callers have the new book, with what only the old one knew.
fn install(shared: &Shared, store: Store, opened: &mut Opened) {
    shared.put_store(store);
    let mut book = shared.book();
    let closed = matches!(book.ended, Some(Ended::Closed));
    let old = std::mem::replace(&mut *book, std::mem::take(&mut opened.book).expect("it was just read"));
    book.keep_holds_of(old);
    book.ended = closed.then_some(Ended::Closed);
    drop(book);
    shared.wake.notify_waiters();
}

impl Book {
    /// Keeps the leases and the counts of the book before. A job whose removal was not written is there again, in the
    /// hands of nobody: who was to remove it has been told that it is not certain.
    fn keep_holds_of(&mut self, mut old: Self) {
        for (address, hold) in old.leases.iter() {
            match self.place_of(address) {
                Some(place) if self.segments.slot(place).state == State::Ready => {
                    if let Some(before) = old.place_of(address) {
                        let attempts = &mut self.segments.slot_mut(place).attempts;
                        *attempts = old.segments.slot(before).attempts.max(*attempts);
                    }
                    self.turn_into(place, State::Held);
                    self.mark_dirty(place);
                    self.leases.keep(address, super::leases::Hold { cancelled: false, ..*hold });
                }
                // Its holder has not been told yet.
                None if hold.cancelled => self.leases.keep(address, *hold),
                _ => {}
            }
        }
        self.leases.count_on_from(&old.leases);
        self.lanes.keep_meters_of(&mut old.lanes);
    }
}

//! Loads heads and marks into memory; bodies stay on the disk.

use std::sync::{Arc, Condvar};

use super::super::engine::layout::{Dead, Head, Marks, Tag, damaged, decode, number};
use super::super::engine::store::Store;
use super::ids::Ids;
use super::queue_state::QueueState;
use crate::queue::{Backoff, Error};
use crate::runtime::entropy::Entropy;

/// The state that was read from the store.
pub(in crate::queue::sled) struct Opened {
    /// The state, until it is taken out.
    pub(in crate::queue::sled) state: Option<QueueState>,
    pub(in crate::queue::sled) ids: Ids,
    /// The exclusive upper bound of the numbers that may be in use.
    pub(in crate::queue::sled) bound: u64,
}

/// Reads everything except names and payloads.
pub(in crate::queue::sled) fn read(
    store: &Store,
    entropy: &Entropy,
    work: Arc<Condvar>,
    backoff: Backoff,
) -> Result<Opened, Error> {
    let bound = store.bound()?;
    let mut state = QueueState::new(entropy, bound, work, backoff.longest);
    let mut ids = Ids::default();
    read_segments(store, &mut state, &mut ids)?;
    for entry in store.scan(Tag::Dead) {
        let dead: Dead = decode(&entry?.1)?;
        state.dead.insert(dead.letter);
    }
    for entry in store.scan(Tag::Paused) {
        let (key, _) = entry?;
        let name = std::str::from_utf8(&key[1..]).map_err(|_| damaged())?;
        let queue = state.scheduler.queue(&name.into());
        state.scheduler.queue_mut(queue).paused = true;
    }
    Ok(Opened { state: Some(state), ids, bound })
}

/// Reads heads and marks side by side: both are in the order of their segments.
fn read_segments(store: &Store, state: &mut QueueState, ids: &mut Ids) -> Result<(), Error> {
    let mut all_marks = store.scan(Tag::Marks).peekable();
    for entry in store.scan(Tag::Head) {
        let (key, head) = entry?;
        let (key, head) = (number(&key)?, decode::<Head>(&head)?);
        let is_ours = |entry: &Result<(::sled::IVec, ::sled::IVec), Error>| match entry {
            Ok((marked, _)) => number(marked).is_ok_and(|marked| marked == key),
            Err(_) => true,
        };
        let marks = all_marks.next_if(is_ours).transpose()?;
        let marks = marks.map(|(_, marks)| decode::<Marks>(&marks)).transpose()?;
        check(&head, marks.as_ref())?;
        let index = state.admit(key, &head, marks.as_ref());
        add_names(store, ids, index, (key, &head.prints), marks.as_ref())?;
    }
    Ok(())
}

/// Checks that every slot in the marks and the delays exists.
fn check(head: &Head, marks: Option<&Marks>) -> Result<(), Error> {
    let count = head.prints.len();
    let runs: usize = head.runs.iter().map(|run| usize::from(run.count)).sum();
    let delayed = head.delays.iter().chain(marks.into_iter().flat_map(|marks| &marks.delays));
    let tried = marks.into_iter().flat_map(|marks| &marks.attempts);
    let mut slots = delayed.map(|(slot, _)| slot).chain(tried.map(|(slot, _)| slot));
    let fits = runs == count && u16::try_from(count).is_ok();
    (fits && slots.all(|slot| usize::from(*slot) < count)).then_some(()).ok_or_else(damaged)
}

fn add_names(
    store: &Store,
    ids: &mut Ids,
    index: u32,
    (key, prints): (u64, &[u64]),
    marks: Option<&Marks>,
) -> Result<(), Error> {
    for (slot, print) in (0..).zip(prints) {
        if marks.is_some_and(|marks| marks.is_gone(slot)) {
            continue;
        }
        match ids.holder(*print) {
            Some(holder) if holder != index => {
                let body = store.body(key)?.ok_or_else(damaged)?;
                ids.insert_collided(body.name(slot)?.into(), index);
            }
            _ => ids.insert(*print, index),
        }
    }
    Ok(())
}

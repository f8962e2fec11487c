//! A cache of packed rows, for the other tiles of a run that compare them.
//!
//! A large comparison is cut into a grid. The tiles in a row of the grid have the same left rows, those in a column
//! the same right rows. Packing a row takes as long as comparing it with some thousands of others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::footprint::Footprint;
use super::packed::{Form, LaneSide, RowSide};
use super::rows::Rows;

/// The maximum size of each cache, in bytes. A side that is evicted lives as long as it is in use.
const KEPT_BYTES: usize = 24 << 20;

/// The most recently used packed rows of a run. Dropping the value frees them.
#[derive(Debug, Default)]
pub struct Sides {
    pub(super) rows: SideCache<RowSide>,
    pub(super) lanes: SideCache<LaneSide>,
}

/// The key of a side: its rows, and the form in which they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    dataset: u32,
    first: u32,
    count: usize,
    form: Form,
}

impl Key {
    /// Returns the key of consecutive rows; listed rows are not cached.
    pub(super) fn of(dataset: u32, rows: &Rows<'_>, form: Form) -> Option<Self> {
        let first = rows.first_of_range()?;
        Some(Self { dataset, first, count: rows.len(), form })
    }
}

/// A side that is packed or being packed.
type Slot<T> = Arc<OnceLock<Arc<T>>>;

/// Sides of one kind, the most recently used last.
pub(super) struct SideCache<T>(Mutex<VecDeque<(Key, Slot<T>)>>);

impl<T: Footprint> SideCache<T> {
    /// Returns the side, which the first caller makes while others wait. `make` must not use the rayon pool: its
    /// thread could then run a task that waits for this side.
    pub(super) fn get_or_make(&self, key: Option<Key>, make: impl FnOnce() -> T) -> Arc<T> {
        let Some(key) = key else { return Arc::new(make()) };
        let slot = self.slot(key);
        let side = Arc::clone(slot.get_or_init(|| Arc::new(make())));
        self.forget_oldest();
        side
    }

    fn slot(&self, key: Key) -> Slot<T> {
        let mut slots = self.0.lock();
        let known = slots.iter().position(|(known, _)| *known == key);
        let found = known.and_then(|at| slots.remove(at)).unwrap_or_else(|| (key, Slot::default()));
        let slot = Arc::clone(&found.1);
        slots.push_back(found);
        slot
    }

    fn forget_oldest(&self) {
        let mut slots = self.0.lock();
        let size = |slot: &Slot<T>| slot.get().map_or(0, |side| side.bytes());
        let mut bytes: usize = slots.iter().map(|(_, slot)| size(slot)).sum();
        while bytes > KEPT_BYTES
            && let Some((_, slot)) = slots.pop_front()
        {
            bytes -= size(&slot);
        }
    }
}

impl<T> Default for SideCache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> fmt::Debug for SideCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SideCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Large(usize);

    impl Footprint for Large {
        fn bytes(&self) -> usize {
            KEPT_BYTES / 2
        }
    }

    #[test]
    fn the_latest_sides_are_kept_and_what_is_listed_never() {
        let cache = SideCache::default();
        let (matrix, ids) = ([0; 80], [0; 4]);
        let rows = Rows::all(&matrix, 8).unwrap();
        let key = |row: usize| Key::of(0, &rows.part(row..row + 1), Form::Words);
        let ask = |row, made| cache.get_or_make(key(row), || Large(made)).0;
        assert_eq!([ask(0, 1), ask(0, 2), ask(1, 3), ask(0, 4)], [1, 1, 3, 1]);
        assert_eq!([ask(2, 5), ask(0, 6), ask(1, 7)], [5, 1, 7], "the oldest went");
        assert_eq!(Key::of(0, &Rows::listed(&matrix, 8, &ids).unwrap(), Form::Words), None);
        assert_eq!(cache.get_or_make(None, || Large(8)).0, 8);
    }
}

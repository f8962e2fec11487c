//! Bounded state of the limiters: the time at which each client's allowance is full again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference};
use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::{Mutex, MutexGuard};

use crate::edge::network::Network;

/// Parts that are locked for themselves.
const SHARDS: usize = 64;
/// Cells of a part at most: what a hash table of 2^15 buckets takes. All parts together take 36 MB then.
const CELLS_MAX: usize = (1 << 15) / 8 * 7;
/// From how many cells on a part is looked through for those that say nothing any more.
const SWEPT_FROM: usize = 256;
/// The least time between two sweeps of a full shard.
const SWEPT_AGAIN: Duration = Duration::from_millis(100);
/// Cells that say nothing are kept this much longer: each limiter began to count at a moment of its own.
const SLACK: Duration = Duration::from_secs(1);

/// Cells of many kinds, each under a number made from its kind and its network with a secret of this process: so
/// nobody can choose networks that share a cell.
///
/// A cell says when its client's allowance is full again; after that it says nothing and is dropped as soon as
/// room is wanted. A cell that still limits is never dropped: when the table is full of those, a client that has no
/// cell yet shares the one of the larger network around it, and if there is no room for that one either, a single
/// one with everybody else of its kind.
pub(super) struct BoundedState {
    shards: Vec<Mutex<Shard>>,
    /// One for everybody of a kind for whom there was no room.
    rest: Mutex<HashMap<u8, u64>>,
    hasher: RandomState,
    clock: MonotonicClock,
    start: <MonotonicClock as Clock>::Instant,
}

#[derive(Default)]
struct Shard {
    cells: HashMap<u64, u64>,
    /// From how many cells on it is worth looking for those that say nothing.
    sweep_at: usize,
    /// The time of the last sweep.
    swept_at: u64,
}

/// One kind of cells of a [`BoundedState`], as a rate limiter's memory.
pub(super) struct LimiterState {
    table: Arc<BoundedState>,
    kind: u8,
    writes: bool,
}

impl BoundedState {
    pub(super) fn new() -> Self {
        let clock = MonotonicClock;
        let start = clock.now();
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            rest: Mutex::default(),
            hasher: RandomState::new(),
            clock,
            start,
        }
    }

    /// Forgets what says nothing any more, and gives memory back.
    pub(super) fn sweep(&self) {
        let now = self.now();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.sweep(now);
            let room = shard.sweep_at;
            shard.cells.shrink_to(room);
        }
    }

    fn now(&self) -> u64 {
        Reference::duration_since(&self.clock.now(), self.start).as_u64()
    }

    /// Lets `change` see the cell of `network`, and keeps what it makes of it.
    fn change<T, E>(
        &self,
        kind: u8,
        network: Network,
        change: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        let networks = [network, network.around()];
        // Larger networks are another kind of cell: the larger one may be written like the smaller.
        for (size, network) in networks.into_iter().enumerate() {
            let name = self.hasher.hash_one((kind, size, network));
            let mut shard = self.shard(name);
            if let Some(cell) = shard.cells.get_mut(&name) {
                let (answer, full_at) = change(known(*cell))?;
                *cell = full_at.as_u64();
                return Ok(answer);
            }
            if shard.has_room(|| self.now()) {
                let (answer, full_at) = change(None)?;
                shard.cells.insert(name, full_at.as_u64());
                return Ok(answer);
            }
        }
        let mut rest = lock(&self.rest);
        let cell = rest.entry(kind).or_default();
        let (answer, full_at) = change(known(*cell))?;
        *cell = full_at.as_u64();
        Ok(answer)
    }

    /// Returns the result of `change` on the entry of `network`, without storing it.
    fn look<T, E>(
        &self,
        kind: u8,
        network: Network,
        change: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        let networks = [network, network.around()];
        let found = networks.into_iter().enumerate().find_map(|(size, network)| {
            let name = self.hasher.hash_one((kind, size, network));
            let shard = self.shard(name);
            // With room for it, it would have a cell if anything were known.
            shard.cells.get(&name).copied().or_else(|| (!shard.is_full()).then_some(0))
        });
        let cell = found.unwrap_or_else(|| lock(&self.rest).get(&kind).copied().unwrap_or_default());
        change(known(cell)).map(|(answer, _)| answer)
    }

    fn shard(&self, name: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(name >> 32) as usize % SHARDS])
    }
}

#[cfg(test)]
impl BoundedState {
    fn cells(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).cells.len()).sum()
    }

    fn bytes(&self) -> usize {
        // A bucket and its byte of control; seven eighths of the buckets are the capacity.
        self.shards.iter().map(|shard| lock(shard).cells.capacity() / 7 * 8 * 17).sum()
    }
}

impl Shard {
    fn is_full(&self) -> bool {
        self.cells.len() >= CELLS_MAX
    }

    /// Returns whether there is room for another entry; drops expired ones if need be.
    fn has_room(&mut self, now: impl FnOnce() -> u64) -> bool {
        if self.cells.len() >= self.sweep_at.max(SWEPT_FROM) {
            let now = now();
            // A full one is not looked through for everybody who comes.
            if !self.is_full() || now.saturating_sub(self.swept_at) >= SWEPT_AGAIN.as_nanos() as u64 {
                self.sweep(now);
            }
        }
        !self.is_full()
    }

    fn sweep(&mut self, now: u64) {
        let slack = SLACK.as_nanos() as u64;
        self.cells.retain(|_, full_at| full_at.saturating_add(slack) > now);
        // So much later that looking through all costs each of those who come meanwhile next to nothing.
        self.swept_at = now;
        self.sweep_at = (2 * self.cells.len()).clamp(SWEPT_FROM, CELLS_MAX);
    }
}

fn known(cell: u64) -> Option<Nanos> {
    (cell > 0).then(|| Nanos::new(cell))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl LimiterState {
    /// Remembers.
    pub(super) const fn of(table: Arc<BoundedState>, kind: u8) -> Self {
        Self { table, kind, writes: true }
    }

    /// Knows what another one of the same kind remembers, and adds nothing.
    pub(super) const fn reading(table: Arc<BoundedState>, kind: u8) -> Self {
        Self { table, kind, writes: false }
    }
}

impl StateStore for LimiterState {
    type Key = Network;

    fn measure_and_replace<T, F, E>(&self, network: &Network, change: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if self.writes {
            self.table.change(self.kind, *network, change)
        } else {
            self.table.look(self.kind, *network, change)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(number: u32) -> Network {
        Network::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    /// Marks a network as limited until `full_at`; tells what was known of it.
    fn mark(table: &BoundedState, number: u32, full_at: u64) -> Option<u64> {
        table
            .change(0, network(number), |known| Ok::<_, ()>((known.map(Nanos::as_u64), full_at.into())))
            .unwrap()
    }

    #[test]
    fn a_million_limited_clients_fit_into_64_mib_and_none_is_forgotten() {
        let table = BoundedState::new();
        let far = u64::MAX / 2;
        for number in 0..1_000_000 {
            assert_eq!(mark(&table, number, far + u64::from(number)), None);
        }
        assert_eq!(table.cells(), 1_000_000);
        assert!(table.bytes() <= 64 << 20, "{}", table.bytes());
        table.sweep();
        for number in 0..1_000_000 {
            assert_eq!(mark(&table, number, far + u64::from(number)), Some(far + u64::from(number)));
        }
    }

    #[test]
    fn a_full_table_shares_instead_of_forgetting() {
        let table = BoundedState::new();
        let far = u64::MAX / 2;
        for number in 0..2_000_000 {
            mark(&table, number, far);
        }
        assert!(table.cells() <= SHARDS * CELLS_MAX);
        assert!(table.bytes() <= 64 << 20, "{}", table.bytes());
        assert_eq!(mark(&table, 5, far), Some(far));
        // Nobody has seen this client before, but its neighbours have used up what there is.
        assert_eq!(mark(&table, 2_000_001, far), Some(far));
        // Another kind has cells of its own.
        let fresh = table.look(1, network(5), |known| Ok::<_, ()>((known.is_none(), Nanos::new(1))));
        assert_eq!(fresh, Ok(true));
    }

    #[test]
    fn what_says_nothing_makes_room() {
        let table = BoundedState::new();
        // All were full again at the very beginning; the slack of a second is over.
        let table = BoundedState { start: table.start, clock: table.clock.clone(), ..table };
        for number in 0..100_000 {
            mark(&table, number, 1);
        }
        std::thread::sleep(SLACK);
        table.sweep();
        assert_eq!((table.cells(), mark(&table, 7, 1)), (0, None));
    }
}

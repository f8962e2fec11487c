//! The state of the limiters in bounded memory: for each client, the time at which its allowance is full again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference};
use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::{Mutex, MutexGuard};

use crate::edge::network::Network;

/// The number of shards, each with its own lock.
const SHARDS: usize = 64;
/// The maximum number of entries of a shard: the capacity of a hash table of 2^15 buckets. All shards together take at
/// most 36 MB.
const CELLS_MAX: usize = (1 << 15) / 8 * 7;
/// The number of entries at which a shard is swept for expired ones.
const SWEPT_FROM: usize = 256;
/// The minimum time between two sweeps of a full shard.
const SWEPT_AGAIN: Duration = Duration::from_millis(100);
/// The grace period before an expired entry is dropped, since limiters start their clocks at different times.
const SLACK: Duration = Duration::from_secs(1);

/// The entries of all limiters; the *kind* of an entry is its limiter. The key of an entry is a hash of its kind and
/// its network with a secret of this process, so that no client can choose networks that share an entry.
///
/// An entry is the time at which the allowance of a client is full again. After that time it has expired, and is
/// dropped when room is needed. An entry that has not expired is never dropped. If the table is full of such entries,
/// a client without an entry shares the entry of the larger network that contains it. If there is no room for that
/// entry either, the client shares one entry with all such clients of its kind.
pub(super) struct BoundedState {
    shards: Vec<Mutex<Shard>>,
    /// One entry for each kind, shared by clients for which there was no room.
    rest: Mutex<HashMap<u8, u64>>,
    hasher: RandomState,
    clock: MonotonicClock,
    start: <MonotonicClock as Clock>::Instant,
}

#[derive(Default)]
struct Shard {
    cells: HashMap<u64, u64>,
    /// The number of entries above which a sweep for expired ones pays off.
    sweep_at: usize,
    /// The time of the last sweep.
    swept_at: u64,
}

/// The state of one limiter: the entries of its kind in a [`BoundedState`].
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

    /// Drops expired entries and frees their memory.
    pub(super) fn sweep(&self) {
        let now = self.now();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.sweep(now);
            let room = shard.sweep_at;
            shard.cells.shrink_to(room);
        }
    }

    fn now(&self) -> u64 {
        Reference::duration_since(&self.clock.now(), self.start).as_u64()
    }

    /// Calls `change` with the entry of `network`, and stores its result.
    fn change<T, E>(
        &self,
        kind: u8,
        network: Network,
        change: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        let networks = [network, network.around()];
        // The index is part of the key, because a larger and a smaller network may have the same number.
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
        let mut rest = self.rest.lock();
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
            // If its shard has room, a network without an entry has its full allowance.
            shard.cells.get(&name).copied().or_else(|| (!shard.is_full()).then_some(0))
        });
        let cell = found.unwrap_or_else(|| self.rest.lock().get(&kind).copied().unwrap_or_default());
        change(known(cell)).map(|(answer, _)| answer)
    }

    fn shard(&self, name: u64) -> MutexGuard<'_, Shard> {
        self.shards[(name >> 32) as usize % SHARDS].lock()
    }
}

#[cfg(test)]
impl BoundedState {
    fn cells(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().cells.len()).sum()
    }

    fn bytes(&self) -> usize {
        // A bucket takes 16 bytes and a control byte; the capacity is seven eighths of the buckets.
        self.shards.iter().map(|shard| shard.lock().cells.capacity() / 7 * 8 * 17).sum()
    }
}

impl Shard {
    fn is_full(&self) -> bool {
        self.cells.len() >= CELLS_MAX
    }

    /// Returns true if there is room for another entry; drops expired ones if necessary.
    fn has_room(&mut self, now: impl FnOnce() -> u64) -> bool {
        if self.cells.len() >= self.sweep_at.max(SWEPT_FROM) {
            let now = now();
            // A full shard must not be swept for every new client.
            if !self.is_full() || now.saturating_sub(self.swept_at) >= SWEPT_AGAIN.as_nanos() as u64 {
                self.sweep(now);
            }
        }
        !self.is_full()
    }

    fn sweep(&mut self, now: u64) {
        let slack = SLACK.as_nanos() as u64;
        self.cells.retain(|_, full_at| full_at.saturating_add(slack) > now);
        // The threshold grows with the entries, so that the amortized cost of sweeps for a new client is constant.
        self.swept_at = now;
        self.sweep_at = (2 * self.cells.len()).clamp(SWEPT_FROM, CELLS_MAX);
    }
}

fn known(cell: u64) -> Option<Nanos> {
    (cell > 0).then(|| Nanos::new(cell))
}

impl LimiterState {
    /// Returns the state of the limiter whose entries are of this kind.
    pub(super) const fn of(table: Arc<BoundedState>, kind: u8) -> Self {
        Self { table, kind, writes: true }
    }

    /// Returns the same state, but read-only.
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

    /// Marks a network as limited until `full_at`; returns its old state.
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
        // The client is new, but shares an allowance that other clients have used up.
        assert_eq!(mark(&table, 2_000_001, far), Some(far));
        // Entries of another kind are counted separately.
        let fresh = table.look(1, network(5), |known| Ok::<_, ()>((known.is_none(), Nanos::new(1))));
        assert_eq!(fresh, Ok(true));
    }

    #[test]
    fn expired_entries_are_evicted() {
        let table = BoundedState::new();
        // All allowances were full at the beginning, and the grace period of a second is over.
        let table = BoundedState { start: table.start, clock: table.clock.clone(), ..table };
        for number in 0..100_000 {
            mark(&table, number, 1);
        }
        std::thread::sleep(SLACK);
        table.sweep();
        assert_eq!((table.cells(), mark(&table, 7, 1)), (0, None));
    }
}

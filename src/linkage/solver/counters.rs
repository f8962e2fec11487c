//! How many pairs were seen between two groups that may still merge.

use std::hint::black_box;

use super::datasets::NONE;

/// Counters between groups, each named by one of its records.
///
/// A counter lies in a table, by the names of its two groups, and in the list of either group. When it
/// is dropped by one group it leaves the table and that group's list; the other list gives its memory
/// back when it is next walked. 20 bytes a counter, 6 to 12 in the table, 4 for each record.
#[derive(Debug)]
pub(super) struct Counters {
    /// All of them, dropped ones too.
    pool: Vec<Counter>,
    /// Counters that were given back, linked by their first link.
    free: u32,
    /// By group: the first counter of its list.
    lists: Vec<u32>,
    table: Table,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    groups: [u32; 2],
    /// The next counter in the list of either group.
    next: [u32; 2],
    /// Pairs seen; 0 when dropped.
    seen: u32,
}

impl Counter {
    /// Which of its groups `group` is.
    fn side(&self, group: u32) -> usize {
        usize::from(self.groups[0] != group)
    }
}

impl Counters {
    /// No counters yet, for groups named by `records` records.
    pub(super) fn new(records: u32) -> Self {
        Self { pool: Vec::new(), free: NONE, lists: vec![NONE; records as usize], table: Table::new() }
    }

    /// Looks where [`Counters::add`] will look first.
    pub(super) fn touch_table(&self, g: u32, h: u32) {
        black_box(self.table.slots[self.table.home([g, h])]);
        black_box((self.lists[g as usize], self.lists[h as usize]));
    }

    /// Looks where [`Counters::add`] will look next.
    pub(super) fn touch(&self, g: u32, h: u32) {
        let counter = self.table.slots[self.table.home([g, h])];
        black_box(self.pool.get(counter as usize).map(|counter| counter.seen));
    }

    /// Counts a pair between two groups and returns how many there are now.
    pub(super) fn add(&mut self, g: u32, h: u32) -> u32 {
        if let Some(found) = self.table.find([g, h], &self.pool) {
            let seen = &mut self.pool[found as usize].seen;
            *seen = seen.saturating_add(1);
            return *seen;
        }
        let next = [self.lists[g as usize], self.lists[h as usize]];
        let counter = self.place(Counter { groups: [g, h], next, seen: 1 });
        self.lists[g as usize] = counter;
        self.lists[h as usize] = counter;
        self.table.insert(counter, &self.pool);
        1
    }

    /// Group `h` has become part of `g`: its counters go to `g`, except those with groups that
    /// `may_merge` says can no longer merge with `g`; `g` drops those, too.
    pub(super) fn merge(&mut self, g: u32, h: u32, may_merge: impl Fn(u32) -> bool) {
        let mut next = std::mem::replace(&mut self.lists[h as usize], NONE);
        while next != NONE {
            let at = next;
            let counter = self.pool[at as usize];
            let side = counter.side(h);
            next = counter.next[side];
            if counter.seen == 0 {
                self.give_back(at);
                continue;
            }
            let third = counter.groups[1 - side];
            self.table.remove(at, &self.pool);
            if third != g && may_merge(third) {
                self.hand_over(at, side, g, third);
            } else {
                self.pool[at as usize].seen = 0;
            }
        }
        self.prune(g, may_merge);
    }

    /// Makes a counter with `third`, out of the table, one of `g`.
    fn hand_over(&mut self, at: u32, side: usize, g: u32, third: u32) {
        if let Some(own) = self.table.find([g, third], &self.pool) {
            let more = std::mem::take(&mut self.pool[at as usize].seen);
            let seen = &mut self.pool[own as usize].seen;
            *seen = seen.saturating_add(more);
        } else {
            let counter = &mut self.pool[at as usize];
            counter.groups[side] = g;
            counter.next[side] = std::mem::replace(&mut self.lists[g as usize], at);
            self.table.insert(at, &self.pool);
        }
    }

    /// Drops the counters of `g` with groups that it can no longer merge with.
    fn prune(&mut self, g: u32, may_merge: impl Fn(u32) -> bool) {
        let mut next = std::mem::replace(&mut self.lists[g as usize], NONE);
        while next != NONE {
            let at = next;
            let counter = self.pool[at as usize];
            let side = counter.side(g);
            next = counter.next[side];
            if counter.seen == 0 {
                self.give_back(at);
            } else if may_merge(counter.groups[1 - side]) {
                self.pool[at as usize].next[side] = std::mem::replace(&mut self.lists[g as usize], at);
            } else {
                self.table.remove(at, &self.pool);
                self.pool[at as usize].seen = 0;
            }
        }
    }

    fn place(&mut self, counter: Counter) -> u32 {
        if self.free == NONE {
            self.pool.push(counter);
            return (self.pool.len() - 1) as u32;
        }
        let at = self.free;
        self.free = std::mem::replace(&mut self.pool[at as usize], counter).next[0];
        at
    }

    fn give_back(&mut self, at: u32) {
        self.pool[at as usize].next[0] = std::mem::replace(&mut self.free, at);
    }
}

/// Finds counters by their groups: open addressing, linear probing, no tombstones.
#[derive(Debug)]
struct Table {
    /// Counters, or nothing; a power of two of them.
    slots: Vec<u32>,
    used: usize,
}

impl Table {
    const SLOTS_MIN: usize = 1 << 10;

    fn new() -> Self {
        Self { slots: vec![NONE; Self::SLOTS_MIN], used: 0 }
    }

    /// Where to look first.
    fn home(&self, [g, h]: [u32; 2]) -> usize {
        let key = u64::from(g.min(h)) << 32 | u64::from(g.max(h));
        // Fibonacci hashing; the fold lets the upper half have its say in the product's upper bits.
        let mixed =
            (key ^ key >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        (mixed >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    fn find(&self, groups: [u32; 2], counters: &[Counter]) -> Option<u32> {
        let swapped = [groups[1], groups[0]];
        let mut slot = self.home(groups);
        loop {
            let counter = *counters.get(self.slots[slot] as usize)?;
            if counter.groups == groups || counter.groups == swapped {
                return Some(self.slots[slot]);
            }
            slot = self.after(slot);
        }
    }

    fn insert(&mut self, counter: u32, counters: &[Counter]) {
        if 4 * (self.used + 1) > 3 * self.slots.len() {
            self.grow(counters);
        }
        self.put(counter, counters);
        self.used += 1;
    }

    fn put(&mut self, counter: u32, counters: &[Counter]) {
        let mut slot = self.home(counters[counter as usize].groups);
        while self.slots[slot] != NONE {
            slot = self.after(slot);
        }
        self.slots[slot] = counter;
    }

    fn grow(&mut self, counters: &[Counter]) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![NONE; 2 * old.len()];
        for counter in old.into_iter().filter(|counter| *counter != NONE) {
            self.put(counter, counters);
        }
    }

    /// Takes a counter out, which must be in it, and closes the gap.
    fn remove(&mut self, counter: u32, counters: &[Counter]) {
        let mut gap = self.home(counters[counter as usize].groups);
        while self.slots[gap] != counter {
            gap = self.after(gap);
        }
        let mut slot = self.after(gap);
        while let Some(found) = counters.get(self.slots[slot] as usize) {
            // It may move to the gap if the gap is not before its home, going round.
            let mask = self.slots.len() - 1;
            let distance = slot.wrapping_sub(self.home(found.groups)) & mask;
            if distance >= slot.wrapping_sub(gap) & mask {
                self.slots[gap] = self.slots[slot];
                gap = slot;
            }
            slot = self.after(slot);
        }
        self.slots[gap] = NONE;
        self.used -= 1;
    }
}

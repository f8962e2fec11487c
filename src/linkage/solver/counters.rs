//! How many pairs were seen between two groups that may still merge.

use std::collections::HashMap;

/// Counters between groups, each named by one of its records.
#[derive(Debug, Default)]
pub(super) struct Counters {
    seen: HashMap<u64, u32>,
    /// Groups that a group may have a counter with; some may have lost it since.
    neighbours: HashMap<u32, Vec<u32>>,
}

fn key(g: u32, h: u32) -> u64 {
    u64::from(g.min(h)) << 32 | u64::from(g.max(h))
}

impl Counters {
    /// Counts `more` pairs between two groups and returns how many there are now.
    pub(super) fn add(&mut self, g: u32, h: u32, more: u32) -> u32 {
        let seen = self.seen.entry(key(g, h)).or_default();
        if *seen == 0 {
            self.neighbours.entry(g).or_default().push(h);
            self.neighbours.entry(h).or_default().push(g);
        }
        *seen = seen.saturating_add(more);
        *seen
    }

    /// Group `h` has become part of `g`: its counters go to `g`, except those with groups that
    /// `may_merge` says can no longer merge with `g`, which are dropped on both sides.
    pub(super) fn merge(&mut self, g: u32, h: u32, may_merge: impl Fn(u32) -> bool) {
        self.seen.remove(&key(g, h));
        for third in self.neighbours.remove(&h).unwrap_or_default() {
            if let Some(seen) = self.seen.remove(&key(h, third))
                && may_merge(third)
            {
                self.add(g, third, seen);
            }
        }
        self.prune(g, may_merge);
    }

    /// Drops the counters of `g` with groups that it can no longer merge with.
    pub(super) fn prune(&mut self, g: u32, may_merge: impl Fn(u32) -> bool) {
        let Some(mut neighbours) = self.neighbours.remove(&g) else { return };
        neighbours.retain(|third| {
            let keep = may_merge(*third);
            if !keep {
                self.seen.remove(&key(g, *third));
            }
            keep && self.seen.contains_key(&key(g, *third))
        });
        if !neighbours.is_empty() {
            self.neighbours.insert(g, neighbours);
        }
    }
}

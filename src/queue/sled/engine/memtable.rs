//! The memtable: commits that are not in sled yet.

use std::collections::HashMap;

use super::batch::{Change, WriteBatch};

/// The latest change of each key.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct Memtable(HashMap<Vec<u8>, Change>);

impl Memtable {
    /// Applies changes. Drops a fresh key that is removed, since sled does not have it.
    pub(in crate::queue::sled) fn apply(&mut self, writes: WriteBatch) {
        for (key, change) in writes.into_changes() {
            let was_fresh = matches!(self.0.get(&key), Some(Change::Put { fresh: true, .. }));
            match change {
                Change::Remove if was_fresh => _ = self.0.remove(&key),
                Change::Put { value, fresh } => {
                    let fresh = fresh || was_fresh;
                    self.0.insert(key, Change::Put { value, fresh });
                }
                Change::Remove => _ = self.0.insert(key, Change::Remove),
            }
        }
    }

    /// Returns the latest change of a key, if it is in the memtable.
    pub(in crate::queue::sled) fn get(&self, key: &[u8]) -> Option<&Change> {
        self.0.get(key)
    }

    /// Returns all changes in the order of their keys.
    pub(in crate::queue::sled) fn sorted(&self) -> Vec<(&[u8], &Change)> {
        let mut changes: Vec<_> = self.0.iter().map(|(key, change)| (key.as_slice(), change)).collect();
        changes.sort_unstable_by_key(|(key, _)| *key);
        changes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(key: &str, fresh: bool) -> WriteBatch {
        let mut writes = WriteBatch::default();
        writes.insert(key.into(), Bytes::from_static(b"value"), fresh);
        writes
    }

    fn remove(key: &str) -> WriteBatch {
        let mut writes = WriteBatch::default();
        writes.remove(key.into());
        writes
    }

    #[test]
    fn a_key_that_was_written_and_removed_leaves_no_trace() {
        let mut table = Memtable::default();
        table.apply(put("a", true));
        table.apply(put("a", false));
        let value = Bytes::from_static(b"value");
        assert_eq!(table.get(b"a"), Some(&Change::Put { value, fresh: true }));
        table.apply(remove("a"));
        assert_eq!(table.get(b"a"), None);
        table.apply(put("b", false));
        table.apply(remove("b"));
        assert_eq!(table.get(b"b"), Some(&Change::Remove), "sled may have a value of it");
        assert_eq!(table.get(b"c"), None);
    }
}

//! A write batch: changes that are written atomically.

use bytes::Bytes;

use super::layout::{self, Tag};

/// The change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::queue::sled) enum Change {
    /// The key gets this value. `fresh` means that sled has no value for the key, so removing the key later needs no
    /// write.
    Put { value: Bytes, fresh: bool },
    /// The key is removed.
    Remove,
}

/// Changes that are made atomically.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::queue::sled) struct WriteBatch(Vec<(Vec<u8>, Change)>);

impl WriteBatch {
    pub(in crate::queue::sled) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes a value under a tag and a number.
    pub(in crate::queue::sled) fn put(
        &mut self,
        tag: Tag,
        number: u64,
        value: &impl serde::Serialize,
        fresh: bool,
    ) {
        self.insert(tag.key(number).to_vec(), layout::encode(value).into(), fresh);
    }

    /// Writes a value. `fresh` means that the key has no value so far.
    pub(in crate::queue::sled) fn insert(&mut self, key: Vec<u8>, value: Bytes, fresh: bool) {
        self.push(key, Change::Put { value, fresh });
    }

    pub(in crate::queue::sled) fn remove(&mut self, key: Vec<u8>) {
        self.push(key, Change::Remove);
    }

    pub(in crate::queue::sled) fn push(&mut self, key: Vec<u8>, change: Change) {
        self.0.push((key, change));
    }

    pub(in crate::queue::sled) fn iter(&self) -> impl Iterator<Item = (&[u8], &Change)> {
        self.0.iter().map(|(key, change)| (key.as_slice(), change))
    }

    pub(in crate::queue::sled) fn into_changes(self) -> impl Iterator<Item = (Vec<u8>, Change)> {
        self.0.into_iter()
    }
}

//! Numbers for distinct items.

use super::texts::{List, Texts};

/// Assigns numbers to distinct items, in the order in which they first occur.
#[derive(Debug, Default)]
pub(super) struct Numbering<L = Texts> {
    list: L,
    /// An open-addressing hash table. A slot holds in its lower bits the number of an item plus one, and in the others those of
    /// its hash; 0 is a free slot. At most three quarters of the slots are used.
    index: Vec<u32>,
    /// The number of lower bits.
    bits: u32,
    /// The hashes of the items that are numbered now.
    hashes: Vec<u32>,
}

impl<L: List> Numbering<L> {
    /// Adds items to an empty list, and makes room for `room` of them.
    pub(super) fn new(list: L, room: usize) -> Self {
        let mut numbering = Self { list, index: Vec::new(), bits: 0, hashes: Vec::new() };
        numbering.grow(room);
        numbering
    }

    /// Appends the numbers of several items. Each step is done for all, since the processor waits for many places at once.
    pub(super) fn number_all<'a>(
        &mut self,
        keys: impl Iterator<Item = L::Key<'a>> + Clone,
        numbers: &mut Vec<u32>,
    ) where
        L: 'a,
    {
        if self.index.is_empty() {
            self.grow(1);
        }
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        hashes.extend(keys.clone().map(L::hash));
        let start = numbers.len();
        let last = self.index.len() - 1;
        numbers.extend(hashes.iter().map(|hash| self.number_in(self.index[*hash as usize & last], *hash)));
        if let Some(last) = self.list.len().checked_sub(1) {
            // Without a branch: which items are known cannot be predicted. Most of those are the first in their place.
            for (key, number) in keys.clone().zip(&mut numbers[start..]) {
                let is_known = self.list.has((*number as usize).min(last), key);
                *number |= if is_known { 0 } else { UNKNOWN };
            }
        }
        for ((key, hash), number) in keys.zip(&hashes).zip(&mut numbers[start..]) {
            if *number == UNKNOWN {
                *number = self.find(key, *hash);
            }
        }
        self.hashes = hashes;
    }

    /// The items, indexed by number.
    pub(super) const fn list(&self) -> &L {
        &self.list
    }

    /// Returns the items and drops the hash table.
    pub(super) fn into_list(self) -> L {
        self.list
    }

    /// Returns the number of an item with this hash.
    fn find(&mut self, key: L::Key<'_>, hash: u32) -> u32 {
        let last = self.index.len() - 1;
        let mut place = hash as usize & last;
        while self.index[place] != 0 {
            let number = self.number_in(self.index[place], hash);
            if number != UNKNOWN && self.list.has(number as usize, key) {
                return number;
            }
            place = (place + 1) & last;
        }
        let number = self.list.len();
        self.list.push(key);
        if (number + 1) * 4 > self.index.len() * 3 {
            self.grow(number + 1);
        } else {
            self.index[place] = self.slot(number, hash);
        }
        number as u32
    }

    /// Returns the number in a slot; [`UNKNOWN`] if the slot is free or of another hash.
    #[inline]
    const fn number_in(&self, slot: u32, hash: u32) -> u32 {
        let number = (slot as u64 & ((1 << self.bits) - 1)) as u32;
        // In words of more bits, since the hash may have none in the slot of a large table.
        if slot as u64 >> self.bits == hash as u64 >> self.bits { number.wrapping_sub(1) } else { UNKNOWN }
    }

    /// Returns the slot of an item.
    const fn slot(&self, number: usize, hash: u32) -> u32 {
        (hash as u64 >> self.bits << self.bits) as u32 | (number as u32 + 1)
    }

    /// Makes room for this many items.
    fn grow(&mut self, items: usize) {
        let least = (items * 4).div_ceil(3).next_power_of_two().max(INDEX_MIN);
        // A table becomes larger than it must: moving its entries costs more than the room.
        let size = least.max(4 * self.index.len());
        self.index = vec![0; size];
        self.bits = size.ilog2();
        for number in 0..self.list.len() {
            let hash = L::hash(self.list.key(number));
            let mut place = hash as usize & (size - 1);
            while self.index[place] != 0 {
                place = (place + 1) & (size - 1);
            }
            self.index[place] = self.slot(number, hash);
        }
    }
}

/// No item has this number.
const UNKNOWN: u32 = u32::MAX;
/// The smallest number of slots.
const INDEX_MIN: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::super::batch::Batch;
    use super::*;

    #[test]
    fn each_text_has_one_number() {
        let mut numbering = Numbering::<Texts>::default();
        let texts: Vec<Vec<u8>> = (0..5_000)
            .map(|number| format!("{number:x}{}", "a".repeat(number % 20)).into_bytes())
            .chain([vec![b'b'; 200_000], Vec::new()])
            .collect();
        let (mut batch, mut numbers) = (Batch::default(), Vec::new());
        let add = |batch: &mut Batch, text: &Vec<u8>| batch.push(text.len(), |bytes| bytes.extend(text));
        for piece in [&[], &texts[..3_000], &texts[2_000..], &[], &texts] {
            batch.clear();
            piece.iter().for_each(|text| add(&mut batch, text));
            // A text may come twice in a batch.
            piece.iter().take(5).for_each(|text| add(&mut batch, text));
            numbering.number_all(batch.iter(), &mut numbers);
        }
        let first = |start: u32, end: u32| (start..end).chain(start..start + 5);
        assert!(first(0, 3_000).chain(first(2_000, 5_002)).chain(first(0, 5_002)).eq(numbers));
        let known = (0..numbering.list().len()).map(|number| numbering.list().key(number));
        assert!(known.eq(texts.iter().map(Vec::as_slice)));
    }
}

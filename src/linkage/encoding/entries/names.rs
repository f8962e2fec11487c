//! Numbers for the names of blocks: the same number for the same name, mostly, in bounded memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::LIST_MAX;

/// A longer name gets a new number each time.
const NAME_BYTES_MAX: usize = 64;
/// The number of names that a new table has room for.
pub(super) const ROOM_MIN: usize = 1 << 12;
/// The number of slots in a line of the processor's cache.
const LINE: usize = 16;
/// The number of slots for each name that there is room for.
const SLOTS_A_NAME: usize = 2;
/// The number of bytes of kept names for each name that there is room for.
const BYTES_KEPT: usize = 24;
/// The number of bytes of memory for each name that there is room for.
const BYTES_A_NAME: usize = SLOTS_A_NAME * size_of::<u32>() + BYTES_KEPT;
/// The number of bits of a place among the kept names, which is a multiple of [`ALIGN`].
const PLACE_BITS: u32 = 22;
const ALIGN: usize = 4;
/// The number of bytes before a kept name: its number, and its length above [`LENGTH_SHIFT`].
const HEAD_BYTES: usize = 4;
const LENGTH_SHIFT: u32 = 24;

/// The memory of all large tables of the process.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The limit of [`TAKEN`]: fifteen uploads with half a million names each. Further tables stay small.
const TAKEN_MAX: usize = 256 << 20;

const _: () = assert!(LIST_MAX * BYTES_KEPT / ALIGN < 1 << PLACE_BITS && LIST_MAX < 1 << LENGTH_SHIFT);

/// The names that have numbers.
///
/// A hash chooses two lines of slots. A name is in one of them or is not known: crafted names that share lines push each
/// other out, and get new numbers.
pub(super) struct Names {
    /// For each slot, some bits of the hash, and the place of the name plus one below [`PLACE_BITS`]; 0 if it is empty.
    lines: Vec<Line>,
    /// The names, each after its head.
    kept: Vec<u8>,
    /// The number of names that have a number.
    count: usize,
    room: usize,
    room_max: usize,
    share: Share,
}

/// The slots in a line of the processor's cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u32; LINE]);

/// The place of a name among the kept names.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

impl Names {
    /// Returns an empty table of at most `room_max` names, a power of two.
    pub(super) fn within(room_max: usize) -> Self {
        let (lines, kept, share) = (Vec::new(), Vec::new(), Share::default());
        Self { lines, kept, count: 0, room: 0, room_max, share }
    }

    /// Makes room for `names` more names that take `bytes` bytes; returns false if the table must be cleared first.
    pub(super) fn reserve(&mut self, names: usize, bytes: usize) -> bool {
        while self.count + names > self.room || self.kept.len() + bytes > self.room * BYTES_KEPT {
            if !self.grow() {
                return false;
            }
        }
        true
    }

    /// Returns the number of bytes that `name` takes at most.
    pub(super) const fn bytes(name: &[u8]) -> usize {
        if name.len() <= NAME_BYTES_MAX { HEAD_BYTES + name.len().next_multiple_of(ALIGN) } else { 0 }
    }

    /// Forgets all names.
    pub(super) fn clear(&mut self) {
        self.lines.fill(Line([0; LINE]));
        self.kept.clear();
        self.count = 0;
    }

    fn grow(&mut self) -> bool {
        let room = if self.room == 0 { ROOM_MIN } else { self.room * 2 };
        if room > self.room_max || (room > ROOM_MIN && !self.share.grow_to(room * BYTES_A_NAME)) {
            return false;
        }
        self.room = room;
        self.kept.reserve_exact(room * BYTES_KEPT - self.kept.len());
        self.lines = vec![Line([0; LINE]); room * SLOTS_A_NAME / LINE];
        let mut at = 0;
        while at < self.kept.len() {
            let place = Place(at);
            let name = self.at(place).1;
            let (hash, bytes) = (hash(name), Self::bytes(name));
            self.put(hash, place);
            at += bytes;
        }
        true
    }

    /// Returns the number and the text of a kept name.
    fn at(&self, Place(at): Place) -> (u32, &[u8]) {
        let head = u32::from_le_bytes(*self.kept[at..].first_chunk().expect("a place has a head"));
        let start = at + HEAD_BYTES;
        (head & ((1 << LENGTH_SHIFT) - 1), &self.kept[start..start + (head >> LENGTH_SHIFT) as usize])
    }

    /// Returns the two lines of a hash.
    pub(super) fn lines(&self, hash: u32) -> [usize; 2] {
        let lines = self.lines.len() as u64;
        let line = |hash: u32| ((u64::from(hash) * lines) >> 32) as usize;
        [line(hash), line(hash.rotate_left(16).wrapping_mul(0x9e37_79b1))]
    }

    /// Puts a place into the first free slot of its lines; if there is none, in place of another in the second line.
    fn put(&mut self, hash: u32, Place(at): Place) {
        let lines = self.lines(hash);
        let free = |line: usize| Some((line, self.lines[line].free()?));
        let (line, slot) =
            lines.into_iter().find_map(free).unwrap_or((lines[1], (hash >> PLACE_BITS) as usize % LINE));
        self.lines[line].0[slot] = tag(hash) << PLACE_BITS | (at / ALIGN + 1) as u32;
    }

    /// Returns something from the first line of this hash, which is then in the processor's cache. The cache misses of
    /// calls that follow one another overlap.
    pub(super) fn touch(&self, hash: u32) -> u32 {
        self.lines[self.lines(hash)[0]].0[0]
    }

    /// Returns the place in the first line of a name that may have this hash. Has no branch that depends on the line:
    /// which slot it is cannot be predicted.
    pub(super) fn candidate(&self, hash: u32) -> Option<Place> {
        let line = &self.lines[self.lines(hash)[0]];
        match line.tagged(tag(hash)) {
            0 => None,
            tagged => place(line.0[tagged.trailing_zeros() as usize]),
        }
    }

    /// Returns something from the first and the last byte of a name of `length` bytes, which are then in the processor's
    /// cache.
    pub(super) fn touch_kept(&self, Place(at): Place, length: usize) -> u8 {
        let last = self.kept.get(at + HEAD_BYTES + length.saturating_sub(1));
        self.kept[at] ^ last.copied().unwrap_or_default()
    }

    /// Returns the number of `name`, if it is at this place.
    pub(super) fn number(&self, place: Place, name: &[u8]) -> Option<u32> {
        let (number, found) = self.at(place);
        same(found, name).then_some(number)
    }

    /// Returns the number of `name`.
    pub(super) fn find(&self, hash: u32, name: &[u8]) -> Option<u32> {
        let [first, second] = self.lines(hash).map(|line| &self.lines[line]);
        let found = self.find_in(first, hash, name);
        // A full line stays full, so that no name is in its second line while its first one has room.
        if found.is_some() || first.free().is_some() { found } else { self.find_in(second, hash, name) }
    }

    fn find_in(&self, line: &Line, hash: u32, name: &[u8]) -> Option<u32> {
        let mut tagged = line.tagged(tag(hash));
        while tagged != 0 {
            let slot = line.0[tagged.trailing_zeros() as usize];
            if let Some(number) = place(slot).and_then(|place| self.number(place, name)) {
                return Some(number);
            }
            tagged &= tagged - 1;
        }
        None
    }

    /// Gives `name` the next number. There must be room for it.
    pub(super) fn add(&mut self, hash: u32, name: &[u8]) -> u32 {
        let number = self.count as u32;
        self.count += 1;
        if name.len() <= NAME_BYTES_MAX {
            let place = Place(self.kept.len());
            self.kept.extend_from_slice(&(number | (name.len() as u32) << LENGTH_SHIFT).to_le_bytes());
            self.kept.extend_from_slice(name);
            self.kept.resize(self.kept.len().next_multiple_of(ALIGN), 0);
            self.put(hash, place);
        }
        number
    }
}

impl Line {
    /// Returns a bit for each slot with this tag.
    fn tagged(&self, tag: u32) -> u16 {
        self.matching(|slot| slot >> PLACE_BITS == tag)
    }

    /// Returns the first empty slot.
    fn free(&self) -> Option<usize> {
        match self.matching(|slot| slot == 0) {
            0 => None,
            free => Some(free.trailing_zeros() as usize),
        }
    }

    fn matching(&self, matches: impl Fn(u32) -> bool) -> u16 {
        self.0.iter().enumerate().fold(0, |bits, (at, &slot)| bits | u16::from(matches(slot)) << at)
    }
}

/// Returns the bits of a hash that a slot has.
const fn tag(hash: u32) -> u32 {
    hash & ((1 << (u32::BITS - PLACE_BITS)) - 1)
}

/// Returns the place that a slot has.
const fn place(slot: u32) -> Option<Place> {
    match slot & ((1 << PLACE_BITS) - 1) {
        0 => None,
        place => Some(Place((place as usize - 1) * ALIGN)),
    }
}

/// Returns true if both names are equal. Reads nothing beyond them, as comparing slices does: that may be in another line of
/// the processor's cache.
fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let ends = |name: &[u8]| Some((*name.first_chunk::<4>()?, *name.last_chunk::<4>()?));
    match (left.last_chunk::<8>(), right.last_chunk::<8>()) {
        (Some(left_end), Some(right_end)) => {
            let (left, right) = (left.as_chunks::<8>().0, right.as_chunks::<8>().0);
            let same =
                |(left, right): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*left) == u64::from_ne_bytes(*right);
            same((left_end, right_end)) && left.iter().zip(right).all(same)
        }
        _ if left.len() >= 4 => ends(left) == ends(right),
        _ => left.iter().zip(right).all(|(left, right)| left == right),
    }
}

/// A share of the memory of all large tables.
#[derive(Default)]
struct Share(usize);

impl Share {
    fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.0);
        let within = |taken: usize| taken.checked_add(more).filter(|&sum| sum <= TAKEN_MAX);
        if TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return false;
        }
        self.0 += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Returns a hash of `name`. Equal hashes cost time and change nothing, so that it need not resist an attack.
pub(super) fn hash(name: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, rest) = name.as_chunks::<8>();
    let start = FACTOR.rotate_left(32) ^ name.len() as u64;
    let state = words.iter().fold(start, |state, word| mix(state, u64::from_le_bytes(*word)));
    let last = match (rest.len(), rest) {
        (4.., _) => {
            let (first, last) = (rest.first_chunk(), rest.last_chunk());
            let [first, last] = [first, last].map(|word| u32::from_le_bytes(*word.expect("four bytes")));
            u64::from(first) | u64::from(last) << 32
        }
        (_, &[a]) => u64::from(a),
        (_, &[a, b]) => u64::from(a) | u64::from(b) << 8,
        (_, &[a, b, c]) => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        _ => 0,
    };
    let state = mix(state, last);
    (mix(state, FACTOR) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A name: few of each length, so that equal ones and such as differ in one byte are frequent.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        (0..70_usize, any::<prop::sample::Index>(), 0..2_u8).prop_map(|(length, at, byte)| {
            let mut name = vec![b'a'; length];
            if length > 0 {
                name[at.index(length)] += byte;
            }
            name
        })
    }

    proptest! {
        #[test]
        fn names_are_the_same_if_their_bytes_are(left in name(), right in name()) {
            prop_assert_eq!(same(&left, &right), left == right);
            prop_assert!(same(&left, &left));
        }

        /// As long as no line is full, every name has the number that it was given.
        #[test]
        fn the_table_is_a_map_while_it_has_room(names in proptest::collection::vec(name(), 0..400)) {
            let (mut table, mut expected) = (Names::within(ROOM_MIN), HashMap::new());
            for name in names.iter().filter(|name| name.len() <= NAME_BYTES_MAX) {
                prop_assert!(table.reserve(1, Names::bytes(name)));
                let hash = hash(name);
                prop_assert_eq!(table.find(hash, name), expected.get(name).copied());
                if let Some(place) = table.candidate(hash) {
                    table.touch_kept(place, name.len());
                    let number = table.number(place, name);
                    prop_assert!(number.is_none() || number == expected.get(name).copied());
                }
                if !expected.contains_key(name) {
                    expected.insert(name.clone(), table.add(hash, name));
                }
            }
        }
    }
}

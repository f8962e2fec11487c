//! Names of blocks.

use super::texts::{List, Texts};
use crate::python::sets::{Digits, Set, write_tuple};
use crate::table_hash::{hash, is_same};

/// The names of blocks.
#[derive(Debug)]
pub enum Names {
    /// Texts.
    Texts(Texts),
    /// The bits that signatures set.
    Tuples(Tuples),
}

/// Tuples of numbers, as long as they are printed in Python. A third of the size of their texts.
#[derive(Debug)]
pub struct Tuples {
    digits: Digits,
    /// A number takes two bytes instead of four.
    is_short: bool,
    /// The size of a tuple in bytes. A tuple with fewer numbers ends with bytes that are no number.
    tuple_bytes: usize,
    bytes: Vec<u8>,
    len: usize,
}

/// The most bytes that are reserved at once.
const ROOM_BYTES_MAX: usize = 256 << 20;
/// The bytes after the last number of a tuple.
const END: u8 = 0xff;

impl Names {
    /// Appends the name of block `number`.
    pub fn write(&self, number: usize, out: &mut Vec<u8>) {
        match self {
            Self::Texts(texts) => out.extend_from_slice(texts.key(number)),
            Self::Tuples(tuples) => tuples.write(number, out),
        }
    }

    /// Reads names, which brings them into the cache: the processor waits for many at once.
    pub(super) fn touch(&self, numbers: &[u32]) {
        if let Self::Tuples(tuples) = self {
            let bytes = numbers.iter().map(|number| tuples.bytes[*number as usize * tuples.tuple_bytes]);
            std::hint::black_box(bytes.fold(0, |sum, byte| sum ^ byte));
        }
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Tuples(tuples) => tuples.len(),
        }
    }

    /// Returns whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tuples {
    /// Creates an empty list for tuples of at most `length` numbers below `end`, with room for `room` tuples.
    pub(super) fn new(end: u32, length: usize, room: usize) -> Self {
        // The largest number of this size stands for none.
        let is_short = u16::try_from(end).is_ok();
        // A tuple without numbers takes room, too.
        let tuple_bytes = if is_short { 2 } else { 4 } * length.max(1);
        Self {
            digits: Digits::new(end),
            is_short,
            tuple_bytes,
            bytes: Vec::with_capacity(room.saturating_mul(tuple_bytes).min(ROOM_BYTES_MAX)),
            len: 0,
        }
    }

    /// The size of a tuple in bytes.
    pub(super) const fn tuple_bytes(&self) -> usize {
        self.tuple_bytes
    }

    /// Replaces `bytes` with `count` tuples without numbers, to which those of sets are written.
    pub(super) fn empty(&self, count: usize, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.resize(count * self.tuple_bytes, END);
    }

    /// Writes the numbers of a set as a tuple is stored, over a tuple without numbers.
    #[inline]
    pub(super) fn pack(&self, set: &Set, tuple: &mut [u8]) {
        if self.is_short {
            let mut places = tuple.as_chunks_mut().0.iter_mut();
            set.for_each(|number| {
                if let Some(place) = places.next() {
                    *place = (number as u16).to_le_bytes();
                }
            });
        } else {
            let mut places = tuple.as_chunks_mut().0.iter_mut();
            set.for_each(|number| {
                if let Some(place) = places.next() {
                    *place = number.to_le_bytes();
                }
            });
        }
    }

    /// Appends a tuple as Python prints it.
    fn write(&self, number: usize, out: &mut Vec<u8>) {
        let bytes = self.key(number);
        if self.is_short {
            self.write_numbers(bytes, |bytes| u32::from(u16::from_le_bytes(bytes)), out);
        } else {
            self.write_numbers(bytes, u32::from_le_bytes, out);
        }
    }

    fn write_numbers<const BYTES: usize>(
        &self,
        tuple: &[u8],
        number: fn([u8; BYTES]) -> u32,
        out: &mut Vec<u8>,
    ) {
        let (numbers, _) = tuple.as_chunks::<BYTES>();
        let numbers = numbers.iter().take_while(|bytes| **bytes != [END; BYTES]);
        write_tuple(numbers.map(|bytes| number(*bytes)), &self.digits, out);
    }
}

impl List for Tuples {
    type Key<'a> = &'a [u8];

    fn len(&self) -> usize {
        self.len
    }

    fn key(&self, number: usize) -> &[u8] {
        &self.bytes[number * self.tuple_bytes..][..self.tuple_bytes]
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.len += 1;
    }

    #[inline]
    fn hash(tuple: &[u8]) -> u32 {
        hash(tuple)
    }

    #[inline]
    fn has(&self, number: usize, tuple: &[u8]) -> bool {
        is_same(self.key(number), tuple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_printed_as_in_python() {
        for end in [2048, 1 << 24] {
            let mut tuples = Tuples::new(end, 3, 0);
            let mut packed = Vec::new();
            for numbers in [&[5, 2047, 0][..], &[9], &[], &[256, 1]] {
                let mut set = Set::new();
                numbers.iter().for_each(|number| set.add(*number));
                tuples.empty(1, &mut packed);
                tuples.pack(&set, &mut packed);
                tuples.push(&packed);
            }
            let names = Names::Tuples(tuples);
            let mut text = Vec::new();
            (0..names.len()).for_each(|number| names.write(number, &mut text));
            assert_eq!(String::from_utf8(text).unwrap(), "(0, 5, 2047)(9,)()(256, 1)");
        }
    }
}

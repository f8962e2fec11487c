//! A section of a stored object whose length and checksum come before it: it is collected in a temporary file until
//! both are known.

use std::io::{self, Write};

use super::Error;
use crate::scratch::{Scratch, ScratchFile};

/// A section that is collected in a temporary file.
pub(crate) struct Section {
    file: Box<dyn ScratchFile>,
    /// Items that are neither written nor summed yet.
    pending: Vec<u8>,
    hasher: crc32fast::Hasher,
    items: u64,
}

/// The number of bytes that are written and summed at once.
const PIECE_BYTES: usize = 64 << 10;

impl Section {
    /// Creates an empty section.
    pub(crate) fn create(scratch: &dyn Scratch) -> Result<Self, Error> {
        let file = scratch.file().map_err(Error::Scratch)?;
        let pending = Vec::with_capacity(PIECE_BYTES);
        Ok(Self { file, pending, hasher: crc32fast::Hasher::new(), items: 0 })
    }

    /// Appends an item.
    pub(crate) fn push(&mut self, item: &[u8]) -> Result<(), Error> {
        self.items += 1;
        if self.pending.len() + item.len() > PIECE_BYTES {
            self.flush()?;
        }
        self.pending.extend_from_slice(item);
        Ok(())
    }

    /// Appends `count` items, one after the other in `items`.
    pub(crate) fn push_items(&mut self, mut items: &[u8], count: usize) -> Result<(), Error> {
        self.items += count as u64;
        while !items.is_empty() {
            if self.pending.len() == PIECE_BYTES {
                self.flush()?;
            }
            let (now, later) = items.split_at(items.len().min(PIECE_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            items = later;
        }
        Ok(())
    }

    /// Appends numbers, of which each is an item.
    pub(crate) fn push_numbers(&mut self, mut numbers: &[u32]) -> Result<(), Error> {
        self.items += numbers.len() as u64;
        while !numbers.is_empty() {
            let room = (PIECE_BYTES - self.pending.len()) / size_of::<u32>();
            if room == 0 {
                self.flush()?;
                continue;
            }
            let (now, later) = numbers.split_at(room.min(numbers.len()));
            let start = self.pending.len();
            self.pending.resize(start + size_of_val(now), 0);
            let places = self.pending[start..].as_chunks_mut().0;
            places.iter_mut().zip(now).for_each(|(place, number)| *place = number.to_le_bytes());
            numbers = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.hasher.update(&self.pending);
        self.file.write_all(&self.pending).map_err(Error::Scratch)?;
        self.pending.clear();
        Ok(())
    }

    /// Returns the number of items so far.
    pub(crate) const fn items(&self) -> u64 {
        self.items
    }

    /// Returns the checksum state of the content.
    pub(crate) fn hasher(&self) -> crc32fast::Hasher {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.pending);
        hasher
    }

    /// Returns the checksum of the content.
    pub(crate) fn crc(&self) -> u32 {
        self.hasher().finalize()
    }

    /// Writes all items to `out`.
    pub(crate) fn copy_to(mut self, out: &mut impl Write) -> Result<(), Error> {
        self.flush()?;
        self.file.rewind().map_err(Error::Scratch)?;
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = match self.file.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(Error::Scratch)?,
            };
            if read == 0 {
                return Ok(());
            }
            out.write_all(&piece[..read]).map_err(Error::Sink)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scratch::Memory;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn items_may_be_pushed_together(
            before in 0..7_usize,
            numbers in proptest::collection::vec(any::<u32>(), 0..40),
            times in 1..900_usize,
        ) {
            let numbers = numbers.repeat(times);
            let [mut one_by_one, mut together, mut bytes] = [(); 3].map(|()| Section::create(&Memory).unwrap());
            for section in [&mut one_by_one, &mut together, &mut bytes] {
                section.push(&vec![1; before]).unwrap();
            }
            numbers.iter().for_each(|number| one_by_one.push(&number.to_le_bytes()).unwrap());
            let (first, second) = numbers.split_at(numbers.len() / 3);
            together.push_numbers(first).unwrap();
            together.push_numbers(second).unwrap();
            let items: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.push_items(&items, numbers.len()).unwrap();
            let mut expected = Vec::new();
            let described = (one_by_one.items(), one_by_one.crc());
            one_by_one.copy_to(&mut expected).unwrap();
            for section in [together, bytes] {
                prop_assert_eq!((section.items(), section.crc()), described);
                let mut found = Vec::new();
                section.copy_to(&mut found).unwrap();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}

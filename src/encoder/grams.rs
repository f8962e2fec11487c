//! The bits of ASCII bigrams and single characters. A table stores the bits of each, so that each is hashed once.

use zeroize::Zeroize;

use super::hash::Hasher;

/// Bits of an ASCII character.
const CHARACTER_BITS: u32 = 7;
/// The number of possible ASCII bigrams.
const GRAMS: usize = 1 << (2 * CHARACTER_BITS);
/// The number of grams that are looked up before their bits are set.
const STEP: usize = 32;
/// The maximum number of tables. There is one for each number of insertions; only very long values need more.
const TABLES_MAX: usize = 32;

/// Sets the bits of a column's bigrams or single characters, if its values are ASCII.
pub(super) struct Grams {
    /// The length of a gram in characters: 1 or 2.
    n: usize,
    bits: usize,
    tables: Vec<Table>,
}

/// The masks of the grams that are inserted `count` times.
struct Table {
    count: u32,
    /// The number of each gram's mask plus one, indexed by the gram's characters; 0 if the gram has no mask yet.
    index: Vec<u32>,
    masks: Vec<u64>,
    used: usize,
}

/// A text, and the number of insertions of each of its grams.
pub(super) struct Insertions<'a> {
    pub(super) text: &'a [u8],
    /// The number of insertions of each gram.
    pub(super) each: u32,
    /// The number of leading grams that are inserted once more.
    pub(super) once_more: usize,
}

impl Grams {
    /// Creates tables for grams of `n` characters and filters of `bits` bits; `None` if there is no code for these sizes.
    pub(super) fn new(n: usize, bits: usize) -> Option<Self> {
        let is_made = matches!(n, 1 | 2) && matches!(bits.div_ceil(64), 8 | 16 | 32);
        is_made.then(|| Self { n, bits, tables: Vec::new() })
    }

    /// The number of grams of a text.
    pub(super) const fn count(&self, text: &[u8]) -> usize {
        if text.is_empty() { 0 } else { text.len() + self.n - 1 }
    }

    /// Sets the bits of an ASCII text. Returns false and sets none if more than [`TABLES_MAX`] tables would be needed.
    ///
    /// # Errors
    /// A gram cannot be hashed.
    pub(super) fn insert(
        &mut self,
        insertions: &Insertions<'_>,
        hasher: &Hasher,
        filter: &mut [u64],
    ) -> Result<bool, String> {
        let wanted = [insertions.each, insertions.each + 1].map(|count| !self.has(count));
        if self.tables.len() + wanted.into_iter().map(usize::from).sum::<usize>() > TABLES_MAX {
            return Ok(false);
        }
        if let Ok(filter) = <&mut [u64; 16]>::try_from(&mut *filter) {
            self.insert_all(insertions, hasher, filter)?;
        } else if let Ok(filter) = <&mut [u64; 8]>::try_from(&mut *filter) {
            self.insert_all(insertions, hasher, filter)?;
        } else if let Ok(filter) = <&mut [u64; 32]>::try_from(filter) {
            self.insert_all(insertions, hasher, filter)?;
        }
        Ok(true)
    }

    fn has(&self, count: u32) -> bool {
        self.tables.iter().any(|table| table.count == count)
    }

    /// Sets the bits in a filter whose length the compiler knows.
    fn insert_all<const WORDS: usize>(
        &mut self,
        insertions: &Insertions<'_>,
        hasher: &Hasher,
        filter: &mut [u64; WORDS],
    ) -> Result<(), String> {
        let Insertions { text, each, once_more } = *insertions;
        for (range, count) in [(0..once_more, each + 1), (once_more..self.count(text), each)] {
            if range.is_empty() {
                continue;
            }
            let (n, bits) = (self.n, self.bits);
            let table = self.table(count);
            for start in range.clone().step_by(STEP) {
                let mut numbers = [0; STEP];
                let found = STEP.min(range.end - start);
                for (number, at) in numbers[..found].iter_mut().zip(start..) {
                    let gram = gram(text, n, at);
                    *number = match table.index[place(gram)] {
                        0 => table.hash(gram, n, bits, hasher)?,
                        known => known,
                    };
                }
                let (masks, _) = table.masks.as_chunks::<WORDS>();
                // A local copy stays in registers.
                let mut sum = *filter;
                for number in &numbers[..found] {
                    let mask = &masks[*number as usize - 1];
                    sum.iter_mut().zip(mask).for_each(|(word, mask)| *word |= mask);
                }
                *filter = sum;
            }
        }
        Ok(())
    }

    fn table(&mut self, count: u32) -> &mut Table {
        let at = self.tables.iter().position(|table| table.count == count).unwrap_or_else(|| {
            // The full size at once: pages that are never written take no memory, and growing would leave copies of
            // masks in freed memory.
            let masks = vec![0; GRAMS * self.bits.div_ceil(64)];
            self.tables.push(Table { count, index: vec![0; GRAMS], masks, used: 0 });
            self.tables.len() - 1
        });
        &mut self.tables[at]
    }
}

impl Table {
    /// Hashes a gram that occurs for the first time.
    #[cold]
    fn hash(&mut self, gram: [u8; 2], n: usize, bits: usize, hasher: &Hasher) -> Result<u32, String> {
        let words = bits.div_ceil(64);
        let mask = &mut self.masks[self.used * words..][..words];
        // A gram that was rejected may have left bits.
        mask.fill(0);
        hasher.insert(&gram[2 - n..], self.count, mask, bits)?;
        self.used += 1;
        self.index[place(gram)] = self.used as u32;
        Ok(self.used as u32)
    }
}

/// Returns gram `at` of a text padded with a space at both ends. A single character comes after a zero byte.
fn gram(text: &[u8], n: usize, at: usize) -> [u8; 2] {
    let character = |at: usize| text.get(at).copied().unwrap_or(b' ');
    [if n == 1 { 0 } else { character(at.wrapping_sub(1)) }, character(at)]
}

const fn place(gram: [u8; 2]) -> usize {
    (gram[0] as usize | (gram[1] as usize) << CHARACTER_BITS) % GRAMS
}

/// The index reveals which grams occurred, and the masks reveal information about the secret.
impl Drop for Table {
    fn drop(&mut self) {
        self.index.zeroize();
        let words = self.masks.len() / GRAMS;
        self.masks[..self.used * words].zeroize();
    }
}

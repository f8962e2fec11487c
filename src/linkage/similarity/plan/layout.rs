//! A plan in memory, or mapped into it.

use super::entry::{ENTRY_BYTES, Entry};
use crate::encoding::layout::{Damage, Header, Span, u32_at, u64_at};
use crate::threshold::Threshold;

const MAGIC: &[u8; 8] = b"entdplan";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 64;
const DATASET_BYTES: usize = 8;
pub(super) const PART_BYTES: usize = 24;
pub(super) const PLAN: &str = "plan";

/// The properties of a dataset in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The rows of the dataset's matrix.
    pub records: u32,
    /// The number of bytes in each row.
    pub encoding_bytes: u32,
}

impl Dataset {
    /// Returns the dataset whose index has this `header`.
    pub const fn of(header: &Header) -> Self {
        Self { records: header.records, encoding_bytes: header.encoding_bytes }
    }

    pub(super) fn to_bytes(self) -> [u8; DATASET_BYTES] {
        let mut bytes = [0; DATASET_BYTES];
        bytes[..4].copy_from_slice(&self.records.to_le_bytes());
        bytes[4..].copy_from_slice(&self.encoding_bytes.to_le_bytes());
        bytes
    }
}

/// The header of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanHeader {
    pub(super) datasets: u32,
    pub(super) threshold: Threshold,
    pub(super) aim: u64,
    pub(super) comparisons: u64,
    pub(super) parts: u64,
    pub(super) entries: u64,
}

impl PlanHeader {
    /// Returns the header for `datasets`; `parts` is the checksum state of all parts.
    pub(super) fn to_bytes(self, datasets: &[u8], parts: &crc32fast::Hasher) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.datasets.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.threshold.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.aim.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.comparisons.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.parts.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.entries.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..60]);
        crc.update(datasets);
        crc.combine(parts);
        bytes[60..].copy_from_slice(&crc.finalize().to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Result<Self, Damage> {
        if &bytes[..8] != MAGIC {
            return Err(Damage::Kind { object: PLAN });
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Damage::Version { object: PLAN, version });
        }
        let threshold = Threshold::new(f64::from_bits(u64_at(bytes, 16)));
        Ok(Self {
            datasets: u32_at(bytes, 12),
            threshold: threshold.map_err(|_| contradiction("a threshold out of range"))?,
            aim: u64_at(bytes, 24),
            comparisons: u64_at(bytes, 32),
            parts: u64_at(bytes, 40),
            entries: u64_at(bytes, 48),
        })
    }

    /// Returns the offset of the parts.
    const fn parts_at(&self) -> usize {
        HEAD_BYTES + self.datasets as usize * DATASET_BYTES
    }

    /// Returns the start and the end of the entries; `None` if they overflow.
    fn entries_range(&self) -> Option<(u64, u64)> {
        let start = self.parts.checked_mul(PART_BYTES as u64)?.checked_add(self.parts_at() as u64)?;
        let stop = self.entries.checked_mul(ENTRY_BYTES as u64)?.checked_add(start)?;
        Some((start, stop))
    }
}

const fn contradiction(what: &'static str) -> Damage {
    Damage::Contradiction { object: PLAN, what }
}

/// A plan, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    head: PlanHeader,
    datasets: &'a [[u8; DATASET_BYTES]],
    parts: &'a [[u8; PART_BYTES]],
    entries: &'a [[u8; ENTRY_BYTES]],
}

impl<'a> Plan<'a> {
    /// Parses the plan in `bytes` and checks everything except its entries, which [`Plan::part`] checks. O(parts).
    ///
    /// # Errors
    /// [`Damage`]. Never panics, for any bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Damage> {
        let found = bytes.len() as u64;
        let length = |expected| Damage::Length { object: PLAN, expected, found };
        let head_bytes = bytes.first_chunk::<HEAD_BYTES>().ok_or_else(|| length(HEAD_BYTES as u64))?;
        let head = PlanHeader::from_bytes(head_bytes)?;
        let (entries_at, expected) = head.entries_range().ok_or_else(|| length(u64::MAX))?;
        if found != expected {
            return Err(length(expected));
        }
        let front = &bytes[..entries_at as usize];
        let mut crc = crc32fast::Hasher::new();
        crc.update(&front[..60]);
        crc.update(&front[HEAD_BYTES..]);
        if crc.finalize() != u32_at(head_bytes, 60) {
            return Err(Damage::Sum { object: PLAN, section: "head" });
        }
        let plan = Self::sections(head, bytes, entries_at as usize);
        plan.check_parts()?;
        Ok(plan)
    }

    /// Returns a plan that [`Plan::parse`] has checked before; `header` is that plan's header. O(1).
    ///
    /// # Errors
    /// [`Damage`], if the length does not match.
    pub fn reopen(header: PlanHeader, bytes: &'a [u8]) -> Result<Self, Damage> {
        let found = bytes.len() as u64;
        match header.entries_range() {
            Some((entries_at, expected)) if expected == found => {
                Ok(Self::sections(header, bytes, entries_at as usize))
            }
            range => {
                let expected = range.map_or(u64::MAX, |(_, expected)| expected);
                Err(Damage::Length { object: PLAN, expected, found })
            }
        }
    }

    fn sections(head: PlanHeader, bytes: &'a [u8], entries_at: usize) -> Self {
        let (front, entries) = bytes.split_at(entries_at);
        let (datasets, parts) = front[HEAD_BYTES..].split_at(head.parts_at() - HEAD_BYTES);
        Self {
            head,
            datasets: datasets.as_chunks().0,
            parts: parts.as_chunks().0,
            entries: entries.as_chunks().0,
        }
    }

    /// Returns the header, which [`Plan::reopen`] needs.
    pub const fn header(&self) -> &PlanHeader {
        &self.head
    }

    fn check_parts(&self) -> Result<(), Damage> {
        let mut next = 0;
        let mut comparisons = 0_u64;
        for row in self.parts.iter().map(PartRow::from_bytes) {
            if row.first != next {
                return Err(contradiction("parts that do not follow one another"));
            }
            next = row.first.saturating_add(row.entries.into());
            comparisons = comparisons.saturating_add(row.comparisons);
        }
        if next != self.head.entries || comparisons != self.head.comparisons {
            return Err(contradiction("parts that do not make up the whole"));
        }
        Ok(())
    }

    /// Returns the datasets of the run, by index.
    pub fn datasets(&self) -> impl ExactSizeIterator<Item = Dataset> + 'a {
        let read = |bytes: &[u8; DATASET_BYTES]| Dataset {
            records: u32_at(bytes, 0),
            encoding_bytes: u32_at(bytes, 4),
        };
        self.datasets.iter().map(read)
    }

    /// Returns the minimum score of a candidate pair.
    pub const fn threshold(&self) -> Threshold {
        self.head.threshold
    }

    /// Returns the intended number of comparisons of each part.
    pub const fn aim(&self) -> u64 {
        self.head.aim
    }

    /// Returns the number of comparisons in all parts: for every block and every two datasets, the product of their
    /// numbers of records in the block. Saturates.
    pub const fn comparisons(&self) -> u64 {
        self.head.comparisons
    }

    /// Returns the number of parts.
    pub const fn parts(&self) -> u64 {
        self.head.parts
    }

    /// Returns the part with this number, from 0, checked; `None` if there are fewer.
    ///
    /// # Errors
    /// [`Damage`], if its entries are damaged.
    pub fn part(&self, number: u64) -> Result<Option<Part<'a>>, Damage> {
        let Some(row) = usize::try_from(number).ok().and_then(|number| self.parts.get(number)) else {
            return Ok(None);
        };
        let row = PartRow::from_bytes(row);
        let entries = &self.entries[row.first as usize..][..row.entries as usize];
        if crc32fast::hash(entries.as_flattened()) != row.crc {
            return Err(Damage::Sum { object: PLAN, section: "part" });
        }
        let part = Part { entries, comparisons: row.comparisons };
        let sound = part.entries().all(|entry| self.is_sound(&entry));
        if !sound
            || part.entries().fold(0, |sum: u64, entry| sum.saturating_add(entry.comparisons()))
                != row.comparisons
        {
            return Err(contradiction("a part that compares what does not exist"));
        }
        Ok(Some(part))
    }

    /// Returns true if the datasets exist and have the rows. The block index checks ids later.
    fn is_sound(&self, entry: &Entry) -> bool {
        let has = |dataset: u32, span: Span| {
            let records = self.datasets.get(dataset as usize).map_or(0, |bytes| u32_at(bytes, 0));
            span.count() > 0
                && match span {
                    Span::Rows { first, count } => {
                        first.checked_add(count).is_some_and(|stop| stop <= records)
                    }
                    Span::Ids { count, .. } => count <= records,
                }
        };
        entry.left_dataset < entry.right_dataset
            && has(entry.left_dataset, entry.left)
            && has(entry.right_dataset, entry.right)
    }
}

/// A part in its stored form.
struct PartRow {
    first: u64,
    entries: u32,
    comparisons: u64,
    crc: u32,
}

impl PartRow {
    fn from_bytes(bytes: &[u8; PART_BYTES]) -> Self {
        Self {
            first: u64_at(bytes, 0),
            entries: u32_at(bytes, 8),
            comparisons: u64_at(bytes, 12),
            crc: u32_at(bytes, 20),
        }
    }
}

/// The work of one job.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    entries: &'a [[u8; ENTRY_BYTES]],
    comparisons: u64,
}

impl<'a> Part<'a> {
    /// Returns the entries of this part. Each entry names two sets of records that are compared.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry> + 'a {
        self.entries.iter().map(Entry::from_bytes)
    }

    /// Returns the number of comparisons of the part.
    pub const fn comparisons(&self) -> u64 {
        self.comparisons
    }
}

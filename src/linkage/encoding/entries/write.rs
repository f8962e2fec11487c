//! Writes block entries in the order of arrival.

use std::io::Write;

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

use super::super::Error;
use super::super::block::{DIGEST_BYTES, ENTRY_BYTES};
use super::names::{Names, hash};
use super::{FRAME_MAX, HEAD_BYTES, LIST_MAX, MAGIC, PAIR_BYTES, Version};

/// The number of entries collected before they are written, in version 1.
const PLAIN_ENTRIES: usize = 1 << 10;
/// The number of bytes of names collected before they are written, except the last one, in version 1.
const PLAIN_TEXT: usize = 64 << 10;
/// The number of names that are looked up together, so that their cache misses overlap.
const BATCH: usize = 128;
/// The number of bytes of names that are looked up together, except the last one.
const BATCH_BYTES: usize = 8 << 10;
/// The number of bytes of new names with which a frame ends.
const FRAME_TEXT: usize = 256 << 10;
/// The number of digests that are made together.
const JOBS: usize = 64;

/// Block entries under construction.
pub(in super::super) struct Entries<W> {
    sink: W,
    count: u64,
    kind: Kind,
    out: Vec<u8>,
}

/// The state of a version.
enum Kind {
    Plain(Plain),
    Numbered(Box<Numbered>),
}

/// Entries of version 1 whose digests are not made yet.
#[derive(Default)]
struct Plain {
    text: Vec<u8>,
    ends: Vec<u32>,
    records: Vec<u32>,
    digests: Vec<u8>,
}

/// The state of version 2.
struct Numbered {
    begun: bool,
    names: Names,
    batch: Batch,
    frame: Frame,
}

/// Names that are not looked up yet.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    /// The number of bytes that a table of names keeps.
    kept: usize,
    items: Vec<Item>,
}

struct Item {
    hash: u32,
    end: u32,
    record: u32,
}

/// A frame under construction.
#[derive(Default)]
struct Frame {
    /// The number of the first new name.
    first: u32,
    /// The new names, whose digests are made last.
    text: Vec<u8>,
    ends: Vec<u32>,
    pairs: Vec<u8>,
}

impl<W: Write> Entries<W> {
    /// Writes entries of `version`.
    pub(in super::super) fn new(version: Version, sink: W) -> Self {
        match version {
            Version::Plain => Self::of_kind(Kind::Plain(Plain::default()), sink),
            Version::Numbered => Self::numbered_within(LIST_MAX, sink),
        }
    }

    const fn of_kind(kind: Kind, sink: W) -> Self {
        Self { sink, count: 0, kind, out: Vec::new() }
    }

    /// Writes version 2 with lists of at most `list_max` digests.
    pub(super) fn numbered_within(list_max: usize, sink: W) -> Self {
        let numbered = Numbered {
            begun: false,
            names: Names::within(list_max),
            batch: Batch::default(),
            frame: Frame::default(),
        };
        Self::of_kind(Kind::Numbered(Box::new(numbered)), sink)
    }

    /// Returns the number of entries so far.
    pub(in super::super) const fn count(&self) -> u64 {
        self.count
    }

    /// Puts `record` into the block called `name`.
    pub(in super::super) fn push(&mut self, record: u32, name: &[u8]) -> Result<(), Error> {
        self.count += 1;
        let waiting = match &mut self.kind {
            Kind::Plain(plain) => plain.push(record, name),
            Kind::Numbered(numbered) => numbered.batch.push(record, name),
        };
        if waiting { Ok(()) } else { self.work_off() }
    }

    /// Writes the buffered entries.
    pub(in super::super) fn flush(&mut self) -> Result<(), Error> {
        self.work_off()?;
        if let Kind::Numbered(numbered) = &mut self.kind {
            numbered.finish_frame(&mut self.out);
        }
        self.flush_out()
    }

    /// Processes the names that wait, and writes what is complete.
    fn work_off(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Plain(plain) => plain.write(&mut self.out),
            Kind::Numbered(numbered) => numbered.look_up(&mut self.out),
        }
        if self.out.is_empty() { Ok(()) } else { self.flush_out() }
    }

    fn flush_out(&mut self) -> Result<(), Error> {
        self.sink.write_all(&self.out).map_err(Error::Sink)?;
        self.out.clear();
        Ok(())
    }
}

impl Plain {
    /// Appends an entry; returns true if there is room for another one.
    fn push(&mut self, record: u32, name: &[u8]) -> bool {
        self.text.extend_from_slice(name);
        self.ends.push(self.text.len() as u32);
        self.records.push(record);
        self.ends.len() < PLAIN_ENTRIES && self.text.len() < PLAIN_TEXT
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        digests(&self.text, &self.ends, &mut self.digests);
        out.reserve(self.records.len() * ENTRY_BYTES);
        for (record, digest) in self.records.iter().zip(self.digests.as_chunks::<DIGEST_BYTES>().0) {
            out.extend_from_slice(&record.to_le_bytes());
            out.extend_from_slice(digest);
        }
        self.text.clear();
        self.ends.clear();
        self.records.clear();
        self.digests.clear();
    }
}

impl Batch {
    /// Appends an entry; returns true if there is room for another one.
    fn push(&mut self, record: u32, name: &[u8]) -> bool {
        self.text.extend_from_slice(name);
        self.kept += Names::bytes(name);
        self.items.push(Item { hash: hash(name), end: self.text.len() as u32, record });
        self.items.len() < BATCH && self.text.len() < BATCH_BYTES
    }
}

impl Numbered {
    /// Moves the batch into the frame, and finishes the frame if it is large.
    fn look_up(&mut self, out: &mut Vec<u8>) {
        if !self.names.reserve(self.batch.items.len(), self.batch.kept) {
            self.finish_frame(out);
            self.names.clear();
            self.frame.first = 0;
        }
        let Batch { text, items, .. } = &self.batch;
        std::hint::black_box(items.iter().fold(0, |sum, item| sum ^ self.names.touch(item.hash)));
        let mut places = [None; BATCH];
        for (place, item) in places.iter_mut().zip(items) {
            *place = self.names.candidate(item.hash);
        }
        let (mut start, mut sum) = (0, 0);
        for (place, item) in places.iter().zip(items) {
            let length = (item.end - std::mem::replace(&mut start, item.end)) as usize;
            sum ^= place.map_or(0, |place| self.names.touch_kept(place, length));
        }
        std::hint::black_box(sum);
        let mut start = 0;
        for (item, place) in items.iter().zip(places) {
            let end = item.end as usize;
            let name = &text[std::mem::replace(&mut start, end)..end];
            let known = place.and_then(|place| self.names.number(place, name));
            let number = known.or_else(|| self.names.find(item.hash, name)).unwrap_or_else(|| {
                self.frame.text.extend_from_slice(name);
                self.frame.ends.push(self.frame.text.len() as u32);
                self.names.add(item.hash, name)
            });
            let pair = u64::from(number) << 32 | u64::from(item.record);
            self.frame.pairs.extend_from_slice(&pair.to_le_bytes());
        }
        self.batch.text.clear();
        self.batch.kept = 0;
        self.batch.items.clear();
        let Frame { text, pairs, .. } = &self.frame;
        if pairs.len() + BATCH * PAIR_BYTES > FRAME_MAX * PAIR_BYTES || text.len() > FRAME_TEXT {
            self.finish_frame(out);
        }
    }

    fn finish_frame(&mut self, out: &mut Vec<u8>) {
        let Frame { first, text, ends, pairs } = &mut self.frame;
        if pairs.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&MAGIC);
        }
        out.reserve(HEAD_BYTES + ends.len() * DIGEST_BYTES + pairs.len());
        for number in [*first, ends.len() as u32, (pairs.len() / PAIR_BYTES) as u32] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        digests(text, ends, out);
        out.extend_from_slice(pairs);
        *first += ends.len() as u32;
        text.clear();
        ends.clear();
        pairs.clear();
    }
}

/// Appends the digests of the names, of which each ends in `text` where `ends` says.
fn digests(text: &[u8], ends: &[u32], out: &mut Vec<u8>) {
    let mut params = Params::new();
    params.hash_length(DIGEST_BYTES);
    let mut start = 0;
    for ends in ends.chunks(JOBS) {
        let job = |&end: &u32| {
            let end = end as usize;
            HashManyJob::new(&params, &text[std::mem::replace(&mut start, end)..end])
        };
        let mut jobs: Vec<_> = ends.iter().map(job).collect();
        hash_many(&mut jobs);
        jobs.iter().for_each(|job| out.extend_from_slice(job.to_hash().as_bytes()));
    }
}

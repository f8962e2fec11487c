//! Compares a part of a run: many tiles become one sorted run of pairs.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rayon::prelude::*;

use super::decision::Decision;
use super::search::{Bits, common_size, each_hit};
use super::sieve::{Piece, Sieve};
use super::{Error, Hit, Kernel, Sides, Tile, Tuning, TuningCell};
use crate::pairs::{self, Pair, Sorter};
use crate::scratch::Scratch;
use crate::threshold::Threshold;

/// The parameters of the comparison of a part.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The minimum score of a candidate pair.
    pub threshold: Threshold,
    /// The loops that compare.
    pub kernel: Kernel,
    /// The tuning of the run; shared by its parts on this machine.
    pub tuning: &'a TuningCell,
    /// Packed rows, shared by the parts of the run on this machine.
    pub sides: &'a Sides,
    /// The maximum number of pairs, before duplicates are dropped.
    pub pairs_max: u64,
    /// A flag that another thread sets to stop the work.
    pub cancelled: &'a AtomicBool,
    /// A counter of the comparisons so far.
    pub compared: &'a AtomicU64,
    /// Storage for pairs that do not fit in memory.
    pub scratch: &'a dyn Scratch,
    /// The maximum number of pairs in memory; see [`pairs::PAIRS_BUFFERED`].
    pub pairs_buffered: usize,
    /// The version of the pair file.
    pub written: pairs::Version,
}

/// The counts of the comparison of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The number of pairs of records that were compared.
    pub comparisons: u64,
    /// The number of pairs whose common bits were counted. The others could not have enough common bits.
    pub counted: u64,
    /// The number of candidate pairs found, duplicates included.
    pub pairs_found: u64,
    /// The number of candidate pairs written.
    pub pairs_written: u64,
}

/// Compares all `tiles` and writes the candidate pairs to `out`: a pair file in [`Pair`] order, each
/// pair once. The bytes depend on the tiles, the threshold and the version, not on kernel, tuning or threads.
///
/// Works on all threads of the rayon pool that it is called in. Large tiles are cut, small ones bundled. Each thread
/// checks after at most some 50 ms of comparing whether the work is cancelled.
///
/// # Errors
/// [`Error::Cancelled`]; [`pairs::Error::TooMany`] as soon as more than `pairs_max` pairs are found;
/// [`pairs::Error::Write`] if `out` or the scratch space fails; the errors that `tiles` yields; and
/// [`Error::Malformed`] if encodings differ in size.
pub fn compare<'a>(
    job: &Job<'_>,
    tiles: impl IntoIterator<Item = Result<Tile<'a>, Error>>,
    out: impl Write,
) -> Result<Compared, Error> {
    let mut part = Part::new(job);
    let mut small = Small::default();
    for tile in tiles {
        let tile = tile?;
        part.settle(&tile)?;
        if tile.comparisons() > LARGE_COMPARISONS {
            part.compare_large(&tile)?;
        } else if small.is_full_with(tile) {
            part.compare_small(&mut small)?;
        }
    }
    part.compare_small(&mut small)?;
    part.finish(out)
}

/// The minimum number of comparisons of a tile that is cut for several threads.
const LARGE_COMPARISONS: u64 = 1 << 20;
/// The number of rows of either side that are packed together.
const SIDE_ROWS: usize = 1 << 15;
/// The number of lines of 64 bytes that one thread compares at a time, which takes at most some 50 ms. Of encodings of up to
/// 4096 bytes, that is at least the smallest piece.
const PIECE_LINES: usize = 1 << 23;
/// The minimum number of comparisons for which sorting and sifting pay off.
const SIEVE_COMPARISONS: u64 = 1 << 11;
/// The minimum number of rows of the shorter side for which sorting and sifting pay off.
const SIEVE_ROWS: usize = 16;
/// The number of small tiles that one thread takes at a time.
const BUNDLE_TILES: usize = 256;
/// The number of small tiles whose first rows are fetched together, so that their cache misses overlap.
const FETCHED_TILES: usize = 16;
/// The number of rows of either side that are fetched together.
const FETCHED_ROWS: usize = 8;
/// The number of small tiles that are collected before all threads start.
const GATHERED_TILES: usize = 64 * BUNDLE_TILES;
/// The number of comparisons in collected tiles at which all threads start.
const GATHERED_COMPARISONS: u64 = 64 * LARGE_COMPARISONS;
/// The number of pairs that a thread collects before it locks the sorter.
const PAIRS_AT_HAND: usize = 1 << 13;

/// Small tiles that wait to be compared together.
#[derive(Default)]
struct Small<'a> {
    tiles: Vec<Tile<'a>>,
    comparisons: u64,
}

impl<'a> Small<'a> {
    fn is_full_with(&mut self, tile: Tile<'a>) -> bool {
        self.comparisons += tile.comparisons();
        self.tiles.push(tile);
        self.tiles.len() >= GATHERED_TILES || self.comparisons >= GATHERED_COMPARISONS
    }
}

/// The state that the threads share.
struct Part<'a> {
    job: &'a Job<'a>,
    decision: Option<(usize, Decision)>,
    counted: AtomicU64,
    comparisons: AtomicU64,
    found: AtomicU64,
    sorter: Mutex<Sorter<'a>>,
}

impl<'a> Part<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            decision: None,
            counted: AtomicU64::new(0),
            comparisons: AtomicU64::new(0),
            found: AtomicU64::new(0),
            sorter: Mutex::new(Sorter::new(job.scratch, job.pairs_buffered)),
        }
    }

    /// Takes the size of an encoding from the first tile, and checks that the other tiles have the same. Learns a
    /// tuning when that pays.
    fn settle(&mut self, tile: &Tile<'_>) -> Result<(), Error> {
        let size = common_size(&tile.left, &tile.right)?;
        match &self.decision {
            None => self.decision = Some((size, Decision::new(self.job.threshold, size))),
            Some((settled, _)) if *settled == size => {}
            Some(_) => return Err(Error::Malformed("tiles have encodings of different sizes")),
        }
        if pays_to_sieve(tile) && self.job.tuning.pays_to_learn(tile.comparisons()) {
            self.job.tuning.get_or_learn(|comparisons| {
                Tuning::learn(&tile.left, &tile.right, self.decision(), self.job.kernel, comparisons)
            });
        }
        Ok(())
    }

    fn decision(&self) -> &Decision {
        &self.decision.as_ref().expect("the size was settled by the first tile").1
    }

    fn sieve(&self, tile: &Tile<'_>) -> Sieve<'_> {
        let untuned = Tuning::none();
        let tuning = self.job.tuning.get().unwrap_or(&untuned);
        Sieve::new(&tile.left, &tile.right, tuning, self.decision(), self.job.kernel).watched()
    }

    /// Packs a limited number of rows at a time, so that memory stays bounded and a cancellation is noticed.
    fn compare_large(&self, tile: &Tile<'_>) -> Result<(), Error> {
        for left in pieces(tile.left.len(), SIDE_ROWS) {
            for right in pieces(tile.right.len(), SIDE_ROWS) {
                self.stop_if_cancelled()?;
                let (left, right) = (tile.left.part(left.clone()), tile.right.part(right));
                self.compare_square(&Tile { left, right, ..*tile })?;
            }
        }
        Ok(())
    }

    fn compare_square(&self, tile: &Tile<'_>) -> Result<(), Error> {
        let untuned = Tuning::none();
        let tuning = self.job.tuning.get().unwrap_or(&untuned);
        let sieve = Sieve::shared(tile, self.job.sides, tuning, self.decision(), self.job.kernel).watched();
        let pairs = PIECE_LINES / tile.left.encoding_bytes().div_ceil(64);
        sieve.pieces(pairs).into_par_iter().try_for_each(|piece| {
            self.stop_if_cancelled()?;
            let mut at_hand = Vec::new();
            self.sift(&sieve, &piece, tile, &mut at_hand)?;
            self.keep(&mut at_hand)?;
            self.report(piece.pairs() as u64);
            Ok(())
        })
    }

    fn compare_small(&self, small: &mut Small<'_>) -> Result<(), Error> {
        small.tiles.par_chunks(BUNDLE_TILES).try_for_each(|tiles| self.compare_all(tiles))?;
        small.tiles.clear();
        small.comparisons = 0;
        Ok(())
    }

    /// Compares the records of some tiles on the calling thread.
    fn compare_all(&self, tiles: &[Tile<'_>]) -> Result<(), Error> {
        let (mut at_hand, mut bits) = (Vec::new(), Bits::default());
        let mut counted = 0;
        for tiles in tiles.chunks(FETCHED_TILES) {
            let fetched = tiles.iter().flat_map(|tile| [tile.left, tile.right]);
            std::hint::black_box(fetched.fold(0, |sum, rows| sum ^ rows.touch(FETCHED_ROWS)));
            for tile in tiles {
                self.stop_if_cancelled()?;
                if pays_to_sieve(tile) {
                    let sieve = self.sieve(tile);
                    self.sift(&sieve, &sieve.all(), tile, &mut at_hand)?;
                } else {
                    let emit = |hit| self.collect(tile, hit, &mut at_hand);
                    counted +=
                        each_hit(&tile.left, &tile.right, self.decision(), self.job.kernel, &mut bits, emit)?;
                }
            }
        }
        self.counted.fetch_add(counted, Ordering::Relaxed);
        self.keep(&mut at_hand)?;
        self.report(tiles.iter().map(Tile::comparisons).sum());
        Ok(())
    }

    fn sift(
        &self,
        sieve: &Sieve<'_>,
        piece: &Piece,
        tile: &Tile<'_>,
        at_hand: &mut Vec<Pair>,
    ) -> Result<(), Error> {
        let effort = sieve.search(piece, |hit| self.collect(tile, hit, at_hand))?;
        self.counted.fetch_add(effort.counted(), Ordering::Relaxed);
        Ok(())
    }

    fn stop_if_cancelled(&self) -> Result<(), Error> {
        if self.job.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn report(&self, comparisons: u64) {
        self.comparisons.fetch_add(comparisons, Ordering::Relaxed);
        self.job.compared.fetch_add(comparisons, Ordering::Relaxed);
    }

    fn collect(&self, tile: &Tile<'_>, hit: Hit, at_hand: &mut Vec<Pair>) -> Result<(), Error> {
        at_hand.push(pair(tile, hit));
        if at_hand.len() >= PAIRS_AT_HAND { self.keep(at_hand) } else { Ok(()) }
    }

    fn keep(&self, at_hand: &mut Vec<Pair>) -> Result<(), Error> {
        let found = at_hand.len() as u64;
        let count = self.found.fetch_add(found, Ordering::Relaxed) + found;
        if count > self.job.pairs_max {
            return Err(pairs::Error::TooMany { count, limit: self.job.pairs_max }.into());
        }
        if found > 0 {
            self.sorter.lock().take(at_hand)?;
        }
        Ok(())
    }

    fn finish(self, out: impl Write) -> Result<Compared, Error> {
        let sorter = self.sorter.into_inner();
        Ok(Compared {
            comparisons: self.comparisons.into_inner(),
            counted: self.counted.into_inner(),
            pairs_found: self.found.into_inner(),
            pairs_written: sorter.write(self.job.written, out)?,
        })
    }
}

/// Divides `0..count` into ranges of about the same size, at most `size_max`.
fn pieces(count: usize, size_max: usize) -> impl Iterator<Item = Range<usize>> {
    let pieces = count.div_ceil(size_max);
    (0..pieces).map(move |piece| piece * count / pieces..(piece + 1) * count / pieces)
}

/// Returns true if both sides have enough records for packing to pay.
fn pays_to_sieve(tile: &Tile<'_>) -> bool {
    tile.comparisons() >= SIEVE_COMPARISONS && tile.left.len().min(tile.right.len()) >= SIEVE_ROWS
}

fn pair(tile: &Tile<'_>, hit: Hit) -> Pair {
    let records = [tile.left.record(hit.left as usize), tile.right.record(hit.right as usize)];
    Pair { score: hit.score, datasets: tile.datasets, records }
}

#[cfg(test)]
mod tests;

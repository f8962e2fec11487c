//! The costs of the loops on this processor. They are measured once in a process, which takes a few milliseconds.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::lines::{Bytes, Words};
use super::loops::Loops;
use super::name::Name;
use super::products::{
    BIT_LINES, BITS_READ_AHEAD, BitRows, PRODUCT_BLOCK_ROWS, PRODUCT_ROWS, ProductLanes, ProductRows,
};
use super::sift::{BLOCK_ROWS, Block, RowSignatures, RowWords, WORD_BLOCK_ROWS, WordBlock};

/// The costs of loops, in nanoseconds. Only precise enough to choose between two methods.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// The cost of sifting 64 pairs by signatures: a fixed part, and a part for each part of the signature.
    pub parts: Linear,
    /// The cost of sifting 64 pairs by projections: a fixed part, and a part for each step of 64 components.
    pub steps: Option<Linear>,
    /// The cost of counting 64 pairs: a fixed part, and a part for each line of 512 bits.
    pub lines: Linear,
    /// The cost of collecting, counting and deciding one survivor: a fixed part, and a part for each line.
    pub survivor: Linear,
}

/// A cost that is a linear function of a number of units.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// The fixed part of the cost.
    pub base: f64,
    /// The additional cost of each unit.
    pub each: f64,
}

impl Linear {
    /// Returns the cost of `count` units.
    pub fn of(self, count: usize) -> f64 {
        self.base + self.each * count as f64
    }

    /// Returns the line through two measurements.
    fn through([(few, cost_of_few), (many, cost_of_many)]: [(usize, f64); 2]) -> Self {
        let each = ((cost_of_many - cost_of_few) / (many - few) as f64).max(cost_of_many / many as f64 / 8.0);
        Self { base: (cost_of_few - each * few as f64).max(0.0), each }
    }
}

/// A function that returns the cost of a loop for a number of units.
type Cost = fn(&dyn Loops, usize) -> f64;

/// The shortest times of a loop, for few units and for many.
struct Measured {
    cost: Cost,
    units: [usize; 2],
    shortest: [f64; 2],
}

impl Measured {
    fn new(cost: Cost, units: [usize; 2]) -> Self {
        Self { cost, units, shortest: [f64::INFINITY; 2] }
    }

    fn repeat(&mut self, loops: &dyn Loops) {
        for (units, shortest) in self.units.iter().zip(&mut self.shortest) {
            *shortest = shortest.min((self.cost)(loops, *units));
        }
    }

    fn line(&self) -> Linear {
        let ([few, many], [cost_of_few, cost_of_many]) = (self.units, self.shortest);
        Linear::through([(few, cost_of_few), (many, cost_of_many)])
    }
}

/// The cost of finding a survivor among others, and of deciding it once its bits are counted.
const SURVIVOR: f64 = 3.0;
/// The number of rows in a measurement.
const ROWS: usize = 256;
/// The minimum number of repetitions of a measurement. The shortest one counts.
const TURNS: usize = 5;
/// The minimum total time of these repetitions: wide instructions run at full speed only after a while.
const MEASURED: Duration = Duration::from_micros(100);
/// The number of rounds, each of which measures all loops: another program that slows the processor down for a while must
/// not make one of them look slow.
const ROUNDS: usize = 4;

impl Costs {
    /// Returns the costs of these loops, which are measured at the first call.
    pub(super) fn of(loops: &dyn Loops) -> Self {
        static KNOWN: [OnceLock<Costs>; Name::ALL.len()] = [const { OnceLock::new() }; Name::ALL.len()];
        let place = Name::ALL.iter().position(|name| *name == loops.name()).unwrap_or_default();
        *KNOWN[place].get_or_init(|| Self::measure(loops))
    }

    fn measure(loops: &dyn Loops) -> Self {
        let mut parts = Measured::new(parts_of, [4, 24]);
        let mut survivor = Measured::new(count, [1, 4]);
        let mut steps = loops.products().map(|_| Measured::new(steps_of, [1, 4]));
        let every_pair: Option<Cost> = match (loops.bit_products(), loops.word_sieve(), loops.pair_sieve()) {
            (Some(_), _, _) => Some(bits),
            (None, Some(_), _) => Some(words),
            (None, None, Some(_)) => Some(pairs),
            (None, None, None) => None,
        };
        let mut lines = every_pair.map(|cost| Measured::new(cost, [1, 3]));
        for _ in 0..ROUNDS {
            let always = [&mut parts, &mut survivor];
            always.into_iter().chain(&mut steps).chain(&mut lines).for_each(|one| one.repeat(loops));
        }
        let survivor = survivor.line();
        let pair_by_pair =
            Linear { base: 64.0 * (survivor.base + SURVIVOR / 2.0), each: 64.0 * survivor.each };
        Self {
            parts: parts.line(),
            steps: steps.as_ref().map(Measured::line),
            lines: lines.as_ref().map_or(pair_by_pair, Measured::line),
            survivor: Linear { base: survivor.base + SURVIVOR, ..survivor },
        }
    }
}

/// Returns the shortest time of a few calls, in nanoseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "costs are those of this processor; results do not depend on them"
)]
fn shortest(mut turn: impl FnMut()) -> f64 {
    let (began, mut shortest) = (Instant::now(), Duration::MAX);
    let mut turns = 0;
    while turns < TURNS || began.elapsed() < MEASURED {
        let start = Instant::now();
        turn();
        shortest = shortest.min(start.elapsed());
        turns += 1;
    }
    shortest.as_secs_f64() * 1e9
}

fn parts_of(loops: &dyn Loops, parts: usize) -> f64 {
    let lines = vec![Bytes([1; 64]); (1 + parts) * BLOCK_ROWS / 64];
    // Each count exceeds that of the lane, so that no pair survives.
    let counts = vec![0x0202_0202; ROWS * parts];
    let (totals, limits) = (vec![2 * parts as u8; ROWS], vec![0; ROWS]);
    let mut survivors = Vec::new();
    let rows = RowSignatures { first: 0, counts: &counts, totals: &totals, limits: &limits };
    let block = Block::new(0, &lines);
    shortest(|| loops.sift(rows, &block, &mut survivors)) / (ROWS * BLOCK_ROWS / 64) as f64
}

fn steps_of(loops: &dyn Loops, steps: usize) -> f64 {
    let Some(products) = loops.products() else { return f64::INFINITY };
    let (rows, lanes) =
        (vec![Bytes([1; 64]); ROWS * steps], vec![Bytes([1; 64]); PRODUCT_BLOCK_ROWS * steps]);
    let (needed, starts) = (vec![i32::MAX; ROWS], vec![0; PRODUCT_BLOCK_ROWS]);
    let rows = ProductRows { first: 0, lines: &rows, steps };
    let lanes = ProductLanes { first: 0, lines: &lanes, starts: &starts };
    let mut survivors = Vec::new();
    let turn = || products.sift_products(rows, &needed, lanes, &mut survivors);
    shortest(turn) / (ROWS * PRODUCT_BLOCK_ROWS / 64) as f64
}

fn bits(loops: &dyn Loops, lines: usize) -> f64 {
    let Some(products) = loops.bit_products() else { return f64::INFINITY };
    let (steps, needed) = (8 * lines, vec![i32::MAX; ROWS]);
    let rows = vec![Bytes([1; 64]); ROWS / PRODUCT_ROWS * steps * BIT_LINES + BITS_READ_AHEAD];
    let (block, starts) = (vec![Bytes([1; 64]); 64 * lines], vec![0; WORD_BLOCK_ROWS]);
    let rows = BitRows { first: 0, lines: &rows, steps };
    let (mut unpacked, mut survivors) = (Vec::new(), Vec::new());
    let turn = || {
        products.unpack_lanes(&block, &mut unpacked);
        let lanes = ProductLanes { first: 0, lines: &unpacked, starts: &starts };
        products.sift_bits(rows, &needed, lanes, &mut survivors);
    };
    shortest(turn) / (ROWS * WORD_BLOCK_ROWS / 64) as f64
}

fn words(loops: &dyn Loops, lines: usize) -> f64 {
    let Some(sieve) = loops.word_sieve() else { return f64::INFINITY };
    let (words, needed) = (some_words(ROWS, lines), vec![u32::MAX; ROWS]);
    let block = vec![Bytes([1; 64]); 64 * lines];
    let rows = RowWords { first: 0, words: &words, needed: &needed };
    let block = WordBlock { first: 0, lines: &block };
    let mut survivors = Vec::new();
    shortest(|| sieve.sift_words(rows, &block, &mut survivors)) / (ROWS * WORD_BLOCK_ROWS / 64) as f64
}

fn pairs(loops: &dyn Loops, lines: usize) -> f64 {
    let Some(sieve) = loops.pair_sieve() else { return f64::INFINITY };
    let (words, needed) = (some_words(ROWS, lines), vec![u32::MAX; ROWS]);
    let (others, lanes) = (some_words(BLOCK_ROWS, lines), 0..BLOCK_ROWS as u32);
    let rows = RowWords { first: 0, words: &words, needed: &needed };
    let mut survivors = Vec::new();
    let turn = || sieve.sift_pairs(rows, &others, lanes.clone(), &mut survivors);
    shortest(turn) / (ROWS * BLOCK_ROWS / 64) as f64
}

/// Returns the cost of counting one pair, measured on pairs that are spread over a chunk and a block.
fn count(loops: &dyn Loops, lines: usize) -> f64 {
    let (rows, lanes) = (some_words(ROWS, lines), some_words(BLOCK_ROWS, lines));
    let pairs: Vec<_> =
        (0..1024_u32).map(|at| (at * 29 % ROWS as u32, at.wrapping_mul(at) % BLOCK_ROWS as u32)).collect();
    let mut counts = Vec::new();
    let turn = || {
        counts.clear();
        loops.count(&rows, &lanes, &pairs, &mut counts);
    };
    shortest(turn) / pairs.len() as f64
}

fn some_words(rows: usize, lines: usize) -> Words {
    let mut words = Words::with_capacity(rows, 64 * lines);
    let row = vec![0x5a; 64 * lines];
    for _ in 0..rows {
        words.push(&row);
    }
    words
}

const _: () = assert!(ROWS.is_multiple_of(PRODUCT_ROWS), "whole bundles");

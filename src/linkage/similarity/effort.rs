//! Tests that, for all encodings, sifting takes at most little more work than counting every pair.

use super::decision::Decision;
use super::packed::Form;
use super::rows::Rows;
use super::sieve::{Effort, Sieve};
use super::{Kernel, Tuning};
use crate::threshold::Threshold;

/// The random number generator `SplitMix64`.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Returns a row in which each bit is set with the probability `density`.
    fn row(&mut self, bytes: usize, density: f64) -> Vec<u8> {
        let mut row = vec![0; bytes];
        for bit in 0..8 * bytes {
            row[bit / 8] |=
                u8::from((self.next() >> 11) as f64 / (1_u64 << 53) as f64 <= density) << (bit % 8);
        }
        row
    }

    fn flip(&mut self, row: &mut [u8], bits: usize) {
        for _ in 0..bits {
            let bit = self.below(8 * row.len());
            row[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Returns a record of tokens, each of which sets some bits; the first tokens are frequent.
    fn tokens(&mut self, bytes: usize, tokens: usize) -> Vec<u8> {
        let mut row = vec![0; bytes];
        for _ in 0..tokens {
            let uniform = self.below(1 << 20) as f64 / f64::from(1 << 20);
            let mut bits = Draw((uniform.powi(3) * 400.0) as u64);
            for _ in 0..bytes / 8 {
                let bit = bits.below(8 * bytes);
                row[bit / 8] |= 1 << (bit % 8);
            }
        }
        row
    }
}

/// A function that makes the record with the given index.
type Make = fn(&mut Draw, usize) -> Vec<u8>;

/// Name, bytes of an encoding, and the records of the left side. Half of the right side are copies with some bits flipped.
const DISTRIBUTIONS: [(&str, usize, Make); 12] = [
    ("uniform", 32, |draw, _| draw.row(32, 0.5)),
    ("density by record", 32, |draw, _| {
        let density = (26 + draw.below(7)) as f64 / 64.0;
        draw.row(32, density)
    }),
    ("Zipf-valued fields", 32, |draw, _| draw.tokens(32, 24)),
    ("fields missing", 32, |draw, at| draw.tokens(32, 4 + 20 * (at % 3 % 2))),
    ("sparse", 32, |draw, _| draw.row(32, 0.03)),
    ("dense", 32, |draw, _| draw.row(32, 0.95)),
    ("64 bits", 8, |draw, _| draw.row(8, 0.4)),
    ("512 bits", 64, |draw, _| draw.tokens(64, 24)),
    ("households", 32, |draw, at| {
        let mut row = Draw(at as u64 / 8).tokens(32, 24);
        draw.flip(&mut row, 6);
        row
    }),
    ("noise", 32, |draw, _| {
        let mut row = draw.tokens(32, 24);
        draw.flip(&mut row, 40);
        row
    }),
    ("balanced", 32, |draw, _| {
        let half = draw.tokens(16, 12);
        [half.clone(), half.iter().map(|byte| !byte).collect()].concat()
    }),
    // The records are sorted, and their two halves are unlike each other, so one half of the sample does not
    // represent the other half of the records.
    ("sorted by popcount", 32, |draw, at| if at < 500 { draw.tokens(32, 8) } else { draw.row(32, 0.6) }),
];

const ROWS: usize = 1000;
/// The comparisons of a run for which every form of sifting is tried.
const LARGE: u64 = 1 << 40;

fn sides(bytes: usize, make: Make) -> (Vec<u8>, Vec<u8>) {
    let mut draw = Draw(7);
    let left: Vec<Vec<u8>> = (0..ROWS).map(|at| make(&mut draw, at)).collect();
    let right = (0..ROWS).map(|at| {
        let mut row = left[at].clone();
        draw.flip(&mut row, bytes / 2);
        if at % 2 == 0 { row } else { make(&mut draw, at) }
    });
    (left.concat(), right.collect::<Vec<_>>().concat())
}

/// Returns the work of a search, and the work of counting each of its pairs, both in the units of the costs.
fn work(effort: Effort, tuning: &Tuning, kernel: Kernel, bytes: usize) -> (f64, f64) {
    let sifting = Form::of(tuning, kernel).cost_of_sifting(kernel, bytes).unwrap_or_default();
    let counting = kernel.cost_of_counting(bytes) / 64.0;
    let pairs = (effort.sifted + effort.counted_in_full) as f64;
    let survivors = effort.survivors as f64 * kernel.cost_of_survivor(bytes);
    let spent = effort.sifted as f64 * sifting / 64.0 + survivors + effort.counted_in_full as f64 * counting;
    (spent, pairs * counting)
}

fn effort(left: &Rows<'_>, right: &Rows<'_>, tuning: &Tuning, decision: &Decision, kernel: Kernel) -> Effort {
    let sieve = Sieve::new(left, right, tuning, decision, kernel).watched();
    sieve.search(&sieve.all(), |_| Ok(())).unwrap()
}

#[test]
fn no_distribution_takes_more_work_than_counting_everything() {
    // The last kernel sifts by signatures, which take long to learn in an unoptimized build: one threshold is enough.
    let last = Kernel::available()[Kernel::available().len() - 1];
    let cases: Vec<_> =
        [0.6, 0.7, 0.8, 0.9, 0.95].map(|at| (Kernel::best(), at)).into_iter().chain([(last, 0.8)]).collect();
    for (name, bytes, make) in DISTRIBUTIONS {
        let (left, right) = sides(bytes, make);
        let (left, right) = (Rows::all(&left, bytes).unwrap(), Rows::all(&right, bytes).unwrap());
        for (kernel, threshold) in cases.iter().copied() {
            let decision = Decision::new(Threshold::new(threshold).unwrap(), bytes);
            let tuning = Tuning::learn(&left, &right, &decision, kernel, LARGE);
            // One case has a very small left side.
            for left in [left, left.part(0..40)] {
                let effort = effort(&left, &right, &tuning, &decision, kernel);
                let (spent, counting) = work(effort, &tuning, kernel, bytes);
                // The first block is always sifted, even if that does not pay.
                let block = 256.0 * 256.0 * kernel.cost_of_survivor(bytes);
                assert!(
                    spent <= counting / 0.9 + block,
                    "{name} at {threshold}, {kernel:?}, {tuning:?}: {effort:?}"
                );
            }
        }
    }
}

/// Uses a tuning that was learnt from other encodings: here every pair survives.
#[test]
fn a_broken_promise_costs_little() {
    let (left, right) = sides(32, |draw, _| draw.tokens(32, 24));
    let (left, right) = (Rows::all(&left, 32).unwrap(), Rows::all(&right, 32).unwrap());
    let (same, others) = (vec![0x5a; 32 * 2000], vec![0x5a; 32 * 2000]);
    let (same, others) = (Rows::all(&same, 32).unwrap(), Rows::all(&others, 32).unwrap());
    let decision = Decision::new(Threshold::new(0.9).unwrap(), 32);
    for kernel in Kernel::available() {
        let parts = Tuning::with_parts(&left, &right, 8, &decision, kernel);
        for tuning in [Some(parts), Tuning::with_strips(&left, &right, 1, kernel)].into_iter().flatten() {
            let effort = effort(&same, &others, &tuning, &decision, kernel);
            let all = 2000 * 2000;
            assert_eq!(effort.sifted + effort.counted_in_full, all, "every pair is a hit");
            let (spent, counting) = work(effort, &tuning, kernel, 32);
            let block = 256.0 * 256.0 * kernel.cost_of_survivor(32);
            assert!(spent <= counting / 0.9 + 2.0 * block, "{kernel:?}, {tuning:?}: {effort:?}");
        }
    }
}

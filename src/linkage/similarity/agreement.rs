//! Tests that every kernel and every kind of sifting finds exactly the pairs of the definition.

use proptest::prelude::*;

use super::decision::Decision;
use super::kernel::Words;
use super::sieve::{Piece, Sieve};
use super::{Hit, Kernel, KernelName, Rows, Tuning, dice};
use crate::threshold::Threshold;

/// Returns arbitrary thresholds, and ratios that are scores of short encodings.
fn threshold() -> impl Strategy<Value = Threshold> {
    let ratios = prop::sample::select(vec![0.5, 0.6, 0.65, 2.0 / 3.0, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]);
    prop_oneof![ratios, 0.05..1.0].prop_map(|value| Threshold::new(value).unwrap())
}

/// Returns two matrices of similar rows: mutations of a few patterns, in blocks with arbitrary bounds.
fn matrices() -> impl Strategy<Value = (usize, Vec<u8>, Vec<u8>)> {
    let usual = prop::sample::select(vec![1, 7, 8, 16, 24, 64, 72, 128, 200, 256]);
    let sizes = prop_oneof![3 => usual, 1 => (1..=512_usize).prop_map(|words| 8 * words)];
    sizes.prop_flat_map(|bytes| {
        let pattern = prop::sample::select(vec![
            Pattern::Even(0.0),
            Pattern::Even(0.02),
            Pattern::Even(0.3),
            Pattern::Even(0.5),
            Pattern::Even(0.9),
            Pattern::Even(1.0),
            Pattern::Skewed,
        ]);
        let patterns = prop::collection::vec((pattern, any::<u64>()), 1..4);
        // The definition reads every byte, so long encodings get few rows.
        let counts = [0_usize, 1, 3, 16, 17, 40, 63, 64, 65, 130, 255, 256, 257, 300];
        let counts: Vec<_> = counts.into_iter().filter(|count| count * bytes <= 300 * 256).collect();
        let rows = || (prop::sample::select(counts.clone()), any::<u64>());
        (Just(bytes), patterns, rows(), rows()).prop_map(|(bytes, patterns, left, right)| {
            let matrix = |(rows, seed): (usize, u64)| {
                (0..rows).flat_map(|row| mutation(&patterns, bytes, row as u64 ^ seed)).collect()
            };
            (bytes, matrix(left), matrix(right))
        })
    })
}

/// The distribution of the bits that are set.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// Each bit is set with this probability.
    Even(f64),
    /// Few of the first bits are set, and nearly all of the last.
    Skewed,
}

impl Pattern {
    fn density(self, at: f64) -> f64 {
        match self {
            Self::Even(density) => density,
            Self::Skewed => at * at * at,
        }
    }
}

/// Returns a row of one of the patterns with up to 7 of its bits flipped.
fn mutation(patterns: &[(Pattern, u64)], bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (pattern, of) = patterns[next() as usize % patterns.len()];
    let mut row = vec![0_u8; bytes];
    for bit in 0..8 * bytes {
        let drawn = (of ^ bit as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
        let density = pattern.density(bit as f64 / (8 * bytes) as f64);
        row[bit / 8] |= u8::from((drawn as f64) < density * f64::from(1 << 24)) << (bit % 8);
    }
    for _ in 0..next() % 8 {
        let bit = next() as usize % (8 * bytes);
        row[bit / 8] ^= 1 << (bit % 8);
    }
    row
}

fn sifted(
    left: &Rows<'_>,
    right: &Rows<'_>,
    tuning: &Tuning,
    decision: &Decision,
    kernel: Kernel,
) -> Vec<Hit> {
    let sieve = Sieve::new(left, right, tuning, decision, kernel);
    hits_of(&sieve, &[sieve.all()])
}

fn hits_of(sieve: &Sieve<'_>, pieces: &[Piece]) -> Vec<Hit> {
    let mut hits = Vec::new();
    for piece in pieces {
        let keep = |hit| {
            hits.push(hit);
            Ok(())
        };
        sieve.search(piece, keep).unwrap();
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.left, a.right).cmp(&(b.left, b.right))));
    hits
}

fn described(tuning: &Tuning) -> String {
    format!("{} parts, {} components", tuning.parts(), tuning.components())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_kernel_agrees_with_the_definition(
        (bytes, left, right) in matrices(),
        threshold in threshold(),
        parts in prop::sample::select(vec![1_usize, 2, 4, 9, 16, 64]),
    ) {
        let (left, right) = (Rows::all(&left, bytes).unwrap(), Rows::all(&right, bytes).unwrap());
        let decision = Decision::new(threshold, bytes);
        let expected = dice::by_definition(&left, &right, threshold);
        for kernel in Kernel::available() {
            let learnt = Tuning::learn(&left, &right, &decision, kernel, 1 << 40);
            let forced = Tuning::with_parts(&left, &right, parts, &decision, kernel);
            // Learning takes quadratic time in the number of columns.
            let strips = if bytes <= 72 { 3 } else { 1 };
            let projected = Tuning::with_strips(&left, &right, strips, kernel);
            for tuning in [Tuning::none(), learnt, forced].into_iter().chain(projected) {
                let found = sifted(&left, &right, &tuning, &decision, kernel);
                prop_assert_eq!(&found, &expected, "{:?} with {}", kernel, described(&tuning));
                // With a watch, some blocks are counted in full, with the same result.
                let found = {
                    let sieve = Sieve::new(&left, &right, &tuning, &decision, kernel).watched();
                    hits_of(&sieve, &[sieve.all()])
                };
                prop_assert_eq!(&found, &expected, "{:?} watched, with {}", kernel, described(&tuning));
            }
        }
    }
}

/// Tests every encoding size, with numbers of rows that do not fill a block or a bundle.
#[test]
fn every_kernel_agrees_at_every_size() {
    let patterns = [(Pattern::Even(0.3), 1), (Pattern::Skewed, 2)];
    let threshold = Threshold::new(0.8).unwrap();
    for bytes in (8..=4096).step_by(8) {
        let matrix = |rows: u64, seed: u64| -> Vec<u8> {
            (0..rows).flat_map(|row| mutation(&patterns, bytes, row ^ seed)).collect()
        };
        let (left, right) = (matrix(5, 1 << 20), matrix(19, 1 << 21));
        let (left, right) = (Rows::all(&left, bytes).unwrap(), Rows::all(&right, bytes).unwrap());
        let decision = Decision::new(threshold, bytes);
        let expected = dice::by_definition(&left, &right, threshold);
        assert!(!expected.is_empty(), "{bytes} bytes test something");
        let mut tunings = vec![Tuning::none()];
        // Learning takes quadratic time in the number of columns, and tests are not optimized.
        if bytes % 512 == 8 {
            tunings.push(Tuning::with_parts(&left, &right, 12, &decision, Kernel::best()));
        }
        if bytes % 2048 == 8 {
            tunings.extend(Tuning::with_strips(&left, &right, 1, Kernel::best()));
        }
        for kernel in Kernel::available() {
            for tuning in tunings.iter().filter(|tuning| suits(tuning, kernel)) {
                let found = sifted(&left, &right, tuning, &decision, kernel);
                assert_eq!(found, expected, "{kernel:?}, {bytes} bytes, {}", described(tuning));
            }
        }
    }
}

/// Tests that pieces divide the pairs: several rows of pieces, and several pieces beside each other, whose last ones are
/// not full.
#[test]
fn pieces_have_every_pair_once() {
    let patterns = [(Pattern::Even(0.3), 1), (Pattern::Skewed, 2)];
    let bytes = 16;
    let matrix = |rows: u64, seed: u64| -> Vec<u8> {
        (0..rows).flat_map(|row| mutation(&patterns, bytes, row ^ seed)).collect()
    };
    let (left, right) = (matrix(530, 1 << 20), matrix(700, 1 << 21));
    let (left, right) = (Rows::all(&left, bytes).unwrap(), Rows::all(&right, bytes).unwrap());
    let decision = Decision::new(Threshold::new(0.8).unwrap(), bytes);
    for kernel in Kernel::available() {
        let tunings = [Tuning::none(), Tuning::with_parts(&left, &right, 8, &decision, kernel)];
        for tuning in tunings.into_iter().chain(Tuning::with_strips(&left, &right, 1, kernel)) {
            let sieve = Sieve::new(&left, &right, &tuning, &decision, kernel);
            let pieces = sieve.pieces(1);
            assert!(pieces.len() >= 6, "{kernel:?}, {}", described(&tuning));
            assert_eq!(pieces.iter().map(Piece::pairs).sum::<usize>(), 530 * 700);
            let expected = hits_of(&sieve, &[sieve.all()]);
            assert!(!expected.is_empty(), "some are found");
            assert_eq!(hits_of(&sieve, &pieces), expected, "{kernel:?}, {}", described(&tuning));
        }
    }
}

#[test]
fn every_kernel_counts_rows_of_ones() {
    for lines in 1..=40 {
        let mut words = Words::with_capacity(2, 64 * lines);
        words.push(&vec![0; 64 * lines]);
        words.push(&vec![u8::MAX; 64 * lines]);
        for kernel in Kernel::available() {
            let mut counts = Vec::new();
            kernel.count(&words, &words, &[(1, 1), (0, 1), (1, 1)], &mut counts);
            assert_eq!(counts, [512 * lines as u32, 0, 512 * lines as u32], "{kernel:?}, {lines} lines");
        }
    }
}

/// Returns true if the kernel can sift with this tuning.
fn suits(tuning: &Tuning, kernel: Kernel) -> bool {
    tuning.components() == 0 || kernel.products().is_some()
}

/// Returns a row in which `bits` bits from bit `start` on are set, as far as there is room.
fn run_of_bits(bytes: usize, start: usize, bits: usize) -> Vec<u8> {
    let mut row = vec![0; bytes];
    for bit in start..(start + bits).min(8 * bytes) {
        row[bit / 8] |= 1 << (bit % 8);
    }
    row
}

/// Returns rows whose pairs score exactly the ratio, and rows that miss it by one bit on either side.
fn rows_on_the_threshold(bytes: usize, (numerator, denominator): (usize, usize)) -> Vec<u8> {
    let mut rows: Vec<Vec<u8>> = vec![run_of_bits(bytes, 0, 0), run_of_bits(bytes, 0, 8 * bytes)];
    // Counts of long encodings are divided.
    let sum_max = if bytes < 512 { (12 * bytes).min(400) } else { 12 * bytes };
    for sum in (denominator..=sum_max).step_by(denominator * (sum_max / denominator / 20).max(1)) {
        let common = sum * numerator / denominator / 2;
        for apart in 0..3 {
            let bits = sum / 2 + apart;
            rows.push(run_of_bits(bytes, 3, bits));
            rows.push(run_of_bits(bytes, 3 + bits - common.min(bits), sum - sum / 2 - apart.min(sum / 2)));
            rows.push(run_of_bits(bytes, 3, common));
        }
    }
    rows.concat()
}

#[test]
fn every_kernel_agrees_exactly_on_the_threshold() {
    let ratios =
        [(13, 20), (3, 4), (19, 20), (4, 5), (9, 10), (7, 10), (17, 20), (2, 3), (1, 3), (1, 2), (1, 1)];
    let short = [8, 64, 128, 256].into_iter().flat_map(|bytes| ratios.map(|ratio| (bytes, ratio)));
    for (bytes, ratio) in short.chain([(512, (4, 5)), (512, (13, 20)), (512, (2, 3))]) {
        let matrix = rows_on_the_threshold(bytes, ratio);
        let all = Rows::all(&matrix, bytes).unwrap();
        let threshold = Threshold::new(ratio.0 as f64 / ratio.1 as f64).unwrap();
        let decision = Decision::new(threshold, bytes);
        let parts = |parts| Tuning::with_parts(&all, &all, parts, &decision, Kernel::best());
        let strips = if bytes <= 64 { Tuning::with_strips(&all, &all, 2, Kernel::best()) } else { None };
        let tunings: Vec<_> =
            [1, 8, 64].map(parts).into_iter().chain(strips).chain([Tuning::none()]).collect();
        // Both orders of the sides are tested, because the longer side gives the lanes.
        for (left, right) in [(all, all.part(0..all.len() / 2)), (all.part(0..all.len() / 2), all)] {
            let expected = dice::by_definition(&left, &right, threshold);
            let on = |hit: &Hit| hit.score.to_bits() == threshold.get().to_bits();
            assert!(expected.iter().any(on), "{bytes} bytes, {ratio:?}: some are on it");
            for kernel in Kernel::available() {
                for tuning in tunings.iter().filter(|tuning| suits(tuning, kernel)) {
                    let found = sifted(&left, &right, tuning, &decision, kernel);
                    assert_eq!(
                        found,
                        expected,
                        "{kernel:?}, {bytes} bytes, {ratio:?}, {}",
                        described(tuning)
                    );
                }
            }
        }
    }
}

#[test]
fn kernels_are_known_by_name_and_portable_runs_everywhere() {
    for kernel in Kernel::available() {
        assert_eq!(Kernel::named(kernel.name()).unwrap().name(), kernel.name());
        assert_eq!(kernel.name().to_string().parse(), Ok(kernel.name()));
    }
    assert!(Kernel::named(KernelName::Portable).is_ok() && "abacus".parse::<KernelName>().is_err());
    let missing = KernelName::ALL.into_iter().find_map(|name| Kernel::named(name).err()).unwrap();
    assert!(missing.to_string().ends_with("portable"), "{missing}");
}

//! Every kernel, sifting in every way, finds what the definition finds.

use proptest::prelude::*;

use super::decision::Decision;
use super::sieve::Sieve;
use super::{Hit, Kernel, Rows, Tuning, dice};
use crate::model::Threshold;

/// Thresholds anywhere, and on ratios that scores of short encodings hit exactly.
fn threshold() -> impl Strategy<Value = Threshold> {
    let ratios = prop::sample::select(vec![0.5, 0.6, 0.65, 2.0 / 3.0, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]);
    prop_oneof![ratios, 0.05..1.0].prop_map(|value| Threshold::new(value).unwrap())
}

/// Two matrices of rows that are alike: mutations of a few patterns, sparse to full.
fn matrices() -> impl Strategy<Value = (usize, Vec<u8>, Vec<u8>)> {
    let sizes = prop::sample::select(vec![1, 7, 8, 16, 24, 64, 72, 128, 200, 256]);
    sizes.prop_flat_map(|bytes| {
        let pattern = (prop::sample::select(vec![0.0, 0.02, 0.3, 0.5, 0.9, 1.0]), any::<u64>());
        let patterns = prop::collection::vec(pattern, 1..4);
        let rows = || (prop::sample::select(vec![0_usize, 1, 3, 40, 130, 257]), any::<u64>());
        (Just(bytes), patterns, rows(), rows()).prop_map(|(bytes, patterns, left, right)| {
            let matrix = |(rows, seed): (usize, u64)| {
                (0..rows).flat_map(|row| mutation(&patterns, bytes, row as u64 ^ seed)).collect()
            };
            (bytes, matrix(left), matrix(right))
        })
    })
}

/// A row of one of the patterns with up to 7 of its bits turned.
fn mutation(patterns: &[(f64, u64)], bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (density, pattern) = patterns[next() as usize % patterns.len()];
    let mut row = vec![0_u8; bytes];
    for bit in 0..8 * bytes {
        let drawn = (pattern ^ bit as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
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
    let mut hits = Vec::new();
    sieve
        .search(0..sieve.shape().0, |hit| {
            hits.push(hit);
            Ok(())
        })
        .unwrap();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.left, a.right).cmp(&(b.left, b.right))));
    hits
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
            let learnt = Tuning::learn(&left, &right, &decision, kernel);
            let forced = Tuning::with_parts(&left, &right, parts, &decision, kernel);
            for tuning in [Tuning::none(), learnt, forced] {
                let found = sifted(&left, &right, &tuning, &decision, kernel);
                prop_assert_eq!(&found, &expected, "{:?} with {} parts", kernel, tuning.parts());
            }
        }
    }
}

/// Rows with `bits` bits from bit `start` on.
fn run_of_bits(bytes: usize, start: usize, bits: usize) -> Vec<u8> {
    let mut row = vec![0; bytes];
    for bit in start..start + bits {
        row[bit / 8] |= 1 << (bit % 8);
    }
    row
}

/// All pairs of popcounts and overlaps whose score is exactly the threshold, and one bit to either side.
#[test]
fn every_kernel_agrees_exactly_on_the_threshold() {
    const BYTES: usize = 128;
    for (threshold, numerator, denominator) in [(0.65, 13, 20), (0.75, 3, 4), (0.95, 19, 20), (0.8, 4, 5)] {
        let mut rows: Vec<Vec<u8>> = vec![run_of_bits(BYTES, 0, 0), run_of_bits(BYTES, 0, 8 * BYTES)];
        for sum in (denominator..=400).step_by(denominator) {
            let common = sum * numerator / denominator / 2;
            for apart in 0..3 {
                let bits = sum / 2 + apart;
                rows.push(run_of_bits(BYTES, 3, bits));
                rows.push(run_of_bits(
                    BYTES,
                    3 + bits - common.min(bits),
                    sum - sum / 2 - apart.min(sum / 2),
                ));
                rows.push(run_of_bits(BYTES, 3, common));
            }
        }
        let matrix = rows.concat();
        let all = Rows::all(&matrix, BYTES).unwrap();
        let threshold = Threshold::new(threshold).unwrap();
        let decision = Decision::new(threshold, BYTES);
        // Both orders of the sides: the longer one gives the lanes.
        for (left, right) in [(all, all.part(0..all.len() / 2)), (all.part(0..all.len() / 2), all)] {
            let expected = dice::by_definition(&left, &right, threshold);
            for kernel in Kernel::available() {
                for parts in [1, 8, 64] {
                    let tuning = Tuning::with_parts(&left, &right, parts, &decision, kernel);
                    assert_eq!(
                        sifted(&left, &right, &tuning, &decision, kernel),
                        expected,
                        "{kernel:?} {parts}"
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
    }
    assert!(Kernel::named("portable").is_some() && Kernel::named("abacus").is_none());
}

//! Inner products with AVX-512 VNNI: one instruction computes 64 products of bytes and adds them in groups of four.

use std::arch::x86_64::{
    __m512i, _mm512_cmpge_epi32_mask, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
};
use std::ops::Range;

use super::products::{GROUP, ProductLanes, ProductRows, Products};
use super::sift::{AT_ONCE, Candidate, write_all};
use super::unpack::{check_multiplied, check_sifted, combine, unpack_rows};
use super::{Bytes, Words};

/// The number of rows whose sums are in registers.
const ROWS: usize = 4;
/// The number of groups of lanes whose sums are in registers.
const GROUPS: usize = 4;

/// Exists only where the processor has AVX-512 F, BW and VNNI, and POPCNT.
pub(super) struct Vnni(());

impl Vnni {
    pub(super) fn detect() -> Option<&'static Self> {
        let detected = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("popcnt");
        detected.then_some(&Self(()))
    }
}

impl Products for Vnni {
    fn sift_products(
        &self,
        rows: ProductRows<'_>,
        needed: &[i32],
        lanes: ProductLanes<'_>,
        survivors: &mut Vec<Candidate>,
    ) {
        check_sifted(rows, needed, lanes);
        // SAFETY: `self` exists, so the features were detected.
        unsafe { sift_products(rows, needed, lanes, survivors) }
    }

    fn multiply(&self, rows: ProductRows<'_>, lanes: ProductLanes<'_>, sums: &mut [i32]) {
        check_multiplied(rows, lanes, sums);
        // SAFETY: `self` exists, so the features were detected.
        unsafe { multiply(rows, lanes, sums) }
    }

    fn unpack_rows(&self, words: &Words, rows: Range<usize>, lines: &mut Vec<Bytes>) {
        // SAFETY: `self` exists, so the features were detected.
        unsafe { unpack_rows_avx512(words, rows, lines) }
    }

    fn combine(&self, factors: [&[f32]; 4], rows: &[[f32; 64]], sums: &mut [[f32; 64]; 4]) {
        // SAFETY: `self` exists, so the features were detected.
        unsafe { combine_avx512(factors, rows, sums) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn combine_avx512(factors: [&[f32]; 4], rows: &[[f32; 64]], sums: &mut [[f32; 64]; 4]) {
    combine(factors, rows, sums);
}

#[target_feature(enable = "avx512f,avx512bw,popcnt")]
fn unpack_rows_avx512(words: &Words, rows: Range<usize>, lines: &mut Vec<Bytes>) {
    unpack_rows(words, rows, lines);
}

/// Returns the sums of `ROWS` rows from `row` on, with 64 lanes from `lane` on, both within the lists.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn sums(
    rows: ProductRows<'_>,
    row: usize,
    lanes: ProductLanes<'_>,
    lane: usize,
) -> [[__m512i; GROUPS]; ROWS] {
    let steps = rows.steps;
    let row_group = &rows.lines[row / GROUP * steps * GROUP..][..steps * GROUP];
    let starts = &lanes.starts[lane..lane + GROUPS * GROUP];
    let lane_groups: [&[Bytes]; GROUPS] =
        std::array::from_fn(|g| &lanes.lines[(lane / GROUP + g) * steps * GROUP..][..steps * GROUP]);
    let mut sums = [[_mm512_setzero_si512(); GROUPS]; ROWS];
    for g in 0..GROUPS {
        // SAFETY: the slice has the sixteen values that are read.
        let start = unsafe { _mm512_loadu_si512(starts[g * GROUP..][..GROUP].as_ptr().cast()) };
        for r in 0..ROWS {
            sums[r][g] = start;
        }
    }
    for step in 0..steps {
        let step_rows: [&Bytes; ROWS] = std::array::from_fn(|r| &row_group[step * GROUP + row % GROUP + r]);
        for four in 0..16 {
            let mut lane_bytes = [_mm512_setzero_si512(); GROUPS];
            for g in 0..GROUPS {
                // SAFETY: a line is 64 bytes, aligned to 64.
                lane_bytes[g] =
                    unsafe { _mm512_load_si512(lane_groups[g][step * GROUP + four].0.as_ptr().cast()) };
            }
            for r in 0..ROWS {
                let row_bytes = _mm512_set1_epi32(i32::from_le_bytes(step_rows[r].0.as_chunks().0[four]));
                for g in 0..GROUPS {
                    sums[r][g] = _mm512_dpbusd_epi32(sums[r][g], lane_bytes[g], row_bytes);
                }
            }
        }
    }
    sums
}

#[target_feature(enable = "avx512f,avx512vnni,popcnt")]
fn sift_products(
    rows: ProductRows<'_>,
    needed: &[i32],
    lanes: ProductLanes<'_>,
    survivors: &mut Vec<Candidate>,
) {
    for lane in (0..lanes.starts.len()).step_by(GROUPS * GROUP) {
        for (at, needed) in needed.as_chunks::<ROWS>().0.iter().enumerate() {
            let sums = sums(rows, at * ROWS, lanes, lane);
            survivors.reserve(ROWS * 64 + AT_ONCE);
            for r in 0..ROWS {
                let bound = _mm512_set1_epi32(needed[r]);
                let mut kept = 0;
                for g in 0..GROUPS {
                    kept |= u64::from(_mm512_cmpge_epi32_mask(sums[r][g], bound)) << (16 * g);
                }
                let row = rows.first + (at * ROWS + r) as u32;
                // SAFETY: room for all lanes of all rows, and AT_ONCE more, was reserved.
                unsafe {
                    let end = survivors.as_mut_ptr().add(survivors.len());
                    let end = write_all(kept, row, lanes.first + lane as u32, end);
                    survivors.set_len(end.offset_from_unsigned(survivors.as_ptr()));
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply(rows: ProductRows<'_>, lanes: ProductLanes<'_>, all: &mut [i32]) {
    let width = lanes.starts.len();
    for row in (0..rows.lines.len() / rows.steps).step_by(ROWS) {
        for lane in (0..width).step_by(GROUPS * GROUP) {
            let sums = sums(rows, row, lanes, lane);
            for r in 0..ROWS {
                for g in 0..GROUPS {
                    let to = &mut all[(row + r) * width + lane + g * GROUP..][..GROUP];
                    // SAFETY: sixteen sums are written.
                    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), sums[r][g]) };
                }
            }
        }
    }
}

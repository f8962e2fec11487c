//! Converts bits into bytes for the kernels with byte products (x86-64), and has other functions that these share.

use std::ops::Range;

use super::lines::{Bytes, Line, Words};
use super::products::{GROUP, PRODUCT_LANES, PRODUCT_ROWS, ProductLanes, ProductRows};

/// Panics if the lengths of the lists do not match; the unsafe code of sifting relies on this check.
pub(super) fn check_sifted(rows: ProductRows<'_>, needed: &[i32], lanes: ProductLanes<'_>) {
    check(rows, lanes);
    assert_eq!(needed.len() * rows.steps, rows.lines.len(), "a sum for each row");
}

/// Panics if the lengths of the lists do not match; the unsafe code of multiplication relies on this check.
pub(super) fn check_multiplied(rows: ProductRows<'_>, lanes: ProductLanes<'_>, sums: &[i32]) {
    check(rows, lanes);
    assert_eq!(sums.len(), rows.lines.len() / rows.steps * lanes.starts.len(), "a sum for each pair");
}

fn check(rows: ProductRows<'_>, lanes: ProductLanes<'_>) {
    let row_count = rows.lines.len() / rows.steps;
    assert!(rows.steps > 0 && rows.lines.len() == row_count * rows.steps, "whole rows");
    assert!(row_count.is_multiple_of(PRODUCT_ROWS), "whole bundles of rows");
    assert!(lanes.starts.len().is_multiple_of(PRODUCT_LANES), "whole bundles of lanes");
    assert_eq!(lanes.lines.len(), lanes.starts.len() * rows.steps, "as many steps on both sides");
}

/// A mask of every eighth bit: these bits are unpacked together, one to a byte.
const EIGHTH: u32 = 0x0101_0101;

#[inline(always)]
pub(super) fn unpack_rows(words: &Words, rows: Range<usize>, lines: &mut Vec<Bytes>) {
    let steps = 8 * words.lines_per_row();
    lines.clear();
    lines.resize(rows.len().next_multiple_of(PRODUCT_ROWS) * steps, Bytes([0; 64]));
    for (at, row) in rows.enumerate() {
        let start = at / GROUP * steps * GROUP + at % GROUP;
        for (l, line) in words.row(row as u32).iter().enumerate() {
            for w in 0..8 {
                let to = &mut lines[start + (8 * l + w) * GROUP];
                let halves = [line.0[w] as u32, (line.0[w] >> 32) as u32];
                let bytes = to.0.as_chunks_mut::<4>().0;
                for four in 0..16 {
                    bytes[four] = ((halves[four % 2] >> (four / 2)) & EIGHTH).to_le_bytes();
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn unpack_lanes(lines: &[Bytes], lanes: &mut Vec<Bytes>) {
    // Each word of 32 bits has four lines, for 64 lanes. Each line becomes eight.
    let words = lines.len() / 4;
    lanes.resize(8 * lines.len(), Bytes([0; 64]));
    for word in 0..words {
        for group in 0..4 {
            let from = Line::of(&lines[4 * word + group].0);
            for r in 0..8 {
                let to = &mut lanes[(group * words + word / 2 * 2) * 8 + 2 * r + word % 2];
                let bytes = to.0.as_chunks_mut::<8>().0;
                for w in 0..8 {
                    bytes[w] = ((from.0[w] >> r) & 0x0101_0101_0101_0101).to_le_bytes();
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn combine(factors: [&[f32]; 4], rows: &[[f32; 64]], sums: &mut [[f32; 64]; 4]) {
    let factors: [&[f32]; 4] = [
        &factors[0][..rows.len()],
        &factors[1][..rows.len()],
        &factors[2][..rows.len()],
        &factors[3][..rows.len()],
    ];
    let mut these = *sums;
    for at in 0..rows.len() {
        for sum in 0..4 {
            let factor = factors[sum][at];
            for of in 0..64 {
                these[sum][of] += factor * rows[at][of];
            }
        }
    }
    *sums = these;
}

#[cfg(test)]
mod tests {
    use super::super::products::{bit_of, lane_place, row_place};
    use super::*;

    #[test]
    fn unpacked_rows_and_lanes_hold_the_same_bits_at_the_same_bytes() {
        let bytes: Vec<u8> = (0..64 * 128_usize).map(|at| (at * at % 251) as u8).collect();
        let mut words = Words::with_capacity(64, 128);
        for row in bytes.chunks_exact(128) {
            words.push(row);
        }
        let mut transposed = vec![Bytes([0; 64]); 32 * 4];
        for (lane, row) in bytes.chunks_exact(128).enumerate() {
            for (word, four) in row.chunks_exact(4).enumerate() {
                transposed[4 * word + lane / 16].0[lane % 16 * 4..][..4].copy_from_slice(four);
            }
        }
        let (mut rows, mut lanes) = (Vec::new(), Vec::new());
        unpack_rows(&words, 0..64, &mut rows);
        unpack_lanes(&transposed, &mut lanes);
        for of in 0..64 {
            for at in 0..1024 {
                let bit = bytes[of * 128 + bit_of(at) / 8] >> (bit_of(at) % 8) & 1;
                let places = [(row_place(of, at, 16), &rows), (lane_place(of, at, 16), &lanes)];
                for ((line, byte), lines) in places {
                    assert_eq!(lines[line].0[byte], bit, "row {of}, byte {at}");
                }
            }
        }
    }
}

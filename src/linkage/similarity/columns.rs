//! The columns of a sample of encodings (a column is one bit of every encoding), and their covariances.

use super::kernel::{Kernel, Words};

/// The maximum number of columns whose covariances are computed. Of longer encodings, the columns with the largest
/// variance are used.
const COLUMNS_MAX: usize = 1024;

/// The columns of a sample that vary, by descending variance.
#[derive(Debug)]
pub(super) struct Columns {
    /// The index of each column's bit in the encoding.
    pub(super) bits: Vec<u32>,
    /// Columns whose covariances are not computed.
    pub(super) others: Vec<u32>,
    /// The covariances, row by row.
    covariances: Vec<f32>,
}

impl Columns {
    pub(super) fn of(sample: &[&[u8]], kernel: Kernel) -> Self {
        let columns = transpose(sample);
        let rows = sample.len() as f32;
        let (mut counts, all) = (Vec::new(), 0..columns.rows() as u32);
        let selves: Vec<_> = all.map(|column| (column, column)).collect();
        kernel.count(&columns, &columns, &selves, &mut counts);
        let densities: Vec<f32> = counts.iter().map(|count| *count as f32 / rows).collect();
        let variance = |column: u32| densities[column as usize] * (1.0 - densities[column as usize]);
        let mut bits: Vec<u32> =
            (0..densities.len() as u32).filter(|column| variance(*column) > 0.0).collect();
        bits.sort_by(|a, b| variance(*b).total_cmp(&variance(*a)).then(a.cmp(b)));
        let others = bits.split_off(bits.len().min(COLUMNS_MAX));

        let mut covariances = vec![0.0; bits.len() * bits.len()];
        for (at, bit) in bits.iter().enumerate() {
            let pairs: Vec<_> = bits[..=at].iter().map(|other| (*bit, *other)).collect();
            kernel.count(&columns, &columns, &pairs, &mut counts);
            for (to, ((_, other), both)) in pairs.iter().zip(&counts).enumerate() {
                let independent = densities[*bit as usize] * densities[*other as usize];
                let covariance = *both as f32 / rows - independent;
                covariances[at * bits.len() + to] = covariance;
            }
        }
        mirror(&mut covariances, bits.len());
        Self { bits, others, covariances }
    }

    /// Returns the covariances of a column with every column.
    pub(super) fn covariances(&self, column: usize) -> &[f32] {
        &self.covariances[column * self.bits.len()..(column + 1) * self.bits.len()]
    }
}

/// Makes a square matrix symmetric: copies the elements below the diagonal to those above it, tile by tile.
fn mirror(square: &mut [f32], width: usize) {
    const TILE: usize = 32;
    for top in (0..width).step_by(TILE) {
        for left in (0..=top).step_by(TILE) {
            for row in top..width.min(top + TILE) {
                for column in left..row.min(left + TILE) {
                    square[column * width + row] = square[row * width + column];
                }
            }
        }
    }
}

/// Returns a row for each bit of an encoding, with a bit for each row of the sample.
fn transpose(sample: &[&[u8]]) -> Words {
    let encoding_bytes = sample.first().map_or(0, |row| row.len());
    let row_bytes = sample.len().div_ceil(8);
    let mut columns = Words::with_capacity(8 * encoding_bytes, row_bytes);
    let mut column = vec![0; row_bytes];
    for bit in 0..8 * encoding_bytes {
        column.fill(0);
        for (at, row) in sample.iter().enumerate() {
            column[at / 8] |= (row[bit / 8] >> (bit % 8) & 1) << (at % 8);
        }
        columns.push(&column);
    }
    columns
}

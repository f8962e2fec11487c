//! The linear algebra for learning a projection, in strips of 64 vectors.

use rayon::prelude::*;

use super::columns::Columns;
use super::kernel::Kernel;

/// The number of vectors in a strip.
pub(super) const STRIP: usize = 64;
/// The number of rows that a thread computes at a time.
const ROWS_AT_ONCE: usize = 64;

/// The covariances of the columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    columns: &'a Columns,
    kernel: Kernel,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(columns: &'a Columns, kernel: Kernel) -> Self {
        Self { columns, kernel }
    }

    pub(super) fn times(&self, strip: &Strip) -> Strip {
        let mut result = Strip(vec![[0.0; STRIP]; strip.0.len()]);
        result.0.par_chunks_mut(ROWS_AT_ONCE).enumerate().for_each(|(chunk, sums)| {
            let row = |at| self.columns.covariances(chunk * ROWS_AT_ONCE + at);
            let factors: Vec<&[f32]> = (0..sums.len()).map(row).collect();
            self.kernel.combine(&factors, &strip.0, sums);
        });
        result
    }
}

/// 64 vectors, side by side.
#[derive(Clone, Debug)]
pub(super) struct Strip(Vec<[f32; STRIP]>);

impl Strip {
    /// Returns pseudo-random vectors; the same for the same seed.
    pub(super) fn random(length: usize, seed: u64) -> Self {
        let value = |at: usize| {
            let mixed = (at as u64 + (seed << 32) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 40) as f32 / f32::from(1_u16 << 15) / 256.0 - 1.0
        };
        Self((0..length).map(|row| std::array::from_fn(|of| value(row * STRIP + of))).collect())
    }

    pub(super) fn at(&self, row: usize) -> &[f32; STRIP] {
        &self.0[row]
    }

    /// Returns the largest absolute value.
    pub(super) fn largest(&self) -> f32 {
        self.0.as_flattened().iter().map(|value| value.abs()).fold(0.0, f32::max)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.largest() == 0.0
    }

    /// Returns the inner products of the vectors with the vectors of `other`.
    fn products(&self, other: &Self, kernel: Kernel) -> Vec<[f32; STRIP]> {
        let columns: Vec<Vec<f32>> =
            (0..STRIP).map(|of| self.0.iter().map(|row| row[of]).collect()).collect();
        let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
        let mut sums = vec![[0.0; STRIP]; STRIP];
        kernel.combine(&columns, &other.0, &mut sums);
        sums
    }

    /// Removes the part of each vector that lies in the directions of `other`, which are orthonormal.
    pub(super) fn remove(&mut self, other: &Self, kernel: Kernel) {
        let mut parts = other.products(self, kernel);
        for part in parts.as_flattened_mut() {
            *part = -*part;
        }
        let factors: Vec<&[f32]> = other.0.iter().map(<[f32; STRIP]>::as_slice).collect();
        kernel.combine(&factors, &parts, &mut self.0);
    }

    /// Makes the vectors orthonormal. A vector that depends on earlier vectors becomes zero.
    pub(super) fn orthonormalize(&mut self, kernel: Kernel) {
        // The method is the Cholesky decomposition of the inner products, inverted.
        let products = self.products(self, kernel);
        let mut factor = vec![[0.0_f64; STRIP]; STRIP];
        for column in 0..STRIP {
            for row in 0..=column {
                let known: f64 = (0..row).map(|at| factor[at][row] * factor[at][column]).sum();
                let rest = f64::from(products[row][column]) - known;
                factor[row][column] = if row < column {
                    if factor[row][row] > 0.0 { rest / factor[row][row] } else { 0.0 }
                } else if rest > 1e-5 * f64::from(products[row][row]) && rest > 1e-20 {
                    rest.sqrt()
                } else {
                    0.0
                };
            }
        }
        let mut inverse = vec![[0.0_f64; STRIP]; STRIP];
        for column in 0..STRIP {
            if factor[column][column] == 0.0 {
                continue;
            }
            inverse[column][column] = 1.0 / factor[column][column];
            for row in (0..column).rev() {
                if factor[row][row] > 0.0 {
                    let sum: f64 = (row + 1..=column).map(|at| factor[row][at] * inverse[at][column]).sum();
                    inverse[row][column] = -sum / factor[row][row];
                }
            }
        }
        let inverse: Vec<_> = inverse.iter().map(|row| row.map(|value| value as f32)).collect();
        let factors: Vec<&[f32]> = self.0.iter().map(<[f32; STRIP]>::as_slice).collect();
        let mut result = vec![[0.0; STRIP]; self.0.len()];
        kernel.combine(&factors, &inverse, &mut result);
        self.0 = result;
    }
}

/// Returns the square of a symmetric matrix of `width` rows, a multiple of 64.
pub(super) fn square(matrix: &[f32], width: usize, kernel: Kernel) -> Vec<f32> {
    let rows: Vec<&[f32]> = matrix.chunks_exact(width).collect();
    let mut result = vec![0.0; width * width];
    for strip in (0..width).step_by(STRIP) {
        let part = |row: &&[f32]| std::array::from_fn(|of| row[strip + of]);
        let columns: Vec<[f32; STRIP]> = rows.iter().map(part).collect();
        let mut sums = vec![[0.0; STRIP]; width];
        kernel.combine(&rows, &columns, &mut sums);
        for (to, sums) in result.chunks_exact_mut(width).zip(&sums) {
            to[strip..strip + STRIP].copy_from_slice(sums);
        }
    }
    result
}

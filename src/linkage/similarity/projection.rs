//! Projections of encodings, learnt from a sample: the distance of two projections bounds the common bits of the
//! records.
//!
//! Two records with `a` and `b` bits, `c` of them in common, have the squared distance `a + b - 2c`. A projection
//! does not lengthen a distance, apart from a known factor, so records whose projections are far apart have few bits
//! in common. The projections of a candidate pair must be near each other. The projection on the first principal
//! components keeps most of the distances. Its weights, and the projections, are rounded to bytes, so that distances
//! follow from inner products of bytes. The bound includes the distance by which rounding moves a projection, and
//! clipping only shortens distances, so no pair is lost.
//!
//! Sources: Pearson (1901), doi:10.1080/14786440109462720; for the iteration by blocks Halko, Martinsson & Tropp
//! (2011), doi:10.1137/090771806.

use super::columns::Columns;
use super::decision::Decision;
use super::kernel::{
    Bytes, Kernel, PRODUCT_LANES, PRODUCT_ROWS, ProductLanes, ProductRows, Products, Words, bit_of,
    lane_place, row_place,
};
use super::matrix::{Matrix, STRIP, Strip};

/// The number of multiplications by the covariance matrix for each strip of components.
const ITERATIONS: usize = 2;
/// The largest absolute value of a weight, and of a byte of a projection.
const BYTE_MAX: f32 = 127.0;
/// The share of bytes that are clipped.
const CLIPPED_SHARE: f64 = 0.000_5;
/// Adding this number to a small f32 rounds the f32 to a whole number; subtracting it again is exact.
const ROUND: f32 = 12_582_912.0;
/// The number of rows of the sample that determine center and scale.
const CENTER_ROWS: usize = 1024;
/// The number of rows that are projected together.
const ROWS_AT_ONCE: usize = 256;

/// Components under construction, 64 in each strip, by descending variance.
#[derive(Debug)]
pub(super) struct Components<'a> {
    columns: &'a Columns,
    kernel: Kernel,
    strips: Vec<Strip>,
}

impl<'a> Components<'a> {
    pub(super) fn new(columns: &'a Columns, kernel: Kernel) -> Self {
        Self { columns, kernel, strips: Vec::new() }
    }

    pub(super) fn strips(&self) -> usize {
        self.strips.len()
    }

    /// Adds the next strip. Returns false if no variance is left.
    pub(super) fn grow(&mut self) -> bool {
        let matrix = Matrix::new(self.columns, self.kernel);
        let mut strip = Strip::random(self.columns.bits.len(), self.strips.len() as u64);
        for _ in 0..ITERATIONS {
            strip = matrix.times(&strip);
            // Done twice: where little variance is left, the rounding errors of the first pass are large.
            for _ in 0..2 {
                for earlier in &self.strips {
                    strip.remove(earlier, self.kernel);
                }
                strip.orthonormalize(self.kernel);
            }
        }
        let varies = !strip.is_zero();
        if varies {
            self.strips.push(strip);
        }
        varies
    }
}

/// A projection of encodings.
#[derive(Clone, Debug)]
pub(super) struct Projection {
    /// The weights as lanes: each byte is a weight plus 128.
    weights: Vec<Bytes>,
    /// A zero for each component.
    zeros: Vec<i32>,
    /// The values that are subtracted from the sums of weights, so that projections are near zero.
    centers: Vec<f32>,
    /// The factor that is applied after the centers are subtracted.
    scale: f32,
    /// An upper bound of the factor by which a projection lengthens a distance.
    stretch: f64,
}

/// The projection of some rows.
#[derive(Debug, Default)]
pub(super) struct Projected {
    /// A byte for each component of each row.
    pub(super) bytes: Vec<i8>,
    /// An upper bound of the distance by which rounding moved each row.
    pub(super) errors: Vec<f32>,
}

impl Projection {
    /// Returns the projection on all strips so far. `words` are rows of the sample.
    pub(super) fn new(components: &Components<'_>, words: &Words) -> Self {
        let (columns, strips) = (components.columns, &components.strips);
        let dims = strips.len() * STRIP;
        let steps = 8 * words.lines_per_row();
        let largest = strips.iter().map(Strip::largest).fold(0.0, f32::max);
        let factor = BYTE_MAX / largest.max(f32::MIN_POSITIVE);
        let mut column_of = vec![None; 64 * steps];
        for (column, bit) in columns.bits.iter().enumerate() {
            column_of[*bit as usize] = Some(column);
        }
        let mut weights = vec![Bytes([128; 64]); dims * steps];
        // The weights are also stored as rows: `stretch` needs the inner products of rows and lanes.
        let mut rows = vec![Bytes([0; 64]); dims * steps];
        for at in 0..64 * steps {
            let Some(column) = column_of[bit_of(at)] else { continue };
            for dim in 0..dims {
                let weight = strips[dim / STRIP].at(column)[dim % STRIP] * factor;
                let weight = ((weight + ROUND) - ROUND).clamp(-BYTE_MAX, BYTE_MAX) as i8;
                let ((lane_line, lane_byte), (row_line, row_byte)) =
                    (lane_place(dim, at, steps), row_place(dim, at, steps));
                weights[lane_line].0[lane_byte] = weight.cast_unsigned() ^ 0x80;
                rows[row_line].0[row_byte] = weight.cast_unsigned();
            }
        }
        let zeros = vec![0; dims];
        let products = components.kernel.products().expect("only kernels with products learn projections");
        let stretch = {
            let lanes = ProductLanes { first: 0, lines: &weights, starts: &zeros };
            stretch(&rows, steps, lanes, products, components.kernel)
        };
        let mut projection = Self { weights, zeros, centers: vec![0.0; dims], scale: 1.0, stretch };
        projection.center(words, products);
        projection
    }

    /// Determines centers and scale from rows of the sample.
    fn center(&mut self, words: &Words, products: &dyn Products) {
        let dims = self.dims();
        let every = words.rows().div_ceil(CENTER_ROWS).max(1);
        let mut few = Words::with_capacity(CENTER_ROWS, 64 * words.lines_per_row());
        for row in (0..words.rows()).step_by(every) {
            few.push_lines(words.row(row as u32));
        }
        let rows = few.rows();
        let mut all = Vec::with_capacity(rows * dims);
        self.each_sum(&few, products, |sums| all.extend_from_slice(sums));
        let mut means = vec![0.0_f64; dims];
        for sums in all.chunks_exact(dims) {
            for (mean, sum) in means.iter_mut().zip(sums) {
                *mean += f64::from(*sum);
            }
        }
        // Rounded to whole numbers, so that subtracting them is exact.
        self.centers = means.iter().map(|sum| (sum / rows.max(1) as f64).round() as f32).collect();
        let mut sizes: Vec<f32> = all
            .chunks_exact(dims)
            .flat_map(|sums| sums.iter().zip(&self.centers).map(|(sum, center)| (sum - center).abs()))
            .collect();
        let clipped = (sizes.len() as f64 * CLIPPED_SHARE) as usize;
        let largest = if sizes.is_empty() {
            1.0
        } else {
            let at = sizes.len() - 1 - clipped;
            *sizes.select_nth_unstable_by(at, f32::total_cmp).1
        };
        self.scale = BYTE_MAX / largest.max(1.0);
        self.stretch *= f64::from(self.scale);
    }

    /// Returns the number of components; a multiple of 64.
    pub(super) fn dims(&self) -> usize {
        self.zeros.len()
    }

    /// Returns the number of steps.
    pub(super) fn steps(&self) -> usize {
        self.dims() / 64
    }

    /// Calls `take` with the sums of the weights of each row's bits, less the centers.
    fn each_sum(&self, words: &Words, products: &dyn Products, mut take: impl FnMut(&[f32])) {
        let dims = self.dims();
        let lanes = ProductLanes { first: 0, lines: &self.weights, starts: &self.zeros };
        let steps = 8 * words.lines_per_row();
        let (mut lines, mut sums, mut row_sums) = (Vec::new(), Vec::new(), vec![0.0; dims]);
        for first in (0..words.rows()).step_by(ROWS_AT_ONCE) {
            let rows = first..words.rows().min(first + ROWS_AT_ONCE);
            products.unpack_rows(words, rows.clone(), &mut lines);
            sums.resize(rows.len().next_multiple_of(PRODUCT_ROWS) * dims, 0);
            products.multiply(ProductRows { first: 0, lines: &lines, steps }, lanes, &mut sums);
            for (row, sums) in rows.zip(sums.chunks_exact(dims)) {
                let bits: u32 =
                    words.row(row as u32).iter().flat_map(|line| line.0).map(u64::count_ones).sum();
                // Each set bit has added 128 to its weight.
                let added = 128 * bits.cast_signed();
                for ((to, sum), center) in row_sums.iter_mut().zip(sums).zip(&self.centers) {
                    *to = (sum - added) as f32 - center;
                }
                take(&row_sums);
            }
        }
    }

    /// Returns the projections of all rows.
    pub(super) fn project(&self, words: &Words, kernel: Kernel) -> Projected {
        // Exceeds the rounding errors of this arithmetic.
        const SLACK: f32 = 0.01;
        let products = kernel.products().expect("learnt with products");
        let mut projected = Projected {
            bytes: Vec::with_capacity(words.rows() * self.dims()),
            errors: Vec::with_capacity(words.rows()),
        };
        self.each_sum(words, products, |sums| {
            let mut error = [0.0_f32; 16];
            for sums in sums.as_chunks::<16>().0 {
                let exact: [f32; 16] =
                    std::array::from_fn(|n| (sums[n] * self.scale).clamp(-BYTE_MAX, BYTE_MAX));
                let rounded = exact.map(|exact| (exact + ROUND) - ROUND);
                for n in 0..16 {
                    error[n] += (rounded[n] - exact[n]) * (rounded[n] - exact[n]);
                }
                projected.bytes.extend(rounded.map(|rounded| rounded as i8));
            }
            projected.errors.push(error.iter().sum::<f32>().sqrt() * 1.000_1 + SLACK);
        });
        projected
    }

    /// Returns half the largest squared distance of the projections of two candidates whose popcounts add up to at
    /// most `bits`. Rounding has moved the two projections by at most `error` in total.
    pub(super) fn half_distance_max(&self, bits: u32, error: f32, decision: &Decision) -> i32 {
        let distance = self.stretch * f64::from(decision.distance_max(bits)).sqrt() + f64::from(error);
        // The limit keeps sums from overflowing.
        (distance * distance / 2.0 * 1.000_001 + 1.0).ceil().min(f64::from(1 << 29)) as i32
    }
}

/// Returns an upper bound of the factor by which the weights, a row for each component, lengthen a distance: the root
/// of the largest eigenvalue of their inner products.
fn stretch(
    rows: &[Bytes],
    steps: usize,
    lanes: ProductLanes<'_>,
    products: &dyn Products,
    kernel: Kernel,
) -> f64 {
    let dims = lanes.starts.len();
    let mut sums = vec![0; dims * dims];
    products.multiply(ProductRows { first: 0, lines: rows, steps }, lanes, &mut sums);
    for (dim, sums) in sums.chunks_exact_mut(dims).enumerate() {
        // Each weight of a lane is stored with 128 added.
        let mut total = 0;
        for at in 0..64 * steps {
            let (line, byte) = row_place(dim, at, steps);
            total += i32::from(rows[line].0[byte].cast_signed());
        }
        for sum in sums {
            *sum -= 128 * total;
        }
    }
    let mean = (0..dims).map(|dim| f64::from(sums[dim * dims + dim])).sum::<f64>() / dims as f64;
    let mut others: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
    for dim in 0..dims {
        others[dim * dims + dim] = (f64::from(sums[dim * dims + dim]) - mean) as f32;
    }
    // The largest eigenvalue is at most the Frobenius norm. The bound is tighter for the fourth power of the matrix,
    // whose eigenvalues are the fourth powers.
    let fourth = super::matrix::square(&super::matrix::square(&others, dims, kernel), dims, kernel);
    let norm = fourth.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    // The margin of 1 % exceeds the rounding error of these sums.
    let largest = mean + norm.sqrt().sqrt() * 1.01 + 1e-3 * mean;
    largest.sqrt()
}

const _: () = assert!(STRIP.is_multiple_of(PRODUCT_LANES), "strips fill bundles of lanes");

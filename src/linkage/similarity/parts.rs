//! Columns grouped into parts, so that the sum of the parts' standard deviations is large.

use super::columns::Columns;
use super::kernel::Words;

/// The number of rounds; in each, every column may change its part.
const ROUNDS: usize = 3;
/// The maximum number of columns in a part: their count must fit into a byte.
const PART_COLUMNS_MAX: usize = 255;

/// The columns, grouped into parts.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    columns: &'a Columns,
    /// The part of each column.
    part_of: Vec<usize>,
    /// The covariance of each part with each column, part by part.
    with_part: Vec<f32>,
    variances: Vec<f32>,
}

impl<'a> Parts<'a> {
    /// Returns `count` parts of columns that vary together.
    pub(super) fn spread(columns: &'a Columns, count: usize) -> Self {
        let mut parts = Self::in_turn(columns, count);
        for _ in 0..ROUNDS {
            for column in 0..parts.part_of.len() {
                let best = parts.best_part(column);
                if best != parts.part_of[column] {
                    parts.move_to(column, best);
                }
            }
        }
        parts
    }

    fn in_turn(columns: &'a Columns, count: usize) -> Self {
        let width = columns.bits.len();
        let part_of: Vec<usize> = (0..width).map(|column| column % count).collect();
        let mut with_part = vec![0.0; width * count];
        for (column, part) in part_of.iter().enumerate() {
            add(&mut with_part[part * width..(part + 1) * width], columns.covariances(column), 1.0);
        }
        let mut variances = vec![0.0; count];
        for (column, part) in part_of.iter().enumerate() {
            variances[*part] += with_part[part * width + column];
        }
        Self { columns, part_of, with_part, variances }
    }

    /// Returns the part whose standard deviation the column raises most.
    fn best_part(&self, column: usize) -> usize {
        let (width, home) = (self.part_of.len(), self.part_of[column]);
        let own = self.columns.covariances(column)[column];
        let gain = |(part, variance): (usize, &f32)| {
            let change = 2.0 * self.with_part[part * width + column];
            let (without, with) = if part == home {
                (variance - change + own, *variance)
            } else {
                (*variance, variance + change + own)
            };
            (with.max(0.0).sqrt() - without.max(0.0).sqrt(), part)
        };
        let stay = gain((home, &self.variances[home]));
        let gains = self.variances.iter().enumerate().map(gain);
        gains.fold(stay, |best, next| if next.0 > best.0 { next } else { best }).1
    }

    fn move_to(&mut self, column: usize, part: usize) {
        let width = self.part_of.len();
        let covariances = self.columns.covariances(column);
        let home = std::mem::replace(&mut self.part_of[column], part);
        self.variances[home] += covariances[column] - 2.0 * self.with_part[home * width + column];
        self.variances[part] += covariances[column] + 2.0 * self.with_part[part * width + column];
        add(&mut self.with_part[home * width..(home + 1) * width], covariances, -1.0);
        add(&mut self.with_part[part * width..(part + 1) * width], covariances, 1.0);
    }

    /// Returns a row of bits for each part: its columns. Columns without covariances are distributed evenly. A part
    /// that would be too large leaves columns out.
    pub(super) fn masks(&self, encoding_bytes: usize) -> Words {
        let count = self.variances.len();
        let mut masks = Words::with_capacity(count, encoding_bytes);
        for part in 0..count {
            let own = self.columns.bits.iter().zip(&self.part_of).filter(|(_, of)| **of == part);
            let others = self.columns.others.iter().skip(part).step_by(count);
            let mut mask = vec![0; encoding_bytes];
            for bit in own.map(|(bit, _)| bit).chain(others).take(PART_COLUMNS_MAX) {
                mask[*bit as usize / 8] |= 1 << (bit % 8);
            }
            masks.push(&mask);
        }
        masks
    }
}

fn add(sums: &mut [f32], terms: &[f32], sign: f32) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += sign * term;
    }
}

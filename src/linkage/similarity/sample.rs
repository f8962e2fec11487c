//! A sample of both sides, from which a tuning is learnt.

use super::kernel::Words;
use super::rows::Rows;

/// Encodings of both sides, evenly spread over their matrices, by ascending popcount.
pub(super) struct Sample {
    sides: [Vec<u8>; 2],
    pub(super) encoding_bytes: usize,
}

impl Sample {
    /// Takes up to `rows` encodings of either side.
    pub(super) fn of(left: &Rows<'_>, right: &Rows<'_>, rows: usize) -> Self {
        let sides = [left, right].map(|side| sorted(&side.sample(rows), side.encoding_bytes()));
        Self { sides, encoding_bytes: left.encoding_bytes() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sides.iter().any(Vec::is_empty)
    }

    pub(super) fn rows(&self) -> Vec<&[u8]> {
        self.sides.iter().flat_map(|side| side.chunks_exact(self.encoding_bytes)).collect()
    }

    /// Returns the rows of both sides in the form that kernels read.
    pub(super) fn words(&self) -> Words {
        let rows = self.rows();
        let mut words = Words::with_capacity(rows.len(), self.encoding_bytes);
        for row in rows {
            words.push(row);
        }
        words
    }

    /// Moves every `nth` row of either side to a new sample.
    pub(super) fn split_off(&mut self, nth: usize) -> Self {
        let mut others = [Vec::new(), Vec::new()];
        for (side, other) in self.sides.iter_mut().zip(&mut others) {
            let mut kept = Vec::with_capacity(side.len());
            for (at, row) in side.chunks_exact(self.encoding_bytes).enumerate() {
                if at % nth == nth - 1 { &mut *other } else { &mut kept }.extend_from_slice(row);
            }
            *side = kept;
        }
        Self { sides: others, encoding_bytes: self.encoding_bytes }
    }

    /// Returns both sides of the sample.
    pub(super) fn sides(&self) -> [Rows<'_>; 2] {
        let side = |side| Rows::all(side, self.encoding_bytes).expect("a sample consists of whole rows");
        [side(&self.sides[0]), side(&self.sides[1])]
    }
}

/// Returns the encodings by ascending number of bits.
fn sorted(encodings: &[u8], encoding_bytes: usize) -> Vec<u8> {
    let mut rows: Vec<&[u8]> = encodings.chunks_exact(encoding_bytes).collect();
    rows.sort_by_cached_key(|row| row.iter().map(|byte| byte.count_ones()).sum::<u32>());
    rows.concat()
}

//! XOR folding of filters.

/// Folds filters, unless the schema turns folding off.
pub(super) struct Folding {
    bits: usize,
    is_folded: bool,
    folded: Vec<u64>,
}

impl Folding {
    /// Folds filters to `bits` bits. If `is_folded` is false, filters stay as they are.
    pub(super) fn new(bits: usize, is_folded: bool) -> Self {
        Self { bits, is_folded, folded: vec![0; bits.div_ceil(64)] }
    }

    /// Returns the folded filter.
    pub(super) fn apply<'a>(&'a mut self, filter: &'a mut [u64]) -> &'a mut [u64] {
        if self.is_folded {
            self.fold(filter);
            &mut self.folded
        } else {
            filter
        }
    }

    /// Splits the filter into parts of `bits` bits and combines them with XOR.
    fn fold(&mut self, filter: &[u64]) {
        self.folded.fill(0);
        if self.bits.is_multiple_of(64) {
            for part in filter.chunks_exact(self.folded.len()) {
                self.folded.iter_mut().zip(part).for_each(|(word, part)| *word ^= part);
            }
            return;
        }
        let is_set = |bit: &usize| filter[bit / 64] >> (63 - bit % 64) & 1 == 1;
        for bit in (0..filter.len() * 64).filter(is_set) {
            let bit = bit % self.bits;
            self.folded[bit / 64] ^= 1 << (63 - bit % 64);
        }
    }
}

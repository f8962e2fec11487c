//! XOR folding of filters.

/// Folds filters.
pub(super) struct Folding {
    bits: usize,
    is_folded: bool,
    folded: Vec<u64>,
}

impl Folding {
    /// Folds filters to this many bits, if they are folded.
    pub(super) fn new(bits: usize, is_folded: bool) -> Self {
        Self { bits, is_folded, folded: vec![0; bits.div_ceil(64)] }
    }

    /// Returns the filter that a filter folds to.
    pub(super) fn apply<'a>(&'a mut self, filter: &'a mut [u64]) -> &'a mut [u64] {
        if self.is_folded {
            self.fold(filter);
            &mut self.folded
        } else {
            filter
        }
    }

    /// Bits at a distance of the length of the encoding are combined by parity.
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

//! The datasets of a group as a bit set.

/// The maximum number of datasets that can be solved together.
pub(super) const DATASETS_MAX: usize = 64 * WIDE_WORDS;

const WIDE_WORDS: usize = 16;

/// A set of datasets.
pub(super) trait Mask: Copy {
    /// Returns the set of one dataset.
    fn single(dataset: u32) -> Self;
    /// Returns the union of both sets.
    fn union(self, other: Self) -> Self;
    /// Returns true if the sets have a dataset in common.
    fn meets(self, other: Self) -> bool;
}

macro_rules! small_mask {
    ($word:ty) => {
        impl Mask for $word {
            fn single(dataset: u32) -> Self {
                1 << dataset
            }

            fn union(self, other: Self) -> Self {
                self | other
            }

            fn meets(self, other: Self) -> bool {
                self & other != 0
            }
        }
    };
}

small_mask!(u32);
small_mask!(u64);

/// The mask for more than 64 datasets.
pub(super) type Wide = [u64; WIDE_WORDS];

impl Mask for Wide {
    fn single(dataset: u32) -> Self {
        let mut words = [0; WIDE_WORDS];
        words[dataset as usize / 64] = 1 << (dataset % 64);
        words
    }

    fn union(self, other: Self) -> Self {
        std::array::from_fn(|word| self[word] | other[word])
    }

    fn meets(self, other: Self) -> bool {
        self.iter().zip(&other).any(|(a, b)| a & b != 0)
    }
}

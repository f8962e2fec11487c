//! For x86-64 with POPCNT: counts in hardware, sifts sixteen bytes at a time.

use super::portable::{self, Plain};
use super::sift::sift;
use super::{Block, Candidate, Loops, Name, RowSignatures, Words};

/// Exists only where the processor has POPCNT.
pub(super) struct Popcnt(());

impl Popcnt {
    pub(super) fn detect() -> Option<&'static Self> {
        is_x86_feature_detected!("popcnt").then_some(&Self(()))
    }
}

impl Loops for Popcnt {
    fn name(&self) -> Name {
        Name::Popcnt
    }

    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32 {
        // SAFETY: `self` exists, so the feature was detected.
        unsafe { common_bytes(a, b) }
    }

    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        // SAFETY: `self` exists, so the feature was detected.
        unsafe { count(left, right, pairs, counts) }
    }

    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        // SAFETY: plain bytes need no processor feature.
        unsafe { sift::<Plain, 2, 4>(rows, block, survivors) }
    }
}

#[target_feature(enable = "popcnt")]
fn common_bytes(a: &[u8], b: &[u8]) -> u32 {
    portable::common_bytes(a, b)
}

#[target_feature(enable = "popcnt")]
fn count(left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
    portable::count(left, right, pairs, counts);
}

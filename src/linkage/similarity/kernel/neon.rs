//! For aarch64, where every processor has NEON. Sifts and counts sixteen bytes at a time.

use std::arch::aarch64::{
    uint8x16_t, vaddlvq_u8, vaddq_u8, vandq_u8, vcleq_u8, vcntq_u8, vdupq_n_u32, vget_lane_u64, vld1q_u8,
    vminq_u8, vreinterpret_u64_u8, vreinterpretq_u8_u32, vreinterpretq_u16_u8, vshrn_n_u16, vsubq_u8,
};

use super::portable;
use super::sift::{Lanes, sift};
use super::{Block, Candidate, Loops, Name, RowSignatures, Words};

/// The kernel of every aarch64 processor.
pub(super) struct Neon;

impl Loops for Neon {
    fn name(&self) -> Name {
        Name::Neon
    }

    fn common_bytes(&self, a: &[u8], b: &[u8]) -> u32 {
        portable::common_bytes(a, b)
    }

    fn count(&self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        counts.extend(pairs.iter().map(|(l, r)| {
            let lines = left.row(*l).iter().zip(right.row(*r));
            lines.map(|(a, b)| common(&a.0, &b.0)).sum::<u32>()
        }));
    }

    fn sift(&self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        // SAFETY: NEON is part of every aarch64 processor.
        unsafe { sift::<uint8x16_t, 4, 4>(rows, block, survivors) }
    }
}

fn common(a: &[u64; 8], b: &[u64; 8]) -> u32 {
    let (a, b): (*const u8, *const u8) = (a.as_ptr().cast(), b.as_ptr().cast());
    let sixteen = |at: usize| {
        // SAFETY: `at + 16` is at most 64, which both lines have; NEON is part of every aarch64 processor.
        unsafe { vaddlvq_u8(vcntq_u8(vandq_u8(vld1q_u8(a.add(at)), vld1q_u8(b.add(at))))) }
    };
    [0, 16, 32, 48].map(sixteen).iter().map(|count| u32::from(*count)).sum()
}

impl Lanes for uint8x16_t {
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller promises sixteen readable bytes.
        unsafe { vld1q_u8(from) }
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: NEON is part of every aarch64 processor.
        unsafe { vreinterpretq_u8_u32(vdupq_n_u32(word)) }
    }

    #[inline(always)]
    unsafe fn min_u8(self, other: Self) -> Self {
        // SAFETY: NEON is part of every aarch64 processor.
        unsafe { vminq_u8(self, other) }
    }

    #[inline(always)]
    unsafe fn wrapping_add(self, other: Self) -> Self {
        // SAFETY: NEON is part of every aarch64 processor.
        unsafe { vaddq_u8(self, other) }
    }

    #[inline(always)]
    unsafe fn wrapping_sub(self, other: Self) -> Self {
        // SAFETY: NEON is part of every aarch64 processor.
        unsafe { vsubq_u8(self, other) }
    }

    #[inline(always)]
    unsafe fn le_mask(self, bound: Self) -> u64 {
        // SAFETY: NEON is part of every aarch64 processor.
        let nibbles = unsafe {
            let kept = vcleq_u8(self, bound);
            vget_lane_u64::<0>(vreinterpret_u64_u8(vshrn_n_u16::<4>(vreinterpretq_u16_u8(kept))))
        };
        // Four bits for each byte; one of them is enough.
        (0..16).map(|lane| (nibbles >> (4 * lane) & 1) << lane).sum()
    }
}

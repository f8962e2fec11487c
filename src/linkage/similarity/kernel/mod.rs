//! The inner loops, one implementation for each kind of processor. The choice affects the speed, never the results.
//!
//! *Counting* finds the common bits of listed pairs of rows. *Sifting* drops pairs that cannot have enough of them,
//! by their [signatures](super::signature): up to 64 pairs in an instruction. *Sifting words* counts all pairs of a
//! block, 16 in an instruction, where the processor has such an instruction. *Products* are inner products of bytes.
//! With them a kernel sifts by [projections](super::projection), and counts bits where that is fastest. The generic
//! form of sifting is in `sift`; each processor's file defines its vectors.

#![expect(
    unsafe_code,
    reason = "vectors are loaded through pointers, by processor features found at run time"
)]
#![expect(
    clippy::inline_always,
    reason = "generic loops take on the processor features of the function they become part of"
)]
#![expect(clippy::needless_range_loop, reason = "registers are numbered by row and vector")]

mod lines;
mod name;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only kernels of x86-64 have these loops"))]
mod sift;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only kernels of x86-64 have these loops"))]
mod products;
mod loops;
mod costs;
mod portable;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod popcnt;
#[cfg(target_arch = "x86_64")]
mod unpack;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

pub use costs::{Costs, Linear};
#[cfg(target_arch = "x86_64")]
pub(super) use lines::Line;
pub(super) use lines::{Bytes, Words};
use loops::Loops;
#[cfg(target_arch = "x86_64")]
use loops::WordSieve;
pub use name::Name;
pub(super) use products::{
    BIT_LINES, BITS_READ_AHEAD, BitProducts, BitRows, PRODUCT_BLOCK_ROWS, PRODUCT_LANES, PRODUCT_ROWS,
    ProductLanes, ProductRows, Products, bit_of, gather_bits, lane_place, row_place,
};
pub(super) use sift::{BLOCK_ROWS, Block, Candidate, RowSignatures, RowWords, WORD_BLOCK_ROWS, WordBlock};

/// The approximate nanoseconds of a mispredicted branch, with the encoding that is therefore fetched late.
const MISPREDICTION: f64 = 10.0;
/// The approximate nanoseconds to write the survivors of 64 pairs without a branch.
const NO_BRANCHES: f64 = 1.0;

/// The loops of one kind of processor. Exists only where the processor can run them.
#[derive(Clone, Copy)]
pub struct Kernel(&'static dyn Loops);

impl Kernel {
    /// Returns the kernels that this processor can run, the fastest first; `portable` is always among them.
    pub fn available() -> Vec<Self> {
        let mut kernels: Vec<&'static dyn Loops> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(amx::Amx::detect().map(|found| found as &dyn Loops));
            kernels.extend(avx512::Avx512::detect().map(|found| found as &dyn Loops));
            kernels.extend(avx2::Avx2::detect().map(|found| found as &dyn Loops));
            kernels.extend(popcnt::Popcnt::detect().map(|found| found as &dyn Loops));
        }
        #[cfg(target_arch = "aarch64")]
        kernels.push(&neon::Neon);
        kernels.push(&portable::Portable);
        kernels.into_iter().map(Self).collect()
    }

    /// Returns the fastest kernel. Where that depends on the processor, the loops of the first two are measured.
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| match Self::available()[..] {
            [first, second, ..] if first.has_rival() && second.typical_cost() < first.typical_cost() => {
                second
            }
            [first, ..] => first,
            [] => Self(&portable::Portable),
        })
    }

    /// Returns true if the kernel is faster on some processors than the next one, and slower on others.
    fn has_rival(self) -> bool {
        self.name() == Name::Amx
    }

    /// Returns the cost to count 64 pairs of 1024 bits once and to sift them by two steps ten times.
    fn typical_cost(self) -> f64 {
        self.cost_of_counting(128) + 10.0 * self.cost_of_steps(2, 0.0, 128)
    }

    /// Returns the reason why this process cannot use a kernel that the processor could run, if there is such a kernel.
    pub fn refusal() -> Option<&'static str> {
        #[cfg(target_arch = "x86_64")]
        if amx::has_tiles() && amx::Amx::detect().is_none() {
            return Some("Linux gives this process no memory for the tiles of amx");
        }
        None
    }

    /// Returns the kernel of this name.
    ///
    /// # Errors
    /// [`Unavailable`], if this processor cannot run it.
    pub fn named(name: Name) -> Result<Self, Unavailable> {
        Self::available().into_iter().find(|kernel| kernel.name() == name).ok_or(Unavailable { name })
    }

    /// Returns the name of the kernel.
    pub fn name(self) -> Name {
        self.0.name()
    }

    /// Returns the costs of the loops on this processor, which are measured at the first call.
    pub fn costs(self) -> Costs {
        Costs::of(self.0)
    }

    /// Returns the approximate nanoseconds to count the common bits of 64 pairs.
    pub(super) fn cost_of_counting(self, encoding_bytes: usize) -> f64 {
        self.costs().lines.of(encoding_bytes.div_ceil(64))
    }

    /// Returns the approximate nanoseconds to compare 64 pairs by a signature of `parts` parts, if the share `survival`
    /// of the pairs survives.
    pub(super) fn cost_of_parts(self, parts: usize, survival: f64, encoding_bytes: usize) -> f64 {
        let branches = mispredicted(survival).min(NO_BRANCHES);
        self.costs().parts.of(parts) + branches + 64.0 * survival * self.cost_of_survivor(encoding_bytes)
    }

    /// Returns the approximate nanoseconds to compare 64 pairs by a projection of `steps` steps.
    pub(super) fn cost_of_steps(self, steps: usize, survival: f64, encoding_bytes: usize) -> f64 {
        let sifting = self.costs().steps.map_or(f64::INFINITY, |cost| cost.of(steps));
        sifting + mispredicted(survival) + 64.0 * survival * self.cost_of_survivor(encoding_bytes)
    }

    /// Returns the approximate nanoseconds to collect, count and decide a survivor.
    pub(super) fn cost_of_survivor(self, encoding_bytes: usize) -> f64 {
        self.costs().survivor.of(encoding_bytes.div_ceil(64))
    }

    pub(super) fn common_bytes(self, a: &[u8], b: &[u8]) -> u32 {
        assert_eq!(a.len(), b.len(), "encodings of one size");
        self.0.common_bytes(a, b)
    }

    pub(super) fn popcount(self, encoding: &[u8]) -> u32 {
        self.0.common_bytes(encoding, encoding)
    }

    /// Replaces `counts` with the common bits of each pair of rows.
    pub(super) fn count(self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        assert_eq!(left.lines_per_row(), right.lines_per_row(), "encodings of one size");
        counts.clear();
        self.0.count(left, right, pairs, counts);
    }

    pub(super) fn sift(self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        self.0.sift(rows, block, survivors);
    }

    /// Returns the loops over products of bytes, if the kernel has them.
    pub(super) fn products(self) -> Option<&'static dyn Products> {
        self.0.products()
    }

    /// Returns the loops over products of bits, if the kernel has them.
    pub(super) fn bit_products(self) -> Option<&'static dyn BitProducts> {
        self.0.bit_products()
    }

    /// For each list of factors, adds every row times its factor to a sum. Needs a kernel with products.
    pub(super) fn combine(self, factors: &[&[f32]], rows: &[[f32; 64]], sums: &mut [[f32; 64]]) {
        let products = self.products().expect("asked before");
        for (factors, sums) in factors.chunks(4).zip(sums.chunks_mut(4)) {
            let mut four = [[0.0; 64]; 4];
            four[..sums.len()].copy_from_slice(sums);
            let of = |at: usize| factors[at.min(factors.len() - 1)];
            products.combine([of(0), of(1), of(2), of(3)], rows, &mut four);
            sums.copy_from_slice(&four[..sums.len()]);
        }
    }

    /// Returns true if [`Kernel::sift_words`] is available.
    pub(super) fn sifts_words(self) -> bool {
        self.0.word_sieve().is_some()
    }

    /// Appends the pairs of rows and `lanes` of `others` that may have the common bits that their row requires. Some
    /// kernels count them all; the others append every pair.
    pub(super) fn sift_pairs(
        self,
        rows: RowWords<'_>,
        others: &Words,
        lanes: Range<u32>,
        survivors: &mut Vec<Candidate>,
    ) {
        if let Some(sieve) = self.0.pair_sieve() {
            return sieve.sift_pairs(rows, others, lanes, survivors);
        }
        let end = rows.first + rows.needed.len() as u32;
        survivors.extend((rows.first..end).flat_map(|row| lanes.clone().map(move |lane| (row, lane))));
    }

    pub(super) fn sift_words(
        self,
        rows: RowWords<'_>,
        block: &WordBlock<'_>,
        survivors: &mut Vec<Candidate>,
    ) {
        self.0.word_sieve().expect("asked before").sift_words(rows, block, survivors);
    }
}

/// Returns the approximate nanoseconds of mispredictions for 64 pairs, if loops branch on whether any of them survives. The
/// rarer answer is mispredicted.
fn mispredicted(survival: f64) -> f64 {
    let some = 1.0 - (-64.0 * survival).exp();
    MISPREDICTION * some.min(1.0 - some)
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())
    }
}

/// The processor lacks instructions of the kernel. The message names the kernels that it can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The kernel.
    pub name: Name,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Kernel::available().iter().map(|kernel| kernel.name().as_str()).collect();
        let names = names.join(", ");
        match Kernel::refusal() {
            Some(refusal) if self.name == Name::Amx => write!(f, "{refusal}; it runs {names}"),
            _ => write!(f, "this processor cannot run {}; it runs {names}", self.name),
        }
    }
}

impl std::error::Error for Unavailable {}

impl Default for Kernel {
    fn default() -> Self {
        Self::best()
    }
}

//! The inner loops, one implementation for each kind of processor. The choice affects the speed, never the results.
//!
//! *Counting* finds the common bits of listed pairs of rows. *Sifting* drops pairs that cannot have enough of them,
//! by their [signatures](super::tuning): up to 64 pairs in an instruction. *Sifting words* counts all pairs of a
//! block, 16 in an instruction, where the processor has such an instruction. The generic form of sifting is in
//! `sift`; each processor's file defines its vectors.

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
mod sift;
mod loops;
mod portable;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod popcnt;

use std::fmt;

pub(super) use lines::{Bytes, Line, Words};
use loops::{Costs, Loops, WordSieve};
pub use name::Name;
pub(super) use sift::{BLOCK_ROWS, Block, Candidate, RowSignatures, RowWords, WORD_BLOCK_ROWS, WordBlock};

/// The loops of one kind of processor. Exists only where the processor can run them.
#[derive(Clone, Copy)]
pub struct Kernel(&'static dyn Loops);

impl Kernel {
    /// Returns the kernels that this processor can run, the fastest first; `portable` is always among them.
    pub fn available() -> Vec<Self> {
        let mut kernels: Vec<&'static dyn Loops> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(avx512::Avx512::detect().map(|found| found as &dyn Loops));
            kernels.extend(avx2::Avx2::detect().map(|found| found as &dyn Loops));
            kernels.extend(popcnt::Popcnt::detect().map(|found| found as &dyn Loops));
        }
        #[cfg(target_arch = "aarch64")]
        kernels.push(&neon::Neon);
        kernels.push(&portable::Portable);
        kernels.into_iter().map(Self).collect()
    }

    /// Returns the fastest kernel.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Returns the kernel of this name.
    ///
    /// # Errors
    /// [`Unavailable`], if this processor cannot run it.
    pub fn named(name: Name) -> Result<Self, Unavailable> {
        Self::available().into_iter().find(|kernel| kernel.name() == name).ok_or(Unavailable { name })
    }

    /// Returns its name.
    pub fn name(self) -> Name {
        self.0.name()
    }

    /// Returns the approximate nanoseconds to compare 64 pairs by `parts` parts, when the share `survival` of them
    /// survives. Only good for choosing between two ways.
    pub(super) fn cost(self, parts: usize, survival: f64, encoding_bytes: usize) -> f64 {
        let Costs { part, survivor, line } = self.0.costs();
        let lines = encoding_bytes.div_ceil(64) as f64;
        if let (0, Some(sieve)) = (parts, self.0.word_sieve()) {
            return (lines + 0.2) * sieve.line_cost();
        }
        let sifting = if parts == 0 { 0.0 } else { (parts + 4) as f64 * part };
        let survivors = 64.0 * survival;
        // If there is about one survivor among 64, the branch is hard to predict.
        let surprise = survivors.min(1.0) * survivor;
        sifting + surprise + survivors * (survivor + line * lines)
    }

    pub(super) fn common_bytes(self, a: &[u8], b: &[u8]) -> u32 {
        assert_eq!(a.len(), b.len(), "encodings of one size");
        self.0.common_bytes(a, b)
    }

    pub(super) fn popcount(self, encoding: &[u8]) -> u32 {
        self.0.common_bytes(encoding, encoding)
    }

    /// Replaces `counts` by the common bits of each pair of rows.
    pub(super) fn count(self, left: &Words, right: &Words, pairs: &[Candidate], counts: &mut Vec<u32>) {
        assert_eq!(left.lines_per_row(), right.lines_per_row(), "encodings of one size");
        counts.clear();
        self.0.count(left, right, pairs, counts);
    }

    pub(super) fn sift(self, rows: RowSignatures<'_>, block: &Block<'_>, survivors: &mut Vec<Candidate>) {
        self.0.sift(rows, block, survivors);
    }

    /// Returns true if [`Kernel::sift_words`] is available.
    pub(super) fn sifts_words(self) -> bool {
        self.0.word_sieve().is_some()
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

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())
    }
}

/// This processor lacks instructions of the kernel. The message names the kernels that it can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The kernel.
    pub name: Name,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Kernel::available().iter().map(|kernel| kernel.name().as_str()).collect();
        write!(f, "this processor cannot run {}; it runs {}", self.name, names.join(", "))
    }
}

impl std::error::Error for Unavailable {}

impl Default for Kernel {
    fn default() -> Self {
        Self::best()
    }
}

//! Chooses, block by block, between sifting and counting every pair.
//!
//! A tuning is chosen because few pairs of a sample survive. Where more pairs survive, blocks are counted in full. This
//! happens if records of one popcount differ from all others, or the rows of a tile from the other rows of the run.
//! Rows and lanes are sorted by popcount, so the next blocks are likely to be like the last one. Now and then a block
//! is sifted again, as long as the total loss by such attempts is small.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use super::kernel::Kernel;

/// The loss by attempts may be at most the cost of counting every pair, divided by this number.
const LOSS_MAX: i64 = 20;
/// The maximum number of blocks that are counted between two attempts.
const PAUSE_MAX: u32 = 256;

/// The costs of a search so far, in picoseconds. Threads update them without synchronization: small errors do not
/// matter.
#[derive(Debug)]
pub(super) struct Watch {
    costs: BlockCosts,
    /// The cost that counting every pair would have had so far.
    counting: AtomicI64,
    /// The cost of sifting beyond that.
    lost: AtomicI64,
    /// The number of blocks to count before the next attempt.
    pause: AtomicU32,
    /// The length of the latest pause, in blocks.
    last_pause: AtomicU32,
}

/// The costs of a pair and of a survivor, in picoseconds.
#[derive(Clone, Copy, Debug)]
struct BlockCosts {
    sifting: f64,
    counting: f64,
    survivor: f64,
}

impl Watch {
    /// `sifting` is the cost to sift 64 pairs, none of which survives.
    pub(super) fn new(kernel: Kernel, sifting: f64, encoding_bytes: usize) -> Self {
        let costs = BlockCosts {
            sifting: 1e3 / 64.0 * sifting,
            counting: 1e3 / 64.0 * kernel.cost_of_counting(encoding_bytes),
            survivor: 1e3 * kernel.cost_of_survivor(encoding_bytes),
        };
        let (counting, lost) = (AtomicI64::new(0), AtomicI64::new(0));
        Self { costs, counting, lost, pause: AtomicU32::new(0), last_pause: AtomicU32::new(0) }
    }

    /// Returns true if the next block is to be sifted.
    pub(super) fn sifts(&self) -> bool {
        let pause = self.pause.load(Ordering::Relaxed);
        if pause > 0 {
            self.pause.store(pause - 1, Ordering::Relaxed);
            return false;
        }
        self.lost.load(Ordering::Relaxed) * LOSS_MAX <= self.counting.load(Ordering::Relaxed)
    }

    /// Notes a block that was counted.
    pub(super) fn counted(&self, pairs: u64) {
        self.counting.fetch_add((pairs as f64 * self.costs.counting) as i64, Ordering::Relaxed);
    }

    /// Notes a block that was sifted.
    pub(super) fn sifted(&self, pairs: u64, survivors: u64) {
        let BlockCosts { sifting, counting, survivor } = self.costs;
        let (pairs, survivors) = (pairs as f64, survivors as f64);
        let lost = pairs * (sifting - counting) + survivors * survivor;
        self.counting.fetch_add((pairs * counting) as i64, Ordering::Relaxed);
        self.lost.fetch_add(lost as i64, Ordering::Relaxed);
        let pause =
            if lost > 0.0 { (2 * self.last_pause.load(Ordering::Relaxed)).clamp(1, PAUSE_MAX) } else { 0 };
        self.pause.store(pause, Ordering::Relaxed);
        self.last_pause.store(pause, Ordering::Relaxed);
    }
}

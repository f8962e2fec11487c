//! The tuning of a run: the way in which its pairs are sifted, learnt from a sample.
//!
//! A [signature](super::signature) bounds the bits that two records do not share by the excess of their counts, a
//! [projection](super::projection) by a distance. Which of them pays, and how fine it should be, depends on the
//! encodings, the threshold and the processor. It is determined on pairs of the sample from which nothing was learnt.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use super::columns::Columns;
use super::decision::Decision;
use super::kernel::Kernel;
use super::packed::{LaneSide, RowSide};
use super::parts::Parts;
use super::projection::{Components, Projection};
use super::rows::Rows;
use super::sample::Sample;
use super::sieve::Sieve;
use super::signature::Signature;

/// The numbers of parts to try, until more do not pay: more parts sift better and cost more.
const PARTS: [usize; 11] = [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192];
/// The fewest and the most rows of either side from which signatures are learnt.
const SIGNATURE_ROWS: [usize; 2] = [256, 1024];
/// The comparisons of a run for each of these rows.
const COMPARISONS_PER_ROW: usize = 1 << 20;
/// The number of rows of either side from which projections are learnt.
const PROJECTION_ROWS: usize = 2560;
/// One in this many rows is used to test the projections.
const TRIED: usize = 5;
/// The number of blocks of popcounts in which a tuning is tried.
const TRIED_BLOCKS: usize = 4;
/// The maximum number of strips of 64 components.
const STRIPS_MAX: usize = 8;
/// The rows of the sample that each strip needs.
const STRIP_ROWS: usize = 256;
/// The approximate time of learning a strip, in nanoseconds.
const STRIP_COST: f64 = 20e6;
/// A number of parts with which a signature sifts well.
const MANY_PARTS: usize = 32;
/// The minimum number of comparisons of a run for which learning pays off.
const LEARNING_COMPARISONS: u64 = 1 << 26;

/// The tuning of a run. It does not change results.
#[derive(Clone, Debug)]
pub struct Tuning(Sifting);

/// The way in which pairs are sifted.
#[derive(Clone, Debug)]
pub(super) enum Sifting {
    /// Every pair is counted.
    Nothing,
    Signatures(Arc<Signature>),
    Projections(Arc<Projection>),
}

/// The tuning with the lowest cost so far.
struct Best {
    tuning: Tuning,
    /// The time for 64 pairs, in nanoseconds.
    cost: f64,
}

impl Best {
    /// Takes the tuning if it costs less; returns true if it does.
    fn offer(&mut self, tuning: Tuning, cost: f64) -> bool {
        let is_better = cost < self.cost;
        if is_better {
            *self = Self { tuning, cost };
        }
        is_better
    }

    fn try_signatures(&mut self, left: &Rows<'_>, right: &Rows<'_>, decision: &Decision, kernel: Kernel) {
        let [fewest, most] = SIGNATURE_ROWS;
        let rows = left.records().saturating_mul(right.records()) / COMPARISONS_PER_ROW;
        let sample = Sample::of(left, right, rows.clamp(fewest, most));
        let columns = Columns::of(&sample.rows(), kernel);
        let attempt = |count: &usize| {
            let signature = Signature::with(&Parts::spread(&columns, *count), &sample, decision, kernel);
            let tried = Tuning(Sifting::Signatures(Arc::new(signature)));
            let survival = survival(&sample, &tried, decision, kernel);
            (kernel.cost_of_parts(*count, survival, sample.encoding_bytes), tried)
        };
        let mut worse = 0;
        // Each thread tries one number; some attempts may turn out to be unnecessary.
        for counts in PARTS.chunks(rayon::current_num_threads()) {
            for (cost, tried) in counts.par_iter().map(attempt).collect::<Vec<_>>() {
                worse = if self.offer(tried, cost) { 0 } else { worse + 1 };
                if worse == 2 && self.tuning.parts() > 0 {
                    return;
                }
            }
        }
    }

    /// Tries projections, if they can save more in this number of comparisons than learning them takes.
    fn try_projections(
        &mut self,
        left: &Rows<'_>,
        right: &Rows<'_>,
        decision: &Decision,
        kernel: Kernel,
        comparisons: f64,
    ) {
        let Some(steps) = kernel.costs().steps else { return };
        // Each projection costs one step at least.
        let gain_max = comparisons / 64.0 * (self.cost - steps.of(1));
        if gain_max < STRIP_COST {
            return;
        }
        let mut sample = Sample::of(left, right, PROJECTION_ROWS);
        let tried_on = sample.split_off(TRIED);
        if sample.is_empty() || tried_on.is_empty() {
            return;
        }
        let (columns, words) = (Columns::of(&sample.rows(), kernel), sample.words());
        // Learning may take a tenth of the time of the run.
        let affordable = comparisons / 64.0 * self.cost / 10.0 / STRIP_COST;
        let strips_max = (words.rows() / STRIP_ROWS).min(affordable as usize).clamp(1, STRIPS_MAX);
        let mut components = Components::new(&columns, kernel);
        let mut last_cost = f64::INFINITY;
        while components.strips() < strips_max && components.grow() {
            let projection = Projection::new(&components, &words);
            let steps = projection.steps();
            let tried = Tuning(Sifting::Projections(Arc::new(projection)));
            let survival = survival(&tried_on, &tried, decision, kernel);
            let cost = kernel.cost_of_steps(steps, survival, sample.encoding_bytes);
            self.offer(tried, cost);
            // Once the cost rises, further components are not worth it: if no pair survived, each can only add cost,
            // and otherwise each drops fewer pairs than the one before.
            if cost > last_cost {
                break;
            }
            last_cost = cost;
        }
    }
}

impl Tuning {
    /// Returns a tuning without sifting: every pair is counted.
    pub const fn none() -> Self {
        Self(Sifting::Nothing)
    }

    /// Learns from a sample of the matrices of both sides. Takes tens of milliseconds, so it pays from about a hundred
    /// million comparisons. The run has `comparisons` at least.
    pub(super) fn learn(
        left: &Rows<'_>,
        right: &Rows<'_>,
        decision: &Decision,
        kernel: Kernel,
        comparisons: u64,
    ) -> Self {
        if left.is_empty() || right.is_empty() {
            return Self::none();
        }
        let mut best = Best { tuning: Self::none(), cost: kernel.cost_of_counting(left.encoding_bytes()) };
        // If one step costs less than many parts, no signature is better than a projection.
        let costs = kernel.costs();
        if costs.steps.is_none_or(|steps| steps.of(1) >= costs.parts.of(MANY_PARTS)) {
            best.try_signatures(left, right, decision, kernel);
        }
        let of_pair = left.records() as f64 * right.records() as f64;
        best.try_projections(left, right, decision, kernel, of_pair.max(comparisons as f64));
        best.tuning
    }

    /// Returns a tuning with a signature of this number of parts, whether or not it pays.
    #[cfg(test)]
    pub(super) fn with_parts(
        left: &Rows<'_>,
        right: &Rows<'_>,
        count: usize,
        decision: &Decision,
        kernel: Kernel,
    ) -> Self {
        let sample = Sample::of(left, right, SIGNATURE_ROWS[0]);
        if sample.is_empty() {
            return Self::none();
        }
        let columns = Columns::of(&sample.rows(), kernel);
        let signature = Signature::with(&Parts::spread(&columns, count), &sample, decision, kernel);
        Self(Sifting::Signatures(Arc::new(signature)))
    }

    /// Returns a tuning with a projection on up to this number of strips of 64 components, if the kernel can use one.
    #[cfg(test)]
    pub(super) fn with_strips(
        left: &Rows<'_>,
        right: &Rows<'_>,
        count: usize,
        kernel: Kernel,
    ) -> Option<Self> {
        kernel.products()?;
        let sample = Sample::of(left, right, SIGNATURE_ROWS[0]);
        if sample.is_empty() {
            return None;
        }
        let columns = Columns::of(&sample.rows(), kernel);
        let mut components = Components::new(&columns, kernel);
        while components.strips() < count && components.grow() {}
        (components.strips() > 0)
            .then(|| Self(Sifting::Projections(Arc::new(Projection::new(&components, &sample.words())))))
    }

    pub(super) const fn sifting(&self) -> &Sifting {
        &self.0
    }

    /// Returns the form of sifting: none, signatures or projections.
    pub const fn form(&self) -> &'static str {
        match &self.0 {
            Sifting::Nothing => "none",
            Sifting::Signatures(_) => "signatures",
            Sifting::Projections(_) => "projections",
        }
    }

    /// Returns the number of parts of a signature; 0 if there is none.
    pub fn parts(&self) -> usize {
        if let Sifting::Signatures(signature) = &self.0 { signature.parts() } else { 0 }
    }

    /// Returns the number of components of a projection; 0 if there is none.
    pub fn components(&self) -> usize {
        if let Sifting::Projections(projection) = &self.0 { projection.dims() } else { 0 }
    }
}

/// Returns the share of the pairs of a sample that sifting lets through. The sample is cut into several blocks of similar
/// popcounts, like those of a run: a single block would contain all popcounts.
fn survival(sample: &Sample, tuning: &Tuning, decision: &Decision, kernel: Kernel) -> f64 {
    let [left, right] = sample.sides();
    let rows = Arc::new(RowSide::of(&left, tuning, kernel));
    let (mut counted, mut pairs) = (0, 0);
    let lanes = right.len().div_ceil(TRIED_BLOCKS).max(1);
    for first in (0..right.len()).step_by(lanes) {
        let lanes = right.part(first..right.len().min(first + lanes));
        let lanes = Arc::new(LaneSide::of(&lanes, tuning, decision, kernel));
        let sieve = Sieve::of(Arc::clone(&rows), lanes, true, decision, kernel);
        let all = sieve.all();
        pairs += all.pairs();
        counted += sieve.search(&all, |_| Ok(())).expect("nothing is done that could fail").counted();
    }
    counted as f64 / pairs.max(1) as f64
}

/// The tuning of a run: learnt once enough comparisons have come together, then used by all parts.
#[derive(Debug, Default)]
pub struct TuningCell {
    tuning: OnceLock<Tuning>,
    /// The comparisons so far of tiles that are large enough to sift.
    asked: AtomicU64,
}

impl TuningCell {
    /// Returns an empty cell.
    pub const fn new() -> Self {
        Self { tuning: OnceLock::new(), asked: AtomicU64::new(0) }
    }

    /// Returns a cell with this tuning, which does not depend on the encodings.
    pub fn holding(tuning: Tuning) -> Self {
        Self { tuning: OnceLock::from(tuning), asked: AtomicU64::new(0) }
    }

    /// Returns the tuning, if it was learnt.
    pub fn get(&self) -> Option<&Tuning> {
        self.tuning.get()
    }

    /// Adds these comparisons, and returns true if it now pays to learn the tuning.
    pub(super) fn pays_to_learn(&self, comparisons: u64) -> bool {
        self.get().is_none()
            && self.asked.fetch_add(comparisons, Ordering::Relaxed) + comparisons >= LEARNING_COMPARISONS
    }

    /// Returns the tuning. If there is none, calls `learn` with the comparisons so far.
    pub(super) fn get_or_learn(&self, learn: impl Fn(u64) -> Tuning) -> &Tuning {
        let learn = || learn(self.asked.load(Ordering::Relaxed));
        // `get_or_init` could deadlock: while this thread learns, it may start another part of the run, which needs
        // the same cell. Learning twice gives the same result.
        if self.tuning.get().is_none() {
            let _ = self.tuning.set(learn());
        }
        self.tuning.get_or_init(learn)
    }
}

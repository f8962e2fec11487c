//! Forecasts of a run: the number of its comparisons, and its pairs at any threshold, from a sample.
//!
//! A *unit* of the sample is a record in a block, together with its *partners*: the records with which the run would
//! compare it, which are those of later datasets in the same block. Units are drawn without replacement, so a sample of
//! all units gives an exact forecast. Intervals are score intervals for a mean (Wilson 1927,
//! doi:10.1080/01621459.1927.10502953), with the dispersion of the sample and the correction for a finite population.
//! Pairs of few records are in few units, so that a sample may contain none of them. The dispersion of few units is
//! therefore at least that at the next lower similarity with more units.
//!
//! A sample keeps only *hits*: pairs whose similarity is at least the *floor*. Below the floor, pairs drawn from all
//! comparisons give the estimate.

use std::collections::{HashMap, HashSet};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::encoding::layout::{Index, RowIds, Span};
use super::similarity::{Error, Rows, dice, search};
use crate::threshold::Threshold;

/// The number of comparisons up to which a forecast is exact.
const EXACT_MAX: u64 = 2_000_000;
/// The maximum number of hits that are kept.
const HITS_MAX: f64 = 1_000_000.0;
/// The number of pairs drawn to estimate the distribution of similarities.
const PAIRS_DRAWN: usize = 100_000;
/// The minimum number of comparisons for which [`search`] is used, instead of scoring pairs one by one.
const SEARCH_MIN: usize = 1_024;
/// The number of rounds into which the sample is divided. The forecast stops after a round when time is up.
const ROUNDS: usize = 16;
/// The normal quantile of a 95 % interval.
const Z: f64 = 1.959_964;
/// The number of units with pairs from which the dispersion is known.
const UNITS_ENOUGH: u64 = 30;
/// The number of levels of similarity, from the floor upwards, at which the dispersion is estimated too.
const LEVELS: usize = 16;
/// The number of classes of similarity: one for each hundredth, and one for exactly 1.
pub const CLASSES: usize = 101;

/// A dataset to be linked.
pub struct Dataset<'a> {
    /// The encodings of the dataset.
    pub matrix: &'a [u8],
    /// The block index of the dataset.
    pub index: Index<'a>,
}

/// The forecast of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The exact number of comparisons in the run.
    pub comparisons: u64,
    /// The number of comparisons that the sample made.
    pub compared: u64,
    /// True if the sample is the whole population.
    pub is_exact: bool,
    /// The pairs at each threshold, in the order of the request.
    pub estimates: Vec<Estimate>,
    /// The estimated comparisons by similarity: from 0.00 to below 0.01, and so on. The last number is for a
    /// similarity of exactly 1.
    pub histogram: Vec<f64>,
}

/// The candidate pairs at a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The threshold.
    pub threshold: Threshold,
    /// The number of candidate pairs. A pair in several blocks counts once.
    pub pairs: f64,
    /// The 95 % interval of the number.
    pub interval: [f64; 2],
}

/// Forecasts a run over `datasets`. Makes about `budget` comparisons at most, and stops early once `goes_on` returns
/// false.
///
/// # Errors
/// [`Error`], if a dataset is damaged.
pub fn forecast(
    datasets: &[Dataset<'_>],
    thresholds: &[Threshold],
    budget: u64,
    seed: [u8; 32],
    goes_on: &dyn Fn() -> bool,
) -> Result<Forecast, Error> {
    let mut draw = Draw(ChaCha20Rng::from_seed(seed));
    let population = Population::of(datasets);
    let is_small = population.comparisons <= EXACT_MAX;
    let lowest = thresholds.iter().map(|threshold| threshold.get()).fold(1.0, f64::min);
    let mut histogram = vec![0.0; CLASSES];
    let mut floor = 0.005_f64.min(lowest);
    let mut pairs = Vec::new();
    let mut drawn = [0_u64; CLASSES];
    if !is_small {
        pairs = population.draw_pairs(datasets, &mut draw, goes_on)?;
        pairs.iter().for_each(|pair| drawn[class_of(pair.score)] += 1);
        floor = floor_for(&drawn, pairs.len() as u64, budget.min(population.comparisons));
    }
    let units = if is_small { population.units } else { population.affordable(budget) };
    let mut sample = Sample::new(thresholds, floor);
    let order = draw.distinct(units, population.units);
    let rounds = if is_small { 1 } else { ROUNDS };
    for round in order.chunks(order.len().div_ceil(rounds).max(1)) {
        let mut round = round.to_vec();
        round.sort_unstable();
        let hits = population.compare(datasets, &round, floor, &mut sample.compared)?;
        let shares = population.shares(datasets, &hits)?;
        sample.count(&round, &hits, &shares, datasets);
        if !goes_on() && !is_small {
            break;
        }
    }
    let is_exact = sample.units == population.units;
    // Below the floor, only the drawn pairs give an estimate.
    let shares = if lowest < floor { population.shares(datasets, &pairs)? } else { Vec::new() };
    let estimates = thresholds.iter().enumerate().map(|(at, threshold)| {
        let [pairs, low, high] = if threshold.get() >= floor {
            sample.estimate(at, population.units)
        } else {
            let hits =
                pairs.iter().zip(&shares).filter(|(pair, _)| is_candidate(pair, threshold.get(), datasets));
            share_of(hits.map(|(_, share)| *share), pairs.len(), population.comparisons)
        };
        Estimate { threshold: *threshold, pairs, interval: [low, high] }
    });
    let estimates = estimates.collect();
    let factor = population.units as f64 / sample.units.max(1) as f64;
    for (class, count) in histogram.iter_mut().enumerate() {
        *count = if class as f64 / 100.0 >= floor || is_small {
            sample.classes[class] * factor
        } else {
            drawn[class] as f64 / pairs.len().max(1) as f64 * population.comparisons as f64
        };
    }
    if is_small {
        // A pair without any similarity is not a hit.
        histogram[0] += population.comparisons as f64 - sample.classes.iter().sum::<f64>() * factor;
        histogram[0] = histogram[0].max(0.0);
    }
    Ok(Forecast {
        comparisons: population.comparisons,
        compared: sample.compared,
        is_exact,
        estimates,
        histogram,
    })
}

/// Returns the floor: the lowest similarity above which a sample has at most about [`HITS_MAX`] hits.
fn floor_for(drawn: &[u64; CLASSES], total: u64, budget: u64) -> f64 {
    let share = HITS_MAX / budget.max(1) as f64 * total as f64;
    let mut above = 0;
    for class in (0..CLASSES).rev() {
        above += drawn[class];
        if above as f64 > share.max(20.0) {
            return ((class + 1) as f64 / 100.0).min(1.0);
        }
    }
    0.005
}

/// Estimates the pairs at a threshold from `total` drawn pairs, of which those at the threshold are compared in as many
/// blocks as `shares` says. Such a pair counts as a fraction, since it is drawn more often.
fn share_of(shares: impl Iterator<Item = f64>, total: usize, comparisons: u64) -> [f64; 3] {
    let (sum, squares) = shares.fold((0.0, 0.0), |(sum, squares), share| {
        let count = 1.0 / share;
        (sum + count, squares + count * count)
    });
    let dispersion = if sum > 0.0 { squares / sum } else { 1.0 };
    scaled(sum, dispersion, comparisons as f64 / total.max(1) as f64)
}

/// Returns the estimate and its interval, for a count with this dispersion.
fn scaled(count: f64, dispersion: f64, factor: f64) -> [f64; 3] {
    let (shift, spread) =
        (Z * Z / 2.0 * dispersion, Z * (count * dispersion + (Z * dispersion / 2.0).powi(2)).sqrt());
    [count * factor, (count + shift - spread).max(0.0) * factor, (count + shift + spread) * factor]
}

fn class_of(score: f64) -> usize {
    ((score * 100.0 + 1e-9) as usize).min(CLASSES - 1)
}

/// The records of a dataset in a block.
#[derive(Clone, Copy)]
struct Member {
    dataset: usize,
    span: Span,
}

/// The units of one dataset's records in a block.
struct Cell {
    /// The index of the member.
    member: usize,
    /// The index after the block's last member.
    end: usize,
    /// The index of the cell's first unit.
    units: u64,
    /// The number of comparisons before the cell's first unit.
    comparisons: u64,
    /// The number of partners of each unit.
    partners: u64,
    block: u32,
}

/// All units of a run.
struct Population {
    members: Vec<Member>,
    cells: Vec<Cell>,
    units: u64,
    comparisons: u64,
    blocks: u32,
}

/// A hit, with the unit to which it belongs.
struct Hit {
    unit: u64,
    score: f64,
    datasets: [usize; 2],
    records: [u32; 2],
}

impl Population {
    /// Returns the population of a run, from the block directories of all datasets.
    fn of(datasets: &[Dataset<'_>]) -> Self {
        let mut all = Self { members: Vec::new(), cells: Vec::new(), units: 0, comparisons: 0, blocks: 0 };
        let mut directories: Vec<_> =
            datasets.iter().map(|dataset| dataset.index.blocks().peekable()).collect();
        while let Some(digest) = directories.iter_mut().filter_map(|blocks| Some(blocks.peek()?.digest)).min()
        {
            let begin = all.members.len();
            for (dataset, blocks) in directories.iter_mut().enumerate() {
                if let Some(block) = blocks.next_if(|block| block.digest == digest) {
                    all.members.push(Member { dataset, span: block.span });
                }
            }
            all.add_block(begin);
        }
        all
    }

    fn add_block(&mut self, begin: usize) {
        let end = self.members.len();
        if end - begin < 2 {
            self.members.truncate(begin);
            return;
        }
        for member in begin..end - 1 {
            let partners =
                self.members[member + 1..end].iter().map(|other| u64::from(other.span.count())).sum();
            let count = u64::from(self.members[member].span.count());
            let (units, comparisons, block) = (self.units, self.comparisons, self.blocks);
            self.cells.push(Cell { member, end, units, comparisons, partners, block });
            self.units += count;
            self.comparisons = self.comparisons.saturating_add(count.saturating_mul(partners));
        }
        self.blocks += 1;
    }

    /// Returns the number of units that take about `budget` comparisons; at least a few.
    fn affordable(&self, budget: u64) -> u64 {
        let share = budget as f64 / self.comparisons.max(1) as f64;
        ((self.units as f64 * share) as u64).clamp(64.min(self.units), self.units)
    }

    /// Returns the cell that contains a unit.
    fn cell(&self, unit: u64) -> &Cell {
        &self.cells[self.cells.partition_point(|cell| cell.units <= unit) - 1]
    }

    /// Draws pairs uniformly from all comparisons.
    fn draw_pairs(
        &self,
        datasets: &[Dataset<'_>],
        draw: &mut Draw,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Vec<Hit>, Error> {
        let mut pairs = Vec::new();
        for number in 0..PAIRS_DRAWN {
            let at = draw.below(self.comparisons);
            let cell = &self.cells[self.cells.partition_point(|cell| cell.comparisons <= at) - 1];
            let within = at - cell.comparisons;
            let (left, mut right) = (within / cell.partners, within % cell.partners);
            let mut other = cell.member + 1;
            while right >= u64::from(self.members[other].span.count()) {
                right -= u64::from(self.members[other].span.count());
                other += 1;
            }
            let members = [&self.members[cell.member], &self.members[other]];
            let records = [record(datasets, members[0], left)?, record(datasets, members[1], right)?];
            let sides = [members[0].dataset, members[1].dataset];
            let score = score(datasets[sides[0]].row(records[0])?, datasets[sides[1]].row(records[1])?);
            pairs.push(Hit { unit: cell.units + left, score, datasets: sides, records });
            // The first 2,048 pairs are drawn even if time is up: the floor depends on them.
            if number.is_multiple_of(256) && number >= 2_048 && !goes_on() {
                break;
            }
        }
        Ok(pairs)
    }

    /// Compares each of these units, in ascending order, with its partners.
    fn compare(
        &self,
        datasets: &[Dataset<'_>],
        units: &[u64],
        floor: f64,
        compared: &mut u64,
    ) -> Result<Vec<Hit>, Error> {
        let threshold =
            Threshold::new(floor).map_err(|_| Error::Malformed("the floor is not a threshold"))?;
        let mut hits = Vec::new();
        let mut rest = units;
        while let Some(first) = rest.first() {
            let cell = self.cell(*first);
            let member = &self.members[cell.member];
            let end = cell.units + u64::from(member.span.count());
            let (here, behind) = rest.split_at(rest.partition_point(|unit| *unit < end));
            rest = behind;
            let rows = datasets[member.dataset].index.rows(member.span)?;
            let left: Vec<u32> = here.iter().map(|unit| rows.get((unit - cell.units) as usize)).collect();
            for other in &self.members[cell.member + 1..cell.end] {
                *compared += left.len() as u64 * u64::from(other.span.count());
                let pair = [member.dataset, other.dataset];
                let mut hit = |at: usize, record: u32, score: f64| {
                    hits.push(Hit { unit: here[at], score, datasets: pair, records: [left[at], record] });
                };
                compare_block(datasets, pair, &left, other.span, threshold, &mut hit)?;
            }
        }
        Ok(hits)
    }

    /// Returns, for each hit, the number of blocks in which the run compares the pair.
    fn shares(&self, datasets: &[Dataset<'_>], hits: &[Hit]) -> Result<Vec<f64>, Error> {
        if self.blocks < 2 {
            return Ok(vec![1.0; hits.len()]);
        }
        let mut blocks: HashMap<(usize, u32), Vec<u32>> = HashMap::new();
        for hit in hits {
            for side in 0..2 {
                blocks.entry((hit.datasets[side], hit.records[side])).or_default();
            }
        }
        let mut seen = usize::MAX;
        for cell in &self.cells {
            // The cells of a block have the same end.
            if cell.end == seen {
                continue;
            }
            seen = cell.end;
            for member in &self.members[cell.member..cell.end] {
                for record in datasets[member.dataset].index.rows(member.span)?.iter() {
                    if let Some(found) = blocks.get_mut(&(member.dataset, record)) {
                        found.push(cell.block);
                    }
                }
            }
        }
        let empty = Vec::new();
        let of = |dataset, record| blocks.get(&(dataset, record)).unwrap_or(&empty);
        let common = |hit: &Hit| {
            let (a, b) = (of(hit.datasets[0], hit.records[0]), of(hit.datasets[1], hit.records[1]));
            a.iter().filter(|block| b.binary_search(block).is_ok()).count().max(1) as f64
        };
        Ok(hits.iter().map(common).collect())
    }
}

/// Compares the records `left` of a dataset with those in `span` of another, and calls `hit` with each hit: the index
/// in `left`, the other record, and their score.
fn compare_block(
    datasets: &[Dataset<'_>],
    [a, b]: [usize; 2],
    left: &[u32],
    span: Span,
    threshold: Threshold,
    hit: &mut dyn FnMut(usize, u32, f64),
) -> Result<(), Error> {
    let (a, b) = (&datasets[a], &datasets[b]);
    let partners = b.index.rows(span)?;
    if left.len() * partners.len() < SEARCH_MIN {
        for (at, record) in left.iter().enumerate() {
            for partner in partners.iter() {
                let score = score(a.row(*record)?, b.row(partner)?);
                if score >= threshold.get() {
                    hit(at, partner, score);
                }
            }
        }
        return Ok(());
    }
    let bytes = a.index.header().encoding_bytes as usize;
    let ids: Vec<u8> = left.iter().flat_map(|record| record.to_le_bytes()).collect();
    let rows = Rows::listed(a.matrix, bytes, &ids)?;
    let size = b.index.header().encoding_bytes as usize;
    let others = match &partners {
        RowIds::Dense(range) => Rows::range(b.matrix, size, range.clone())?,
        RowIds::Listed(ids) => Rows::listed(b.matrix, size, ids.as_flattened())?,
    };
    for found in search(&rows, &others, threshold, u64::MAX)? {
        hit(found.left as usize, others.record(found.right as usize), found.score);
    }
    Ok(())
}

impl Dataset<'_> {
    fn row(&self, record: u32) -> Result<&[u8], Error> {
        let bytes = self.index.header().encoding_bytes as usize;
        let start = record as usize * bytes;
        let records = self.index.header().records as usize;
        self.matrix.get(start..start + bytes).ok_or(Error::NoSuchRecord { record, records })
    }
}

fn record(datasets: &[Dataset<'_>], member: &Member, at: u64) -> Result<u32, Error> {
    Ok(datasets[member.dataset].index.rows(member.span)?.get(at as usize))
}

fn score(a: &[u8], b: &[u8]) -> f64 {
    dice::score(dice::common_bits(a, b), dice::popcount(a) + dice::popcount(b))
}

/// The counts of a sample.
struct Sample {
    thresholds: Vec<f64>,
    floor: f64,
    units: u64,
    compared: u64,
    classes: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// The number of units with pairs.
    holders: Vec<u64>,
}

impl Sample {
    fn new(thresholds: &[Threshold], floor: f64) -> Self {
        let level = |number| floor + (1.0 - floor) * number as f64 / LEVELS as f64;
        let asked = thresholds.iter().map(|threshold| threshold.get());
        let thresholds: Vec<f64> = asked.chain((0..LEVELS).map(level)).collect();
        let zeros = vec![0.0; thresholds.len()];
        Self {
            floor,
            units: 0,
            compared: 0,
            classes: vec![0.0; CLASSES],
            sums: zeros.clone(),
            squares: zeros,
            holders: vec![0; thresholds.len()],
            thresholds,
        }
    }

    /// Counts the hits of these units. A pair that is compared in several blocks counts as a fraction in each.
    fn count(&mut self, units: &[u64], hits: &[Hit], shares: &[f64], datasets: &[Dataset<'_>]) {
        self.units += units.len() as u64;
        let mut of_unit: HashMap<u64, Vec<f64>> = HashMap::new();
        for (hit, share) in hits.iter().zip(shares) {
            self.classes[class_of(hit.score)] += 1.0;
            let counts = of_unit.entry(hit.unit).or_insert_with(|| vec![0.0; self.thresholds.len()]);
            for (at, threshold) in self.thresholds.iter().enumerate() {
                if *threshold >= self.floor && is_candidate(hit, *threshold, datasets) {
                    counts[at] += 1.0 / share;
                }
            }
        }
        for counts in of_unit.values() {
            for (at, count) in counts.iter().enumerate() {
                self.sums[at] += count;
                self.squares[at] += count * count;
                self.holders[at] += u64::from(*count > 0.0);
            }
        }
    }

    /// Returns the estimate at a threshold and its interval, for a population of this many units.
    fn estimate(&self, at: usize, population: u64) -> [f64; 3] {
        let (sum, units) = (self.sums[at], self.units as f64);
        if self.units == population {
            // The fractions of a pair add up to one.
            let pairs = sum.round();
            return [pairs, pairs, pairs];
        }
        let left_out = 1.0 - units / population as f64;
        let known = |at: &usize| self.holders[*at] >= UNITS_ENOUGH;
        let mut dispersion = self.dispersion(at);
        if !known(&at) {
            let below = |level: &usize| self.thresholds[*level] < self.thresholds[at];
            let nearest = (0..self.thresholds.len())
                .filter(below)
                .filter(known)
                .max_by(|a, b| self.thresholds[*a].total_cmp(&self.thresholds[*b]));
            dispersion = nearest.map_or(1.0, |level| self.dispersion(level)).max(dispersion).max(1.0);
        }
        scaled(sum, dispersion * left_out, population as f64 / units)
    }

    /// Returns the variance of the pairs of a unit, divided by their mean.
    fn dispersion(&self, at: usize) -> f64 {
        let (sum, units) = (self.sums[at], self.units as f64);
        let mean = sum / units;
        let variance = (self.squares[at] - sum * mean) / (units - 1.0).max(1.0);
        if mean > 0.0 { (variance / mean).max(0.0) } else { 1.0 }
    }
}

/// Returns true if a run would find the pair. If the score equals the threshold, the popcount pre-filter decides.
#[expect(clippy::float_cmp, reason = "only scores exactly on the threshold are in doubt")]
fn is_candidate(hit: &Hit, threshold: f64, datasets: &[Dataset<'_>]) -> bool {
    if hit.score != threshold {
        return hit.score > threshold;
    }
    let row = |side: usize| datasets[hit.datasets[side]].row(hit.records[side]);
    let (Ok(a), Ok(b), Ok(threshold)) = (row(0), row(1), Threshold::new(threshold)) else { return false };
    dice::candidate(dice::common_bits(a, b), dice::popcount(a), dice::popcount(b), threshold).is_some()
}

/// Draws random numbers.
struct Draw(ChaCha20Rng);

impl Draw {
    /// Returns a number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2⁻⁶⁴.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns `count` different numbers below `bound`, or all of them, in random order: each part of the list is a
    /// sample, too.
    fn distinct(&mut self, count: u64, bound: u64) -> Vec<u64> {
        let count = count.min(bound);
        if count > bound / 4 {
            let mut all: Vec<u64> = (0..bound).collect();
            for at in 0..count {
                let other = at + self.below(bound - at);
                all.swap(at as usize, other as usize);
            }
            all.truncate(count as usize);
            return all;
        }
        let mut seen = HashSet::new();
        let mut drawn = Vec::with_capacity(count as usize);
        while (drawn.len() as u64) < count {
            let number = self.below(bound);
            if seen.insert(number) {
                drawn.push(number);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use super::*;
    use crate::encoding::block::{self, Entry};
    use crate::encoding::layout;
    use crate::scratch::Memory;

    const BYTES: u32 = 32;

    /// Returns encodings of people for two lists. Some of the second list are encodings of the first with a few bits
    /// changed.
    fn people(count: usize, seed: u8) -> [Vec<u8>; 2] {
        let mut draw = Draw(ChaCha20Rng::from_seed([seed; 32]));
        let mut left = vec![0; count * BYTES as usize];
        left.iter_mut().for_each(|byte| *byte = ((draw.below(256) & draw.below(256)) | draw.below(64)) as u8);
        let mut right = left.clone();
        for (record, row) in right.chunks_mut(BYTES as usize).enumerate() {
            let changes = if record % 2 == 0 { draw.below(30) } else { 200 };
            for _ in 0..changes {
                row[draw.below(u64::from(BYTES)) as usize] ^= 1 << draw.below(8);
            }
        }
        [left, right]
    }

    /// Builds the index of a matrix whose records are in these blocks; without blocks if there are none.
    fn built(matrix: &[u8], encoding_bytes: u32, blocks: &[(u32, &str)]) -> Vec<u8> {
        let entry =
            |(record, name): &(u32, &str)| Entry { block: block::digest(name), record: *record }.to_bytes();
        let entries: Vec<u8> = blocks.iter().flat_map(entry).collect();
        let records = matrix.len() as u32 / encoding_bytes;
        let entries = (!blocks.is_empty()).then_some(std::io::Cursor::new(entries));
        let mut out = Vec::new();
        layout::build(
            layout::Dataset { upload: 0, records, encoding_bytes, matrix, entries },
            &Memory,
            &mut out,
        )
        .unwrap();
        out
    }

    fn threshold(value: f64) -> Threshold {
        Threshold::new(value).unwrap()
    }

    fn truth(left: &[u8], right: &[u8], threshold: Threshold) -> u64 {
        let rows = |matrix| Rows::all(matrix, BYTES as usize).unwrap();
        search(&rows(left), &rows(right), threshold, u64::MAX).unwrap().len() as u64
    }

    fn datasets<'a>(matrices: [&'a [u8]; 2], indexes: &'a [Vec<u8>; 2]) -> Vec<Dataset<'a>> {
        let parsed = |(matrix, index): (&'a [u8], &'a Vec<u8>)| Dataset {
            matrix,
            index: Index::parse(index).unwrap(),
        };
        matrices.into_iter().zip(indexes).map(parsed).collect()
    }

    #[test]
    fn a_small_run_is_forecast_exactly() {
        let [left, right] = people(300, 1);
        let indexes = [built(&left, BYTES, &[]), built(&right, BYTES, &[])];
        let datasets = datasets([&left, &right], &indexes);
        let thresholds = [0.5, 0.75, 0.8, 0.95, 1.0].map(threshold);
        let forecast = forecast(&datasets, &thresholds, 1, [0; 32], &|| false).unwrap();
        assert!(forecast.is_exact && forecast.comparisons == 90_000 && forecast.compared == 90_000);
        for estimate in &forecast.estimates {
            let truth = truth(&left, &right, estimate.threshold);
            assert_eq!(
                [estimate.pairs, estimate.interval[0], estimate.interval[1]].map(|end| end as u64),
                [truth; 3]
            );
        }
        let total: f64 = forecast.histogram.iter().sum();
        assert!((total - 90_000.0).abs() < 0.5, "{total}");
    }

    #[test]
    fn a_pair_in_several_blocks_counts_once() {
        let [left, right] = people(60, 2);
        let blocks: Vec<(u32, &str)> =
            (0..60).flat_map(|record| [(record, "all"), (record, "again")]).collect();
        let indexes = [built(&left, BYTES, &blocks), built(&right, BYTES, &blocks)];
        let datasets = datasets([&left, &right], &indexes);
        let forecast = forecast(&datasets, &[threshold(0.8)], 1, [0; 32], &|| true).unwrap();
        assert_eq!(forecast.comparisons, 7_200);
        assert_eq!(forecast.estimates[0].pairs as u64, truth(&left, &right, threshold(0.8)));
    }

    #[test]
    fn a_sample_that_time_ends_is_not_the_beginning_of_the_data() {
        let [left, mut right] = people(2_000, 4);
        // Only the first records have partners.
        let rest = right.split_off(right.len() / 4);
        right.extend(rest.iter().map(|byte| !byte));
        let indexes = [built(&left, BYTES, &[]), built(&right, BYTES, &[])];
        let datasets = datasets([&left, &right], &indexes);
        let truth = truth(&left, &right, threshold(0.9)) as f64;
        let estimates: Vec<Estimate> = (0..20)
            .map(|seed| {
                let made = forecast(&datasets, &[threshold(0.9)], u64::MAX, [seed; 32], &|| false).unwrap();
                assert!(!made.is_exact);
                made.estimates[0]
            })
            .collect();
        let holds = |one: &&Estimate| one.interval[0] <= truth && truth <= one.interval[1];
        assert!(estimates.iter().filter(holds).count() >= 16, "{truth}: {estimates:?}");
    }

    #[test]
    fn a_pair_in_several_blocks_counts_once_below_the_floor() {
        let [left, right] = people(2_000, 5);
        let blocks: Vec<(u32, &str)> =
            (0..2_000).flat_map(|record| [(record, "all"), (record, "again")]).collect();
        let indexes = [built(&left, BYTES, &blocks), built(&right, BYTES, &blocks)];
        let datasets = datasets([&left, &right], &indexes);
        let thresholds = [threshold(0.4), threshold(0.405)];
        let truths = thresholds.map(|threshold| truth(&left, &right, threshold) as f64);
        let mut held = [0; 2];
        for seed in 0..20 {
            let made = forecast(&datasets, &thresholds, u64::MAX, [seed; 32], &|| false).unwrap();
            for (at, (estimate, truth)) in made.estimates.iter().zip(truths).enumerate() {
                held[at] += i32::from(estimate.interval[0] <= truth && truth <= estimate.interval[1]);
            }
        }
        assert!(held.iter().all(|held| *held >= 16), "{truths:?}: {held:?}");
    }

    #[test]
    fn the_interval_of_pairs_in_few_records_holds_the_truth() {
        let [[left, _], [right, _]] = [6, 7].map(|seed| people(2_000, seed));
        // In each list, two encodings have twelve copies each, and more that differ a little.
        let copied = |rows: &[u8], changes: usize| {
            let mut draw = Draw(ChaCha20Rng::from_seed([changes as u8; 32]));
            let mut rows = rows.to_vec();
            for record in 0..400_usize {
                let from = record % 2 * BYTES as usize;
                let row: Vec<u8> = rows[from..from + BYTES as usize].to_vec();
                let to = record * BYTES as usize;
                rows[to..to + BYTES as usize].copy_from_slice(&row);
                for _ in 0..if record < 24 { 0 } else { changes } {
                    rows[to + draw.below(u64::from(BYTES)) as usize] ^= 1 << draw.below(8);
                }
            }
            rows
        };
        let left = copied(&left, 10);
        let first = &left[..2 * BYTES as usize];
        let right = copied(&[first, &right[first.len()..]].concat(), 11);
        let indexes = [built(&left, BYTES, &[]), built(&right, BYTES, &[])];
        let datasets = datasets([&left, &right], &indexes);
        let thresholds = [threshold(0.99)];
        let truth = truth(&left, &right, thresholds[0]) as f64;
        assert!((288.0..300.0).contains(&truth), "{truth}");
        let mut held = 0;
        for seed in 0..40 {
            let calls = Counter::new(0);
            let goes_on = || calls.replace(calls.get() + 1) > 0;
            let made = forecast(&datasets, &thresholds, 200_000, [seed; 32], &goes_on).unwrap();
            let [low, high] = made.estimates[0].interval;
            held += i32::from(low <= truth && truth <= high);
        }
        assert!(held >= 36, "{held} of 40 hold {truth}");
    }

    #[test]
    fn the_interval_of_a_sample_holds_the_truth_nineteen_times_of_twenty() {
        let [left, right] = people(2_000, 3);
        let indexes = [built(&left, BYTES, &[]), built(&right, BYTES, &[])];
        let datasets = datasets([&left, &right], &indexes);
        let thresholds = [0.8, 0.9, 0.95].map(threshold);
        let truths = thresholds.map(|threshold| truth(&left, &right, threshold) as f64);
        let (mut held, mut all) = (0, 0);
        for seed in 0..40 {
            let calls = Counter::new(0);
            // Time for a few drawn pairs, and for all rounds.
            let goes_on = || calls.replace(calls.get() + 1) > 0;
            let forecast = forecast(&datasets, &thresholds, 600_000, [seed; 32], &goes_on).unwrap();
            assert!(!forecast.is_exact && forecast.comparisons == 4_000_000);
            for (estimate, truth) in forecast.estimates.iter().zip(truths) {
                all += 1;
                held += i32::from(estimate.interval[0] <= truth && truth <= estimate.interval[1]);
            }
        }
        assert!(held * 100 >= all * 90, "{held} of {all}");
    }
}

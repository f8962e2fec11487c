//! Finalize jobs: make the result of a run from its candidate pairs.

use std::io;
use std::sync::Arc;

use linkage::pairs::{self, Pair, limited, merge_runs};
use linkage::solver::{self, Groups, Permutations, solve};

use crate::coordinator::Secret;
use crate::model::{Checksum, ProjectId, ResultType, RunId, Seed, Summary};
use crate::objects::{Key, Objects, Staged, keys};
use crate::runtime::compute;
use crate::system::open_files;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::cancellable_io::Cancellable;
use crate::worker::checksummed::{ChecksumReader, ChecksumWriter};
use crate::worker::context::JobContext;
use crate::worker::opened_ahead::OpenedAhead;

/// The candidate pairs of a run.
#[derive(Debug)]
pub(super) struct CandidatePairs {
    /// The place of the pairs.
    pub(super) source: PairSource,
    /// The maximum number of pairs that the solver accepts.
    pub(super) solver_max: u64,
}

/// The place of a run's candidate pairs.
#[derive(Debug)]
pub(super) enum PairSource {
    /// Objects, one for each of this number of parts.
    Stored(u32),
    /// A pair file in memory.
    Memory(Vec<u8>),
}

/// Merges the pairs of all parts as a stream, solves, and publishes the result in the form that clients receive.
///
/// Takes 4 bytes of memory for each record, and the memory of the solver; pairs are not in memory. The scores within groups,
/// if wanted, take 4 bytes more for each record and a second merge. The same pairs and seed give the same bytes.
pub(super) async fn work(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    run: RunId,
    (result_type, with_scores): (ResultType, bool),
    records: &[u32],
    pairs: CandidatePairs,
) -> Result<Summary, Error> {
    let scores_as_file = makes_score_files(context);
    let (objects, active_job) = (context.objects.clone(), Arc::clone(active));
    let task = FinalizeTask { objects, active: active_job, run, pairs, scores_as_file, with_scores };
    let records = records.to_vec();
    let made = compute::run_blocking(move || task.make(result_type, &records)).await;
    let Made { pairs, groups, results } = made.map_err(|text| Error::panicked(&text))??;
    let Results { objects, checksums } = results;
    context.publish(active, objects).await?;
    Ok(Summary { pairs, groups, checksums })
}

/// Returns true if scores are also stored as a file for downloads, which is possible only if there is an upload bucket.
pub(super) fn makes_score_files(context: &JobContext) -> bool {
    context.client_files.bucket.is_some()
}

struct Made {
    pairs: u64,
    groups: u64,
    results: Results,
}

/// A file of a result, whose checksum is computed as it is written.
type Out = ChecksumWriter<Cancellable<Staged>>;

/// The files of a result, which will become objects, with their checksums.
#[derive(Default)]
struct Results {
    objects: Vec<(Key, Staged)>,
    checksums: Vec<Checksum>,
}

impl Results {
    fn add(&mut self, key: Key, out: Out) {
        let (out, bytes, crc32) = out.into_parts();
        self.checksums.push(Checksum { object: key.name().to_owned(), bytes, crc32 });
        self.objects.push((key, out.into_inner()));
    }
}

/// The inputs of a finalize job.
struct FinalizeTask {
    objects: Objects,
    active: Arc<ActiveJob>,
    run: RunId,
    pairs: CandidatePairs,
    scores_as_file: bool,
    with_scores: bool,
}

impl FinalizeTask {
    fn project(&self) -> ProjectId {
        self.active.job().project
    }

    fn make(&self, result_type: ResultType, records: &[u32]) -> Result<Made, Error> {
        match result_type {
            ResultType::SimilarityScores => self.scores(),
            ResultType::Groups => self.groups(records),
            ResultType::Permutations => self.permutations(records),
        }
    }

    fn scores(&self) -> Result<Made, Error> {
        let mut out = self.stage();
        let mut file = if self.scores_as_file { Some(pairs::Writer::new(self.stage())) } else { None };
        let kept = self.merged()?.map(|pair| {
            let pair = pair?;
            file.as_mut().map_or(Ok(()), |file| file.push(&pair))?;
            Ok(pair)
        });
        let pairs = solver::write_scores(kept, &mut out)?;
        let mut results = Results::default();
        results.add(keys::scores(self.project(), self.run), out);
        if let Some(file) = file {
            results.add(keys::score_file(self.run), file.finish()?.0);
        }
        Ok(Made { pairs, groups: 0, results })
    }

    fn groups(&self, records: &[u32]) -> Result<Made, Error> {
        let (solved, pairs, groups) = self.solve(records)?;
        let (mut out, mut results) = (self.stage(), Results::default());
        solver::write_groups(&solved, &mut out)?;
        results.add(keys::groups(self.project(), self.run), out);
        if self.with_scores {
            let (mut out, scratch) = (self.stage(), Cancellable::new(self.objects.clone(), &self.active));
            solver::write_groups_with_scores(&solved, self.merged()?, &scratch, &mut out)?;
            results.add(keys::groups_with_scores(self.project(), self.run), out);
        }
        Ok(Made { pairs, groups, results })
    }

    fn permutations(&self, records: &[u32]) -> Result<Made, Error> {
        let (solved, pairs, groups) = self.solve(records)?;
        let permutations = Permutations::draw(&solved, *self.seed()?.reveal());
        drop(solved);
        let mut results = Results::default();
        for (party, permutation) in (0..).zip(&permutations.of_party) {
            let mut out = self.stage();
            solver::write_permutation(permutation, permutations.rows(), &mut out)?;
            results.add(keys::permutation(self.project(), self.run, party), out);
        }
        let mut out = self.stage();
        solver::write_mask(&permutations.mask, &mut out)?;
        results.add(keys::mask(self.project(), self.run), out);
        Ok(Made { pairs, groups, results })
    }

    fn seed(&self) -> Result<&Seed, Error> {
        match &self.active.assignment.secret {
            Some(Secret::Seed(seed)) => Ok(seed),
            _ => Err(Error::failed("the job came without the seed of its permutations")),
        }
    }

    /// Returns the groups, the number of pairs, and the number of groups.
    fn solve(&self, records: &[u32]) -> Result<(Groups, u64, u64), Error> {
        let mut pairs = 0;
        let counted =
            limited(self.merged()?, self.pairs.solver_max).inspect(|pair| pairs += u64::from(pair.is_ok()));
        let groups = solve(records, counted)?;
        let mut found = 0;
        groups.try_for_each(|_| {
            found += 1;
            Ok::<_, Error>(())
        })?;
        Ok((groups, pairs, found))
    }

    /// Returns the pairs of all parts in order, each once. Each part is opened when its pairs are needed; parts of a remote
    /// store are fetched several at once.
    fn merged(&self) -> Result<impl Iterator<Item = Result<Pair, pairs::Error>>, Error> {
        let open = |part| -> io::Result<pairs::Run<'_>> {
            let key = keys::pairs(self.project(), self.run, part);
            let file = self.objects.read(&key).map_err(io::Error::other)?;
            Ok(Box::new(ChecksumReader::new(Cancellable::new(file, &self.active), key)))
        };
        let at_once = if self.objects.are_local() { 1 } else { open_files::opened_at_once() };
        let scratch = Cancellable::new(self.objects.clone(), &self.active);
        let merged = match &self.pairs.source {
            PairSource::Stored(parts) => merge_runs(OpenedAhead::new(*parts, at_once, open), &scratch),
            PairSource::Memory(bytes) => {
                let run: pairs::Run<'_> = Box::new(Cancellable::new(bytes.as_slice(), &self.active));
                merge_runs([Ok(run)], &scratch)
            }
        };
        Ok(merged?)
    }

    fn stage(&self) -> Out {
        ChecksumWriter::new(Cancellable::new(self.objects.stage(), &self.active))
    }
}

//! A run's candidate pairs become its result.

use std::io;
use std::sync::Arc;

use super::Error;
use super::hold::Hold;
use super::lease::panicked;
use super::seal::Unsealing;
use super::shop::Shop;
use super::watched::Watched;
use crate::coordinator::Secret;
use crate::linkage::pairs::{self, Pair, limited, merge_runs};
use crate::linkage::solver::{self, Groups, Permutations, solve};
use crate::model::{Outcome, ProjectId, ResultType, RunId, Seed, Summary};
use crate::objects::{Key, Objects, Staged, keys};
use crate::runtime::compute;

/// The candidate pairs of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct CandidatePairs {
    /// How many parts they are in.
    pub(super) parts: u32,
    /// How many the solver takes.
    pub(super) solver_max: u64,
}

/// Merges the pairs of all parts as a stream, solves, and publishes the result ready to be sent.
///
/// Memory: 4 bytes a record and what the solver keeps; pairs are never held. The same pairs and seed make
/// the same bytes.
pub(super) async fn work(
    shop: &Shop,
    hold: &Arc<Hold>,
    run: RunId,
    result_type: ResultType,
    records: &[u32],
    pairs: CandidatePairs,
) -> Result<Outcome, Error> {
    let desk = Desk { objects: shop.objects.clone(), hold: Arc::clone(hold), run, pairs };
    let records = records.to_vec();
    let made = compute::aside(move || desk.make(result_type, &records)).await;
    let Made { summary, objects } = made.map_err(|text| panicked(&text))??;
    shop.publish(hold, objects).await?;
    Ok(Outcome::Finalized(summary))
}

struct Made {
    summary: Summary,
    objects: Vec<(Key, Staged)>,
}

/// Where a result is made.
struct Desk {
    objects: Objects,
    hold: Arc<Hold>,
    run: RunId,
    pairs: CandidatePairs,
}

impl Desk {
    fn project(&self) -> ProjectId {
        self.hold.job().project
    }

    fn make(&self, result_type: ResultType, records: &[u32]) -> Result<Made, Error> {
        match result_type {
            ResultType::SimilarityScores => self.scores(),
            ResultType::Groups => self.groups(records),
            ResultType::Permutations => self.permutations(records),
        }
    }

    fn scores(&self) -> Result<Made, Error> {
        let mut out = self.stage()?;
        // Only where somebody can fetch it.
        let mut file = match self.objects.uploads() {
            Some(_) => Some(pairs::Writer::new(self.stage()?)),
            None => None,
        };
        let kept = self.merged()?.map(|pair| {
            let pair = pair?;
            file.as_mut().map_or(Ok(()), |file| file.push(&pair))?;
            Ok(pair)
        });
        let pairs = solver::write_scores(kept, &mut out)?;
        let mut objects = vec![(keys::scores(self.project(), self.run), out.into_inner())];
        if let Some(file) = file {
            objects.push((keys::score_file(self.run), file.finish()?.0.into_inner()));
        }
        Ok(Made { summary: Summary { pairs, groups: 0 }, objects })
    }

    fn groups(&self, records: &[u32]) -> Result<Made, Error> {
        let (groups, summary) = self.solve(records)?;
        let mut out = self.stage()?;
        solver::write_groups(&groups, &mut out)?;
        let objects = vec![(keys::groups(self.project(), self.run), out.into_inner())];
        Ok(Made { summary, objects })
    }

    fn permutations(&self, records: &[u32]) -> Result<Made, Error> {
        let (groups, summary) = self.solve(records)?;
        let permutations = Permutations::draw(&groups, *self.seed()?.reveal());
        drop(groups);
        let mut objects = Vec::new();
        for (party, permutation) in (0..).zip(&permutations.of_party) {
            let mut out = self.stage()?;
            solver::write_permutation(permutation, permutations.rows(), &mut out)?;
            objects.push((keys::permutation(self.project(), self.run, party), out.into_inner()));
        }
        let mut out = self.stage()?;
        solver::write_mask(&permutations.mask, &mut out)?;
        objects.push((keys::mask(self.project(), self.run), out.into_inner()));
        Ok(Made { summary, objects })
    }

    fn seed(&self) -> Result<&Seed, Error> {
        match &self.hold.assignment.secret {
            Some(Secret::Seed(seed)) => Ok(seed),
            _ => Err(Error::Failed("the job came without the seed of its permutations".to_owned())),
        }
    }

    fn solve(&self, records: &[u32]) -> Result<(Groups, Summary), Error> {
        let mut pairs = 0;
        let counted =
            limited(self.merged()?, self.pairs.solver_max).inspect(|pair| pairs += u64::from(pair.is_ok()));
        let groups = solve(records, counted)?;
        let mut found = 0;
        groups.try_for_each(|_| {
            found += 1;
            Ok::<_, Error>(())
        })?;
        Ok((groups, Summary { pairs, groups: found }))
    }

    /// The pairs of all parts in order, each once. Each part is opened when its turn comes.
    fn merged(&self) -> Result<impl Iterator<Item = Result<Pair, pairs::Error>>, Error> {
        let open = |part| -> io::Result<pairs::Run<'_>> {
            let key = keys::pairs(self.project(), self.run, part);
            let file = self.objects.read(&key).map_err(io::Error::other)?;
            Ok(Box::new(Unsealing::new(Watched::new(file, &self.hold), key)))
        };
        Ok(merge_runs((0..self.pairs.parts).map(open), &Watched::new(self.objects.clone(), &self.hold))?)
    }

    fn stage(&self) -> Result<Watched<Staged>, Error> {
        Ok(Watched::new(self.objects.stage()?, &self.hold))
    }
}

//! Merges sorted runs into one stream without duplicates, in bounded memory.

use std::io::{self, Read, Write};

use super::{Error, Pair, Reader, Version, Writer};
use crate::scratch::{Scratch, ScratchFile};

/// The bytes of a sorted run, as a pair file.
pub type Run<'a> = Box<dyn Read + Send + 'a>;

/// Merges any number of runs, each with a buffer of about 48 KiB. If there are at least
/// [`Scratch::merged_at_once`] runs, intermediate runs are written to `scratch`. At most twice that number of files are
/// open, and memory does not grow with the number of runs or pairs.
///
/// `runs` is advanced only when the next run is about to be read.
///
/// # Errors
/// [`Error::Read`], [`Error::Malformed`] and, for intermediate runs, [`Error::Write`]. The stream may return the same
/// errors, and ends after an error.
pub fn merge_runs<'a>(
    runs: impl IntoIterator<Item = io::Result<Run<'a>>>,
    scratch: &dyn Scratch,
) -> Result<Merge<Reader<Run<'a>>>, Error> {
    let mut runs = runs.into_iter().fuse();
    let fan_in = scratch.merged_at_once();
    let mut merged: Vec<Box<dyn ScratchFile>> = Vec::new();
    loop {
        let batch = open_some(&mut runs, fan_in)?;
        if batch.len() < fan_in && merged.is_empty() {
            return Merge::new(batch);
        }
        if !batch.is_empty() {
            merged.push(spill(Merge::new(batch)?, scratch)?);
            if merged.len() < fan_in {
                continue;
            }
        }
        let readers = merged.drain(..).map(|file| Reader::open(Box::new(file) as Run<'a>));
        let all = Merge::new(readers.collect::<Result<_, _>>()?)?;
        match runs.next() {
            None => return Ok(all),
            Some(run) => {
                merged.push(spill(all, scratch)?);
                merged.push(spill(Merge::new(vec![open(run)?])?, scratch)?);
            }
        }
    }
}

fn open(run: io::Result<Run<'_>>) -> Result<Reader<Run<'_>>, Error> {
    run.map_err(Error::Read).and_then(Reader::open)
}

fn open_some<'a>(
    runs: &mut impl Iterator<Item = io::Result<Run<'a>>>,
    fan_in: usize,
) -> Result<Vec<Reader<Run<'a>>>, Error> {
    runs.take(fan_in).map(open).collect()
}

fn spill(
    pairs: impl Iterator<Item = Result<Pair, Error>>,
    scratch: &dyn Scratch,
) -> Result<Box<dyn ScratchFile>, Error> {
    let mut file = scratch.file().map_err(Error::Write)?;
    copy(pairs, Version::Dense, &mut file)?;
    file.rewind().map_err(Error::Write)?;
    Ok(file)
}

/// The pairs of several sorted sources in order, each once. Ends after the first error.
///
/// A loser tree: log2(sources) comparisons for each pair.
#[derive(Debug)]
pub struct Merge<S> {
    sources: Vec<S>,
    /// The next pair of each source; `None` at its end.
    heads: Vec<Option<Pair>>,
    /// `losers[node]`: the source that lost the match at `node`; node 1 is the root, 0 unused.
    losers: Vec<usize>,
    winner: usize,
    last: Option<Pair>,
    ended: bool,
}

impl<S: Iterator<Item = Result<Pair, Error>>> Merge<S> {
    /// Merges these sources, each of which is sorted.
    ///
    /// # Errors
    /// The error of a source that fails to return its first pair.
    pub fn new(mut sources: Vec<S>) -> Result<Self, Error> {
        let heads = sources.iter_mut().map(|source| source.next().transpose()).collect::<Result<_, _>>()?;
        let losers = vec![0; sources.len()];
        let ended = sources.is_empty();
        let mut merge = Self { sources, heads, losers, winner: 0, last: None, ended };
        merge.play_all();
        Ok(merge)
    }

    fn play_all(&mut self) {
        let count = self.sources.len();
        // Leaves are the nodes from `count` on.
        let mut winners: Vec<usize> = (0..2 * count).map(|node| node.saturating_sub(count)).collect();
        for node in (1..count).rev() {
            let (left, right) = (winners[2 * node], winners[2 * node + 1]);
            let right_wins = self.beats(right, left);
            winners[node] = if right_wins { right } else { left };
            self.losers[node] = if right_wins { left } else { right };
        }
        self.winner = winners.get(1).copied().unwrap_or(0);
    }

    fn beats(&self, challenger: usize, holder: usize) -> bool {
        match (&self.heads[challenger], &self.heads[holder]) {
            (Some(challenger), Some(holder)) => challenger < holder,
            (challenger, _) => challenger.is_some(),
        }
    }

    /// Takes the smallest head, and replays the matches of its source with the source's next pair.
    fn pop(&mut self) -> Result<Option<Pair>, Error> {
        let mut winner = self.winner;
        let Some(smallest) = self.heads[winner].take() else { return Ok(None) };
        self.heads[winner] = self.sources[winner].next().transpose()?;
        let mut node = usize::midpoint(winner, self.sources.len());
        while node > 0 {
            let loser = self.losers[node];
            if self.beats(loser, winner) {
                self.losers[node] = winner;
                winner = loser;
            }
            node /= 2;
        }
        self.winner = winner;
        Ok(Some(smallest))
    }

    fn next_distinct(&mut self) -> Result<Option<Pair>, Error> {
        while let Some(pair) = self.pop()? {
            match &self.last {
                Some(last) if *last == pair => {}
                Some(last) if *last > pair => return Err(Error::Malformed("its pairs are not sorted")),
                _ => {
                    self.last = Some(pair);
                    return Ok(Some(pair));
                }
            }
        }
        Ok(None)
    }
}

impl<S: Iterator<Item = Result<Pair, Error>>> Iterator for Merge<S> {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_distinct().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Writes `pairs`, in their order, as a pair file and returns their number.
pub(super) fn copy(
    pairs: impl Iterator<Item = Result<Pair, Error>>,
    version: Version,
    out: impl Write,
) -> Result<u64, Error> {
    let mut writer = Writer::of(version, out);
    for pair in pairs {
        writer.push(&pair?)?;
    }
    Ok(writer.finish()?.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pairs::Sorter;
    use crate::scratch::Memory;

    fn few_pairs() -> impl Strategy<Value = Vec<Pair>> {
        let pair = (1..4_u32, 0..2_u32, 0..4_u32, 0..4_u32).prop_map(|(tenths, dataset, a, b)| Pair {
            score: f64::from(tenths) / 10.0,
            datasets: [dataset, 2],
            records: [a, b],
        });
        prop::collection::vec(pair, 0..20)
    }

    fn file(pairs: &[Pair]) -> Vec<u8> {
        written(Version::Plain, pairs)
    }

    fn written(version: Version, pairs: &[Pair]) -> Vec<u8> {
        let mut writer = Writer::of(version, Vec::new());
        for pair in pairs {
            writer.push(pair).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn sorted(mut pairs: Vec<Pair>) -> Vec<Pair> {
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    fn merged(files: &[Vec<u8>]) -> Vec<Pair> {
        let runs = files.iter().map(|file| Ok(Box::new(&file[..]) as Run<'_>));
        merge_runs(runs, &Memory).unwrap().map(Result::unwrap).collect()
    }

    proptest! {
        #[test]
        fn a_merge_is_the_sorted_union(runs in prop::collection::vec(few_pairs(), 0..9)) {
            let versions = [Version::Plain, Version::Dense].into_iter().cycle();
            let files: Vec<_> =
                runs.iter().zip(versions).map(|(run, version)| written(version, &sorted(run.clone()))).collect();
            prop_assert_eq!(merged(&files), sorted(runs.concat()));
        }

        #[test]
        fn a_sorter_gives_the_same_run_however_little_it_holds(pairs in few_pairs(), held in 1..25_usize) {
            let mut sorter = Sorter::new(&Memory, held);
            sorter.take(&mut pairs.clone()).unwrap();
            let mut out = Vec::new();
            let expected = sorted(pairs);
            prop_assert_eq!(sorter.write(Version::Plain, &mut out).unwrap(), expected.len() as u64);
            prop_assert_eq!(out, file(&expected));
        }
    }

    #[test]
    fn more_runs_than_fit_at_once_are_merged_in_rounds() {
        let fan_in = Memory.merged_at_once();
        for count in [fan_in - 1, fan_in, fan_in + 1, fan_in * fan_in, fan_in * fan_in + 1, 20_000] {
            let pair = |record| Pair { score: 0.5, datasets: [0, 1], records: [record, 0] };
            let files: Vec<_> = (0..count as u32).map(|run| file(&[pair(run / 2), pair(70_000)])).collect();
            let mut expected: Vec<_> = (0..count.div_ceil(2) as u32).map(pair).collect();
            expected.push(pair(70_000));
            assert_eq!(merged(&files), expected, "{count} runs");
        }
    }

    #[test]
    fn a_run_that_is_not_sorted_is_noticed() {
        let pair = |score| Pair { score, datasets: [0, 1], records: [0, 0] };
        let bytes = file(&[pair(0.5), pair(0.75)]);
        let mut merge = merge_runs([Ok(Box::new(&bytes[..]) as Run<'_>)], &Memory).unwrap();
        assert!(merge.next().unwrap().is_ok());
        assert!(matches!(merge.next(), Some(Err(Error::Malformed(_)))));
        assert!(merge.next().is_none());
    }
}

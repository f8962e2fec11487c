//! A run: one linkage of a project's datasets at one threshold.

use std::time::Duration;

use linkage::threshold::Threshold;
use serde::{Deserialize, Serialize};

use super::bits::BitSet;
use super::ids::RunId;
use super::seed::Seed;
use crate::runtime::clock::Timestamp;

/// The maximum time between two reports of parts that counts as work.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// One linkage, from the request to the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The identifier of the run.
    pub id: RunId,
    /// The name given by the owner.
    pub name: String,
    /// The notes of the owner.
    pub notes: String,
    /// The minimum score of a candidate pair.
    pub threshold: Threshold,
    /// Set if the result keeps the scores of the pairs within each group.
    pub with_scores: bool,
    /// The time of the request.
    pub added: Timestamp,
    /// The time at which work started.
    pub started: Option<Timestamp>,
    /// The time of the end, successful or not.
    pub ended: Option<Timestamp>,
    /// The end on the retention clock, which may differ from the wall clock; `None` if it was not recorded.
    pub settled: Option<Timestamp>,
    /// The state of the run.
    pub state: RunState,
    /// The progress of the comparisons, once the run is planned.
    pub progress: Option<Progress>,
    /// The seed of the permutations, which exists from planning to completion.
    pub seed: Option<Seed>,
    /// The times at which the stages ended.
    pub times: Times,
}

/// The ends of a run's stages, and the time that its comparisons took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The time at which the data of all parties was complete.
    pub ready: Option<Timestamp>,
    /// The time at which the last part was compared.
    pub compared: Option<Timestamp>,
    /// The time of the latest report: of the plan, or of a part.
    pub latest: Option<Timestamp>,
    /// The time spent on parts, without pauses.
    pub worked: Duration,
}

impl Times {
    /// Records that a part was reported at `at`. A gap longer than [`SILENCE_MAX`] does not count as work, since the
    /// server was down.
    pub fn part_reported(&mut self, at: Timestamp) {
        let silence = at.since(self.latest.unwrap_or(at));
        self.worked += silence.min(SILENCE_MAX);
        self.latest = Some(at);
    }
}

/// The state of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// The run is requested, and its data is not complete.
    Created,
    /// The data is complete, and no work has begun.
    Queued,
    /// The run is being planned and compared.
    Comparing,
    /// All parts are compared, and the result is being created.
    Finalizing,
    /// The result is available.
    Completed(Summary),
    /// The run has failed.
    Failed {
        /// The cause and the remedy, for the user.
        message: String,
        /// The stage in which the run failed, counted from 1.
        stage: u8,
    },
}

/// The sums over the compared parts of a planned run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of parts of the plan.
    pub parts: u32,
    /// The parts whose outcome was applied.
    pub applied: BitSet,
    /// The number of comparisons of the whole plan.
    pub comparisons_total: u64,
    /// The number of comparisons of each of the largest blocks, the largest first; empty without blocks, or if an older
    /// version made the plan.
    pub largest_blocks: Vec<u64>,
    /// The number of comparisons of the applied parts.
    pub comparisons: u64,
    /// The number of candidate pairs of the applied parts; a pair in several blocks counts each time.
    pub pairs: u64,
}

impl Progress {
    /// Returns the progress of a run that has just been planned.
    pub fn planned(parts: u32, comparisons_total: u64, largest_blocks: Vec<u64>) -> Self {
        Self { parts, applied: BitSet::below(parts), comparisons_total, largest_blocks, ..Self::default() }
    }

    /// Returns the share of all comparisons in the largest block, from 0 to 1; `None` without blocks.
    pub fn largest_block_share(&self) -> Option<f64> {
        let largest = *self.largest_blocks.first()?;
        Some((largest as f64 / self.comparisons_total.max(1) as f64).min(1.0))
    }
}

/// The totals of a completed run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The number of candidate pairs, each counted once.
    pub pairs: u64,
    /// The number of groups of at least two records; 0 for runs that return only scores.
    pub groups: u64,
    /// The checksums of the result's objects; empty for a result of an older version.
    #[serde(default)]
    pub checksums: Vec<Checksum>,
}

/// The size and checksum of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The last part of the object's key.
    pub object: String,
    /// The number of bytes.
    pub bytes: u64,
    /// The CRC-32 of the bytes.
    pub crc32: u32,
}

impl Summary {
    /// Returns the checksum of the object of this name.
    pub fn checksum(&self, object: &str) -> Option<&Checksum> {
        self.checksums.iter().find(|checksum| checksum.object == object)
    }
}

impl Run {
    /// Returns a new run without a name, notes, scores of groups or progress.
    pub fn asked_for(id: RunId, threshold: Threshold, added: Timestamp) -> Self {
        Self {
            id,
            name: String::new(),
            notes: String::new(),
            threshold,
            with_scores: false,
            added,
            started: None,
            ended: None,
            settled: None,
            state: RunState::Created,
            progress: None,
            seed: None,
            times: Times::default(),
        }
    }

    /// Returns the checksum of the object of this name in the run's result.
    pub fn checksum(&self, object: &str) -> Option<&Checksum> {
        match &self.state {
            RunState::Completed(summary) => summary.checksum(object),
            _ => None,
        }
    }

    /// Returns the number of the current stage, from 1 to `stages`.
    pub const fn stage(&self, stages: u8) -> u8 {
        match self.state {
            RunState::Created => 1,
            RunState::Queued | RunState::Comparing => 2,
            RunState::Finalizing | RunState::Completed(_) => stages,
            RunState::Failed { stage, .. } => stage,
        }
    }

    /// Returns the number of comparisons per second of working time.
    pub fn rate(&self) -> Option<f64> {
        let comparisons = self.progress.as_ref().map_or(0, |progress| progress.comparisons);
        let seconds = self.times.worked.as_secs_f64();
        (comparisons > 0 && seconds > 0.0).then(|| comparisons as f64 / seconds)
    }

    /// Returns the estimated remaining time of the comparisons, while the run is comparing.
    pub fn comparing_for(&self) -> Option<Duration> {
        let (RunState::Comparing, Some(progress)) = (&self.state, &self.progress) else { return None };
        let left = progress.comparisons_total.saturating_sub(progress.comparisons);
        Duration::try_from_secs_f64(left as f64 / self.rate()?).ok()
    }

    /// Returns the start and the end of each stage that has begun, of `stages` stages.
    pub fn stage_times(&self, stages: u8) -> Vec<(Timestamp, Option<Timestamp>)> {
        let begun = [Some(self.added), self.times.ready.or(self.started), self.times.compared];
        let begun: Vec<Timestamp> = begun.into_iter().take(stages.into()).map_while(|begun| begun).collect();
        let ended = begun.iter().skip(1).copied().map(Some).chain([self.ended]);
        begun.iter().copied().zip(ended).collect()
    }

    /// Returns true if the run has ended, successfully or not.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, RunState::Completed(_) | RunState::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn run(state: RunState) -> Run {
        let asked_for = Run::asked_for(RunId::from_bytes([1; 24]), Threshold::new(0.8).unwrap(), at(0));
        Run { state, ..asked_for }
    }

    #[test]
    fn time_in_which_the_server_was_away_is_no_work() {
        let mut run = run(RunState::Comparing);
        let applied = BitSet::below(4);
        run.progress = Some(Progress { parts: 4, applied, comparisons_total: 1_000, ..Progress::default() });
        assert_eq!((run.rate(), run.comparing_for()), (None, None));
        run.times.latest = Some(at(10));
        run.times.part_reported(at(15));
        run.times.part_reported(at(10_000));
        assert_eq!(run.times.worked, Duration::from_secs(65));
        run.progress.as_mut().unwrap().comparisons = 650;
        assert_eq!(run.rate(), Some(10.0));
        assert_eq!(run.comparing_for(), Some(Duration::from_secs(35)));
    }

    #[test]
    fn a_stage_ends_where_the_next_begins() {
        let mut run = run(RunState::Completed(Summary::default()));
        assert_eq!(run.stage_times(3), [(at(0), None)]);
        run.times = Times { ready: Some(at(1)), compared: Some(at(5)), ..Times::default() };
        assert_eq!(run.stage_times(3), [(at(0), Some(at(1))), (at(1), Some(at(5))), (at(5), None)]);
        run.ended = Some(at(7));
        assert_eq!(run.stage_times(3)[2], (at(5), Some(at(7))));
        assert_eq!(run.stage_times(2), [(at(0), Some(at(1))), (at(1), Some(at(7)))]);
    }
}

//! Admission control: a job that needs much memory or disk space waits until there is enough.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::Error;
use super::active_jobs::ActiveJob;
use crate::model::{Job, ResultType, Task};
use crate::system::disk;

/// The unit in which memory is counted.
const PIECE_BYTES: u64 = 1 << 20;
/// The memory that a job may take without admission.
const FREE_BYTES: u64 = 32 << 20;
/// The memory for each record while a run is finalized: its group, its position in a permutation, and a flag.
const BYTES_PER_RECORD: u64 = 48;
/// The memory for each record while a run of more than [`PARTIES_FEW`] parties is finalized: the solver then needs a
/// longer bit set for each record.
const BYTES_PER_RECORD_OF_MANY: u64 = 180;
/// The maximum number of parties for which a word is enough for the solver's bit sets.
const PARTIES_FEW: usize = 64;
/// The memory of the solver for each candidate pair, from three parties on.
const BYTES_PER_PAIR: u64 = 13;
/// The disk space for each candidate pair while sorted runs are merged.
const MERGED_PAIR_BYTES: u64 = 24;
/// The disk space for each record, or pair with its score, in a result.
const RESULT_ENTRY_BYTES: u64 = 64;
/// The interval at which a waiting job checks for cancellation.
const LOOK: Duration = Duration::from_millis(100);

/// The memory and disk space that a job needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Demand {
    memory: u64,
    disk: u64,
}

/// Admits jobs within the available memory and disk space.
#[derive(Debug)]
pub(super) struct Admission {
    memory: Arc<Semaphore>,
    pieces: u32,
    /// A directory on the disk of the results.
    disk: PathBuf,
}

/// The memory of an admitted job. Dropping it returns the memory.
#[derive(Debug)]
pub(super) struct AdmissionPermit {
    _memory: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Returns the admission control for this much memory, and for the free space of the disk of `disk`.
    pub(super) fn new(memory_bytes: u64, disk: PathBuf) -> Self {
        let pieces = u32::try_from(memory_bytes / PIECE_BYTES).unwrap_or(u32::MAX).clamp(1, PIECES_MAX);
        Self { memory: Arc::new(Semaphore::new(pieces as usize)), pieces, disk }
    }

    /// Waits until there is enough memory and disk space for a job. Jobs are admitted in the order of their calls.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there can never be enough, [`Error::Failed`] if the disk is too full now,
    /// [`Error::Cancelled`] if the job is cancelled during the wait.
    pub(super) async fn admit(&self, active: &ActiveJob) -> Result<AdmissionPermit, Error> {
        let demand = demand(active.job());
        self.check_disk(demand.disk).await?;
        if demand.memory <= FREE_BYTES {
            return Ok(AdmissionPermit { _memory: None });
        }
        let pieces = u32::try_from(demand.memory.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        if pieces > self.pieces {
            return Err(Error::Rejected(format!(
                "finishing the run may take {pieces} MiB of memory, and {} MiB are set aside for that: a higher \
                 threshold or blocking would bring fewer candidate pairs, and the operator may raise --memory-limit",
                self.pieces
            )));
        }
        let mut memory = std::pin::pin!(Arc::clone(&self.memory).acquire_many_owned(pieces));
        loop {
            tokio::select! {
                admitted = &mut memory => return Ok(AdmissionPermit { _memory: admitted.ok() }),
                () = tokio::time::sleep(LOOK) => {
                    if active.cause().is_some() {
                        return Err(Error::Cancelled);
                    }
                }
            }
        }
    }

    async fn check_disk(&self, demand: u64) -> Result<(), Error> {
        let disk = self.disk.clone();
        // If the free space is unknown, the first write will report a full disk.
        let Ok(Ok(room)) = spawn_blocking(move || disk::room(&disk)).await else { return Ok(()) };
        let (wanted, mib) = (demand / PIECE_BYTES, |bytes: u64| bytes / PIECE_BYTES);
        if demand > room.total_bytes {
            return Err(Error::Rejected(format!(
                "the result may take {wanted} MiB, and the disk has {} MiB in all: a higher threshold or blocking would \
                 bring fewer candidate pairs",
                mib(room.total_bytes)
            )));
        }
        if demand > room.free_bytes {
            return Err(Error::failed(format!(
                "the result may take {wanted} MiB, and {} MiB are free on the disk; free some space, then try again",
                mib(room.free_bytes)
            )));
        }
        Ok(())
    }
}

/// The maximum number of permits that a semaphore can grant at once.
const PIECES_MAX: u32 = 1 << 28;

/// Returns the maximum demand of a job. Only finalize jobs need much.
fn demand(job: &Job) -> Demand {
    let Task::Finalize { result_type, records, pairs, solver_pairs_max, with_scores, .. } = &job.task else {
        return Demand::default();
    };
    let parties = records.len();
    let records: u64 = records.iter().map(|count| u64::from(*count)).sum();
    match result_type {
        ResultType::SimilarityScores => {
            let disk = pairs.saturating_mul(MERGED_PAIR_BYTES + RESULT_ENTRY_BYTES);
            Demand { memory: 0, disk }
        }
        ResultType::Groups | ResultType::Permutations => {
            let counted = if parties > 2 { *pairs.min(solver_pairs_max) } else { 0 };
            let merged = pairs.saturating_mul(MERGED_PAIR_BYTES);
            // Every record may be in a group with a record of each other party.
            let within = (*pairs).min(records.saturating_mul(parties.saturating_sub(1) as u64) / 2);
            let scores = if *with_scores {
                let groups = records.saturating_mul(RESULT_ENTRY_BYTES);
                groups.saturating_add(within.saturating_mul(MERGED_PAIR_BYTES + RESULT_ENTRY_BYTES))
            } else {
                0
            };
            Demand {
                memory: records
                    .saturating_mul(if parties > PARTIES_FEW {
                        BYTES_PER_RECORD_OF_MANY
                    } else {
                        BYTES_PER_RECORD
                    })
                    .saturating_add(counted.saturating_mul(BYTES_PER_PAIR)),
                disk: records
                    .saturating_mul(RESULT_ENTRY_BYTES)
                    .saturating_add(merged)
                    .saturating_add(scores),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::Assignment;
    use crate::model::{ProjectId, RunId, WholeRun};
    use crate::queue::{Fence, Lease, LeaseId};
    use crate::runtime::clock::Timestamp;
    use crate::worker::active_jobs::Cause;

    fn active(records: u32, parties: usize, pairs: u64) -> ActiveJob {
        let task = Task::Finalize {
            run: RunId::from_bytes([1; 24]),
            result_type: ResultType::Groups,
            records: vec![records; parties],
            parts: 1,
            pairs,
            solver_pairs_max: 1_000_000_000,
            with_scores: false,
        };
        let lease = Lease {
            id: LeaseId { job: "job".into(), fence: Fence::from_bits(1) },
            queue: "highmemory".into(),
            group: "group".into(),
            payload: Vec::new().into(),
            attempt: 1,
            enqueued: Timestamp::default(),
            ready: Timestamp::default(),
            until: Timestamp::default(),
        };
        let job = Job { project: ProjectId::from_bytes([2; 24]), task };
        ActiveJob::new(Assignment {
            lease,
            job,
            secret: None,
            workers: 1,
            pairs: linkage::pairs::Version::Plain,
        })
    }

    /// Returns an admission control for a disk without known free space, since the disk of the tests may be full.
    fn admission(mib: u64) -> Admission {
        Admission::new(mib << 20, PathBuf::from("/there/is/no/such/directory"))
    }

    #[tokio::test]
    async fn a_job_that_never_fits_is_rejected_and_says_what_would_help() {
        let Err(Error::Rejected(why)) = admission(64).admit(&active(1_000, 3, 100_000_000)).await else {
            panic!("it does not fit");
        };
        assert!(why.contains("1240 MiB") && why.contains("--memory-limit"), "{why}");
        assert!(admission(64).admit(&active(1_000, 2, 100_000)).await.is_ok());
    }

    #[tokio::test]
    async fn a_job_waits_for_the_memory_of_another_and_hears_that_it_is_to_stop() {
        let admission = admission(200);
        let large = active(1_000_000, 2, 0);
        let first = admission.admit(&large).await.unwrap();
        let _second = admission.admit(&large).await.unwrap();
        let third = active(1_000_000, 2, 0);
        let wait = Duration::from_millis(300);
        assert!(tokio::time::timeout(wait, admission.admit(&third)).await.is_err(), "there is room for two");
        third.cancel(Cause::Unwanted);
        assert!(matches!(admission.admit(&third).await, Err(Error::Cancelled)));
        drop(first);
        assert!(tokio::time::timeout(wait, admission.admit(&active(1_000_000, 2, 0))).await.is_ok());
    }

    #[test]
    fn the_scores_of_groups_take_room_on_the_disk_where_they_are_wanted() {
        let needed = |scores: bool, parties: usize| {
            let mut job = active(1_000, parties, 1_000_000).job().clone();
            if let Task::Finalize { with_scores, .. } = &mut job.task {
                *with_scores = scores;
            }
            demand(&job)
        };
        let more = |parties| needed(true, parties).disk - needed(false, parties).disk;
        assert_eq!((more(2), more(3)), (2_000 * 64 + 1_000 * 88, 3_000 * 64 + 3_000 * 88));
        assert_eq!(needed(true, 3).memory, needed(false, 3).memory);
    }

    #[test]
    fn a_run_that_one_job_may_solve_needs_no_admission() {
        for parties in [3, PARTIES_FEW + 1] {
            let records = WholeRun::RECORDS_MAX as u32 / parties as u32;
            let found = demand(active(records, parties, WholeRun::PAIRS_MAX).job());
            assert!(found.memory <= FREE_BYTES, "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_small_job_does_not_wait_for_memory() {
        let admission = admission(1);
        assert!(admission.admit(&active(1_000, 3, 1_000)).await.is_ok());
    }
}

//! Compares the records of each party with those records of the other parties that share a block with them.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use linkage::pairs::{self, PAIRS_BUFFERED, Reader};
use linkage::similarity::plan::{self, Entry, Part, Plan};
use linkage::similarity::{self, Compared, Job, Kernel, Sides, TuningCell};

use super::party::Party;
use super::workspace::Workspace;
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::cli::progress::Progress;
use crate::model::Threshold;
use crate::objects::Blob;
use crate::runtime::compute::Pool;
use crate::telemetry::chain;

/// The interval at which progress is shown.
const LOOK: Duration = Duration::from_millis(50);

/// The parameters of a comparison.
pub(super) struct Comparison<'a> {
    pub(super) threshold: Threshold,
    pub(super) kernel: Kernel,
    pub(super) pairs_max: u64,
    pub(super) pool: &'a Pool,
}

/// Sorted candidate pairs, without duplicates.
pub(super) type Pairs = Reader<BufReader<File>>;

impl Comparison<'_> {
    /// Compares all parties with one another.
    pub(super) fn run(
        &self,
        parties: &[Party],
        workspace: &Workspace,
        progress: &mut Progress,
    ) -> Result<Pairs, Failure> {
        read(&self.run_to_file(parties, workspace, progress)?).or_fail()
    }

    /// Compares all parties with one another, and returns the file of the candidate pairs, which [`read`] reads.
    pub(super) fn run_to_file(
        &self,
        parties: &[Party],
        workspace: &Workspace,
        progress: &mut Progress,
    ) -> Result<File, Failure> {
        progress.show("planning", 0.0);
        let planned = self.plan(parties, workspace)?;
        let plan = Plan::parse(&planned).or_fail()?;
        let run = workspace.nameless().or_fail()?;
        let compared = AtomicU64::new(0);
        let waiting = thread::current();
        let outcome = thread::scope(|scope| {
            let comparing = scope.spawn(|| {
                let outcome = self.compare(&plan, parties, workspace, &compared, &run);
                waiting.unpark();
                outcome
            });
            loop {
                let done = compared.load(Ordering::Relaxed);
                progress.show("comparing", done as f64 / plan.comparisons().max(1) as f64);
                if comparing.is_finished() || done == plan.comparisons() {
                    break;
                }
                thread::park_timeout(LOOK);
            }
            comparing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        parties.iter().try_for_each(Party::check).and_then(|()| planned.check()).or_fail()?;
        outcome.map_err(|error| explain(&error))?;
        Ok(run)
    }

    /// Plans the comparison as one part, since there are no other workers.
    fn plan(&self, parties: &[Party], workspace: &Workspace) -> Result<Blob, Failure> {
        let directories = parties.iter().map(Party::directory).collect::<Result<_, _>>().or_fail()?;
        let mut file = workspace.stage();
        plan::build(directories, self.threshold, NonZeroU64::MAX, workspace, &mut file).or_fail()?;
        workspace.plan(file).or_fail()
    }

    fn compare(
        &self,
        plan: &Plan<'_>,
        parties: &[Party],
        workspace: &Workspace,
        compared: &AtomicU64,
        run: &File,
    ) -> Result<Compared, similarity::Error> {
        let job = Job {
            threshold: self.threshold,
            kernel: self.kernel,
            tuning: &TuningCell::new(),
            sides: &Sides::default(),
            pairs_max: self.pairs_max,
            cancelled: &AtomicBool::new(false),
            compared,
            scratch: workspace,
            pairs_buffered: PAIRS_BUFFERED,
            written: pairs::Version::Dense,
        };
        let parts = (0..plan.parts()).map(|number| plan.part(number)).collect::<Result<Vec<_>, _>>()?;
        let stored: Vec<_> = parties.iter().map(Party::stored).collect();
        let tile = |entry: Entry| {
            let [left, right] =
                [entry.left_dataset, entry.right_dataset].map(|party| &stored[party as usize]);
            entry.tile(left, right)
        };
        let tiles = parts.iter().flatten().flat_map(Part::entries).map(tile);
        self.pool.install(|| similarity::compare(&job, tiles, run))
    }
}

/// Reads a file of candidate pairs from its beginning. Only one reader may be in use at a time.
pub(super) fn read(file: &File) -> Result<Pairs, pairs::Error> {
    let mut file = file.try_clone().map_err(pairs::Error::Read)?;
    file.rewind().map_err(pairs::Error::Read)?;
    Reader::open(BufReader::new(file))
}

fn explain(error: &similarity::Error) -> Failure {
    match error {
        similarity::Error::Pairs(pairs::Error::TooMany { .. }) => {
            Failure::Input(format!("{} (--pairs-max allows more)", chain(error)))
        }
        _ => Failure::because(error),
    }
}

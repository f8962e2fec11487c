//! Runs the coordinator with its real stores on a simulated clock. A random generator chooses the events, the calls that
//! fail, the delays and the crashes. At the end, every run must have ended, every outcome must have counted once, and
//! nothing may be lost.
//!
//! `ENTITYD_SIM_SEED` replays a seed, `ENTITYD_SIM_SEEDS` sets the number of seeds.

mod faults;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::{Assignment, Coordinator, Error, NewProject, NewRun, Refused, Rules};
use crate::metadata::{Runs, Sqlite};
use crate::model::job::PURGES;
use crate::model::{
    Dataset, Job, Outcome, ProjectId, ProjectState, ResultType, Run, RunId, RunState, Solved, Summary, Task,
    Threshold, Upload,
};
use crate::queue::sled::{OnDamage, Settings, SledBroker};
use crate::queue::{Broker, Claim, Heartbeat, Progress, Share, UNSEEN_MAX};
use crate::runtime::clock::{Clock, Timestamp};
use crate::runtime::entropy::Entropy;
use faults::{Faults, FaultyBroker, FaultyStore};

const STEPS: usize = 150;
const SEEDS: u64 = if cfg!(debug_assertions) { 30 } else { 2_000 };
const PROJECTS_MAX: usize = 3;
const LEASE: Duration = Duration::from_mins(1);
/// The number of rounds without faults after which everything must be done.
const ROUNDS: usize = 400;
/// The number of comparisons in each part of a plan.
const COMPARISONS: u64 = 7;
/// The number of pairs found in each part of a plan.
const PAIRS: u64 = 2;

#[test]
fn every_run_ends_and_every_outcome_counts_once() {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = from_env("ENTITYD_SIM_SEED") {
        return live_through(seed);
    }
    let first = u64::from_le_bytes(Entropy::system().bytes()) >> 16;
    let (next, last) = (AtomicU64::new(first), first + from_env("ENTITYD_SIM_SEEDS").unwrap_or(SEEDS));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < last)
                {
                    live_through(seed);
                }
            });
        }
    });
}

/// Prints the seed if a test fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ENTITYD_SIM_SEED={}", self.0);
        }
    }
}

fn live_through(seed: u64) {
    let _told = Told(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(seed);
        for _ in 0..STEPS {
            simulation.step().await;
        }
        simulation.settle().await;
    });
}

/// A client's knowledge of its project.
struct Known {
    id: ProjectId,
    run: Option<RunId>,
    /// The client has requested the deletion of the project.
    ending: bool,
    /// The client has requested the deletion of the run.
    run_ending: bool,
}

struct Simulation {
    folder: TempDir,
    faults: Arc<Faults>,
    clock: Clock,
    /// Absent while the process is down.
    shelves: Option<(Coordinator, Arc<SledBroker>)>,
    in_hand: Vec<Assignment>,
    /// Jobs that workers have reported or abandoned, and may report again.
    past: Vec<Assignment>,
    known: Vec<Known>,
}

/// Returns a directory on a file system in memory, if there is one. Power cuts are tested elsewhere.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn rules() -> Rules {
    Rules { small_work_at_once: true, ..Rules::of_tests(1_000) }
}

fn open(folder: &Path, clock: &Clock, faults: &Arc<Faults>) -> (Coordinator, Arc<SledBroker>) {
    let settings = Settings {
        journal_bytes: 32 << 10,
        segment_bytes: 512 << 10,
        group_commit_delay: Duration::ZERO,
        on_damage: OnDamage::Rebuild,
        expected: folder.join("metadata.db").exists(),
        ..Settings::default()
    };
    let store = Sqlite::open(&folder.join("metadata.db")).unwrap();
    let broker = SledBroker::open(&folder.join("queue"), settings, faults.chance.clone()).unwrap();
    let broker = Arc::new(broker);
    let store = FaultyStore { inner: Arc::new(store), faults: Arc::clone(faults) };
    let shelf = FaultyBroker { inner: broker.clone(), faults: Arc::clone(faults) };
    let entropy = faults.chance.clone();
    (Coordinator::new(Arc::new(store), Arc::new(shelf), clock.clone(), entropy, rules()), broker)
}

/// Returns the number of parts of a run's plan.
fn parts_of(run: RunId) -> u32 {
    [1, 1, 1, 2, 4, 6][run.to_string().bytes().map(usize::from).sum::<usize>() % 6]
}

/// Returns the totals of a run.
fn summary() -> Summary {
    Summary { pairs: PAIRS, groups: 1, checksums: Vec::new() }
}

/// Returns the outcome of a job, which is the same for each worker and attempt, except that an older worker brings no
/// run to its result.
fn outcome(job: &Job, is_older: bool) -> Outcome {
    match &job.task {
        Task::Fetch { .. } => unreachable!("no upload names files here"),
        Task::Ingest { upload, .. } => {
            let Upload { upload, records, encoding_bytes, .. } = upload.clone();
            Outcome::Ingested(Dataset { upload, records, encoding_bytes, blocks: 1 })
        }
        Task::Plan { run, whole: Some(_), .. } if parts_of(*run) == 1 && !is_older => {
            Outcome::Solved(Solved {
                comparisons: COMPARISONS,
                largest_blocks: Vec::new(),
                pairs: PAIRS,
                comparing_us: 3,
                finalizing_us: 5,
                summary: summary(),
            })
        }
        Task::Plan { run, .. } => {
            let parts = parts_of(*run);
            Outcome::Planned {
                parts,
                comparisons: u64::from(parts) * COMPARISONS,
                largest_blocks: Vec::new(),
            }
        }
        Task::Compare { .. } => Outcome::Compared { comparisons: COMPARISONS, pairs: PAIRS },
        Task::Finalize { .. } => Outcome::Finalized(summary()),
        Task::Purge(_) | Task::Chore { .. } => Outcome::Purged,
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let folder = folder();
        let clock = Clock::manual(Timestamp::from_micros(1_700_000_000_000_000));
        let faults = Arc::new(Faults {
            chance: Entropy::seeded(seed),
            active: true.into(),
            clock: Mutex::new(clock.clone()),
            attempts: Mutex::default(),
        });
        let shelves = Some(open(folder.path(), &clock, &faults));
        Self { folder, faults, clock, shelves, in_hand: Vec::new(), past: Vec::new(), known: Vec::new() }
    }

    fn coordinator(&self) -> &Coordinator {
        &self.shelves.as_ref().expect("the process is up").0
    }

    fn broker(&self) -> &SledBroker {
        &self.shelves.as_ref().expect("the process is up").1
    }

    fn pick(&self, below: usize) -> usize {
        self.faults.pick(below as u64) as usize
    }

    async fn step(&mut self) {
        match self.pick(100) {
            0..8 => self.create().await,
            8..24 => self.upload().await,
            24..30 => self.post().await,
            30..45 => _ = self.coordinator().drain_outbox().await,
            45..62 => self.claim().await,
            62..80 => self.report().await,
            80..83 => self.fail().await,
            83..86 => self.lose(),
            86..88 => self.speak_up().await,
            88..90 => self.beat().await,
            90..92 => self.hand_back().await,
            92..95 => self.pass().await,
            95 => _ = self.coordinator().restart_stalled().await,
            96 => self.clock.advance(Duration::from_hours(self.faults.pick(48))),
            97 => self.end_something().await,
            98 => self.restart(true).await,
            _ => self.restart(false).await,
        }
    }

    /// Lets time pass while the queue is called, so that leases expire.
    async fn pass(&self) {
        for _ in 0..self.pick(180) {
            self.clock.advance(UNSEEN_MAX);
            self.broker().stats(self.clock.steady()).await.unwrap();
        }
    }

    async fn create(&mut self) {
        if self.known.len() == PROJECTS_MAX {
            return;
        }
        let new = NewProject::plain([ResultType::Groups, ResultType::Permutations][self.pick(2)]);
        // A client that got no answer has no project.
        if let Ok(created) = self.coordinator().create_project(new).await {
            self.known.push(Known { id: created.id, run: None, ending: false, run_ending: false });
        }
    }

    async fn upload(&self) {
        if let Some(known) = self.known.get(self.pick(PROJECTS_MAX)) {
            self.upload_for(known.id, self.pick(2) as u32).await;
        }
    }

    async fn upload_for(&self, project: ProjectId, party: u32) {
        let Ok(number) = self.coordinator().begin_upload(project, party).await else { return };
        if self.faults.active.load(Ordering::Relaxed) && self.pick(5) == 0 {
            _ = self.coordinator().abandon_upload(project, party, number).await;
            return;
        }
        if self.pick(2) == 0 {
            let dataset = Dataset { upload: number, records: 10, encoding_bytes: 8, blocks: 1 };
            _ = self.coordinator().accept_indexed_upload(project, party, dataset).await;
        } else {
            let upload = Upload { upload: number, records: 10, encoding_bytes: 8, blocks: false };
            _ = self.coordinator().accept_upload(project, party, upload).await;
        }
    }

    async fn post(&mut self) {
        let chosen = self.pick(PROJECTS_MAX);
        let Some(project) = self.known.get(chosen).filter(|known| known.run.is_none()) else { return };
        let new = NewRun {
            name: String::new(),
            notes: String::new(),
            threshold: Threshold::new(0.8).unwrap(),
            with_scores: false,
        };
        let posted = self.coordinator().post_run(project.id, new).await;
        if let Ok(run) = posted {
            self.known[chosen].run = Some(run.id);
        }
    }

    /// Deletes a project, or a run, as a client. Even without an answer they may be deleted from now on.
    async fn end_something(&mut self) {
        let (chosen, whole) = (self.pick(PROJECTS_MAX), self.pick(2) == 0);
        let Some(known) = self.known.get_mut(chosen) else { return };
        let (project, run) = (known.id, known.run);
        if whole {
            known.ending = true;
            _ = self.coordinator().delete_project(project).await;
        } else if let Some(run) = run {
            known.run_ending = true;
            _ = self.coordinator().delete_run(project, run).await;
        }
    }

    async fn claim(&mut self) {
        let share = |queue: &str| Share { queue: queue.into(), weight: NonZeroU32::MIN };
        let queues = ["ingest", "compute", "highmemory", PURGES].map(share).into();
        let claim =
            Claim { queues, count: 1 + self.pick(4), lease: LEASE, wait: Duration::ZERO, for_guest: false };
        if let Ok(assignments) = self.coordinator().claim(&claim).await {
            self.in_hand.extend(assignments);
        }
    }

    /// Removes a random job from those in progress. The caller ends it in some way.
    fn put_down(&mut self) -> Option<Assignment> {
        let chosen = self.pick(self.in_hand.len().max(1));
        let assignment = (chosen < self.in_hand.len()).then(|| self.in_hand.swap_remove(chosen))?;
        self.past.push(assignment.clone());
        Some(assignment)
    }

    /// Returns the outcome of a job by a worker of this version, or of the one before.
    fn outcome(&self, job: &Job) -> Outcome {
        outcome(job, self.pick(3) == 0)
    }

    async fn report(&mut self) {
        if let Some(assignment) = self.put_down() {
            _ = self.coordinator().report(&assignment, self.outcome(&assignment.job)).await;
        }
    }

    async fn fail(&mut self) {
        if let Some(assignment) = self.put_down() {
            _ = self.coordinator().failed(&assignment, "chance").await;
        }
    }

    /// Loses a worker with its job.
    fn lose(&mut self) {
        _ = self.put_down();
    }

    /// Reports a job a second time, or from a worker that seemed lost.
    async fn speak_up(&self) {
        let chosen = self.pick(self.past.len().max(1));
        if let Some(assignment) = self.past.get(chosen) {
            _ = self.coordinator().report(assignment, self.outcome(&assignment.job)).await;
        }
    }

    async fn beat(&self) {
        let beat =
            |held: &Assignment| Heartbeat { lease: held.lease.id.clone(), progress: Progress::default() };
        let beats: Vec<_> = self.in_hand.iter().chain(self.past.last()).map(beat).collect();
        _ = self.coordinator().heartbeat(&beats).await;
    }

    async fn hand_back(&mut self) {
        if let Some(assignment) = self.put_down() {
            _ = self.coordinator().release(&[assignment]).await;
        }
    }

    /// Stops the process, cleanly or not, and starts it again. The clock may have been set back, and after a crash the
    /// queue may be missing. Workers elsewhere may continue with their jobs.
    async fn restart(&mut self, cleanly: bool) {
        let after = if cleanly { None } else { Some(copy(self.folder.path())) };
        self.broker().close().await.unwrap();
        let back = self.faults.pick(3) * 3_600_000_000;
        self.clock = Clock::manual(Timestamp::from_micros(self.clock.now().as_micros() - back as i64));
        *self.faults.clock.lock().unwrap() = self.clock.clone();
        // Nothing may hold the files when they are opened again. A dropped claim holds them until it has released its
        // jobs.
        let (coordinator, broker) = self.shelves.take().expect("the process is up");
        drop(coordinator);
        while Arc::strong_count(&broker) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(broker);
        if let Some(after) = after {
            self.folder = after;
            if self.pick(4) == 0 {
                std::fs::remove_dir_all(self.folder.path().join("queue")).unwrap();
            }
        }
        self.shelves = Some(open(self.folder.path(), &self.clock, &self.faults));
        // A start that fails is repeated, as a supervisor would do.
        while self.coordinator().reconcile().await.is_err() {}
    }

    /// Ends the faults, and runs until all work has ended.
    async fn settle(&mut self) {
        self.restart(true).await;
        self.faults.active.store(false, Ordering::Relaxed);
        for round in 0.. {
            let stats = self.broker().stats(self.clock.steady()).await.unwrap();
            assert!(round < ROUNDS, "the simulation does not end: {stats:?}");
            self.finish_uploads().await;
            self.coordinator().drain_outbox().await.unwrap();
            self.coordinator().restart_stalled().await.unwrap();
            self.claim().await;
            while let Some(assignment) = self.in_hand.pop() {
                self.coordinator().report(&assignment, self.outcome(&assignment.job)).await.unwrap();
            }
            self.clock.advance(Duration::from_secs(20));
            if self.is_done().await {
                break;
            }
        }
        self.check().await;
    }

    async fn finish_uploads(&self) {
        for known in &self.known {
            for party in 0..2 {
                self.upload_for(known.id, party).await;
            }
        }
    }

    async fn is_done(&self) -> bool {
        let mut runs_ended = true;
        for known in &self.known {
            let project = self.coordinator().project(known.id, Runs::All).await.unwrap();
            runs_ended &= project.iter().flat_map(|project| &project.runs).all(Run::has_ended);
        }
        let stats = self.broker().stats(self.clock.steady()).await.unwrap();
        let empty = stats.queues.values().all(|queue| queue.depth == 0);
        self.coordinator().drain_outbox().await.unwrap();
        runs_ended && empty && self.broker().stats(self.clock.steady()).await.unwrap() == stats
    }

    async fn check(&self) {
        for known in &self.known {
            let project = self.coordinator().project(known.id, Runs::All).await.unwrap();
            assert!(project.is_some() || known.ending, "a project was lost");
            let Some(project) = project else { continue };
            if let Some(id) = known.run {
                assert!(project.run(id).is_some() || known.run_ending, "a run was lost");
            }
            project.runs.iter().for_each(|run| self.check_run(&project, run));
        }
        assert_eq!(self.coordinator().0.store.duties().await.unwrap(), [], "everything was removed");
        let missing = self.coordinator().project(ProjectId::from_bytes([0; 24]), Runs::All).await;
        assert!(matches!(missing, Ok(None) | Err(Error::Refused(Refused::Absent))));
    }

    fn check_run(&self, project: &ProjectState, run: &Run) {
        let parts = parts_of(run.id);
        match &run.state {
            RunState::Completed(found) => {
                let progress = run.progress.as_ref().expect("it was planned");
                let counted = (progress.parts, progress.comparisons, progress.pairs, found.clone());
                let pairs = u64::from(parts) * PAIRS;
                let expected = (parts, u64::from(parts) * COMPARISONS, pairs, summary());
                assert_eq!(counted, expected, "every outcome counts once");
            }
            RunState::Failed { message, .. } => {
                let attempts = self.faults.attempts.lock().unwrap();
                let owner = project.id.to_string();
                let tried = attempts.iter().filter(|(job, _)| job.as_str().starts_with(&owner));
                assert!(
                    tried.clone().any(|(_, attempts)| *attempts >= 3),
                    "{message}: nothing was tried three times"
                );
            }
            unfinished => panic!("a run has not ended: {unfinished:?}"),
        }
    }
}

/// Returns a copy of the files as a process that is killed leaves them.
fn copy(from: &Path) -> TempDir {
    let to = folder();
    std::fs::create_dir(to.path().join("queue")).unwrap();
    for part in ["", "queue"] {
        for entry in std::fs::read_dir(from.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.path().join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    to
}

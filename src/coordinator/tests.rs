//! Tests of the state transitions of a project.

use super::transition::{Next, next};
use super::{Effect, Event, Refused, Report, Rules};
use crate::metadata::Runs;
use crate::model::job::group_of_run;
use crate::model::run::Progress;
use crate::model::{
    AccessKeys, BitSet, Contents, Dataset, ForeignFile, Job, Keyring, NamedFile, Outcome, Party,
    ProjectState, Purge, Reference, ResultType, Run, RunId, RunState, Seed, Solved, Summary, Task, Threshold,
    TokenHash, Upload,
};
use crate::runtime::clock::Timestamp;

const HASH: TokenHash = TokenHash::from_bytes([1; 32]);
const RUN: RunId = RunId::from_bytes([2; 24]);

fn rules() -> Rules {
    Rules { solver_pairs_max: 50, ..Rules::of_tests(100) }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// A project, with all effects of its events.
struct Story {
    project: ProjectState,
    effects: Vec<Effect>,
}

impl Story {
    fn new(parties: usize, result_type: ResultType) -> Self {
        let project = ProjectState::of(vec![Party::new(HASH); parties], result_type);
        Self { project, effects: Vec::new() }
    }

    fn tell(&mut self, event: &Event) -> Result<&mut Self, Refused> {
        let Next { state, effects } = next(self.project.clone(), event, &rules())?;
        self.project = state.expect("the project is not deleted");
        for effect in effects {
            match effect {
                Effect::Parts { run, from, .. } => {
                    let run = self.project.run(run).expect("parts are of a run");
                    let parts = super::jobs::parts(&self.project, run, &rules(), from);
                    self.effects.extend(parts.map(Effect::Enqueue));
                }
                other => self.effects.push(other),
            }
        }
        Ok(self)
    }

    fn upload(&mut self, party: u32, encoding_bytes: u32) -> &mut Self {
        let number = self.project.parties[party as usize].uploads + 1;
        self.tell(&Event::UploadBegun { party, upload: number, holder: None }).unwrap();
        let upload = Upload { upload: number, records: 10, encoding_bytes, blocks: false };
        self.tell(&Event::UploadAccepted { party, upload, receipt: HASH }).unwrap()
    }

    /// Uploads what is small enough to be indexed at once.
    fn upload_indexed(&mut self, party: u32, encoding_bytes: u32) -> &mut Self {
        let number = self.project.parties[party as usize].uploads + 1;
        self.tell(&Event::UploadBegun { party, upload: number, holder: None }).unwrap();
        let dataset = Dataset { upload: number, records: 10, encoding_bytes, blocks: 1 };
        self.tell(&Event::UploadIndexed { party, dataset, receipt: HASH, at: at(9) }).unwrap()
    }

    /// Reports every accepted upload as indexed.
    fn ingest(&mut self) -> &mut Self {
        for job in self.jobs() {
            if let Task::Ingest { upload, .. } = &job.task {
                let Upload { upload, records, encoding_bytes, .. } = upload.clone();
                let dataset = Dataset { upload, records, encoding_bytes, blocks: 1 };
                self.report(job, Outcome::Ingested(dataset));
            }
        }
        self
    }

    fn post(&mut self) -> Result<&mut Self, Refused> {
        let threshold = Threshold::new(0.8).unwrap();
        self.tell(&Event::RunPosted(Box::new(Run::asked_for(RUN, threshold, at(1)))))
    }

    fn report(&mut self, job: Job, outcome: Outcome) -> &mut Self {
        let reports = vec![Report { job, outcome }];
        self.tell(&Event::Reported { reports, at: at(9), seed: Seed::from_bytes([5; 32]) }).unwrap()
    }

    /// Returns the jobs that were requested, each once.
    fn jobs(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        for effect in &self.effects {
            if let Effect::Enqueue(job) = effect
                && !jobs.contains(job)
            {
                jobs.push(job.clone());
            }
        }
        jobs
    }

    fn job(&self, wanted: impl Fn(&Task) -> bool) -> Job {
        self.jobs().into_iter().find(|job| wanted(&job.task)).expect("the job was asked for")
    }

    fn state(&self) -> &RunState {
        &self.project.run(RUN).unwrap().state
    }

    fn plan(&mut self, parts: u32) -> &mut Self {
        let job = self.job(|task| matches!(task, Task::Plan { .. }));
        self.report(job, Outcome::Planned { parts, comparisons: 100, largest_blocks: vec![90, 10] })
    }

    fn compare(&mut self, number: u32, pairs: u64) -> &mut Self {
        let job = self.job(|task| matches!(task, Task::Compare { part, .. } if *part == number));
        self.report(job, Outcome::Compared { comparisons: 50, pairs })
    }

    fn finalize(&mut self) -> &mut Self {
        let job = self.job(|task| matches!(task, Task::Finalize { .. }));
        self.report(job, Outcome::Finalized(Summary { pairs: 3, groups: 2, checksums: Vec::new() }))
    }
}

fn purges(story: &Story) -> Vec<Purge> {
    let purge = |job: Job| if let Task::Purge(purge) = job.task { Some(purge) } else { None };
    story.jobs().into_iter().filter_map(purge).collect()
}

#[test]
fn a_run_goes_from_created_to_completed() {
    let mut story = Story::new(2, ResultType::Permutations);
    story.post().unwrap();
    assert_eq!(*story.state(), RunState::Created);
    story.upload(1, 128).upload(0, 128).ingest();
    assert_eq!(*story.state(), RunState::Queued);
    story.tell(&Event::RunStarted { run: RUN, at: at(5) }).unwrap();
    story.plan(2);
    assert!(story.project.run(RUN).unwrap().seed.is_some());
    story.compare(1, 4).compare(0, 5);
    assert_eq!(*story.state(), RunState::Finalizing);
    story.finalize();
    let run = story.project.run(RUN).unwrap();
    assert_eq!(run.state, RunState::Completed(Summary { pairs: 3, groups: 2, checksums: Vec::new() }));
    assert_eq!((run.started, run.ended, run.seed.is_some()), (Some(at(5)), Some(at(9)), false));
    assert_eq!(run.progress.as_ref().map(|progress| (progress.comparisons, progress.pairs)), Some((100, 9)));
    assert_eq!(purges(&story), [Purge::Intermediate(RUN)]);
}

#[test]
fn a_run_posted_after_the_data_starts_at_once() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap();
    assert_eq!(*story.state(), RunState::Queued);
    story.plan(0);
    assert_eq!(*story.state(), RunState::Finalizing);
}

#[test]
fn a_report_counts_once() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap().plan(2).compare(0, 7).compare(0, 7);
    let progress = story.project.run(RUN).unwrap().progress.clone().unwrap();
    assert_eq!((progress.comparisons, progress.pairs, progress.applied.len()), (50, 7, 1));
    story.ingest().plan(9);
    assert_eq!(story.project.run(RUN).unwrap().progress.as_ref(), Some(&progress));
    story.compare(1, 0).finalize();
    let done = story.project.clone();
    story.compare(1, 50).finalize();
    assert_eq!(story.project, done);
}

/// Returns the outcome of a job that brought a run to its result.
fn solved(pairs: u64) -> Solved {
    let summary = Summary { pairs: 3, groups: 2, checksums: Vec::new() };
    let largest_blocks = vec![90, 10];
    Solved { comparisons: 100, largest_blocks, pairs, comparing_us: 0, finalizing_us: 0, summary }
}

/// Returns a story of two parties with a run whose plan is awaited.
fn planning() -> Story {
    let mut story = Story::new(2, ResultType::Groups);
    story.project.uses_blocking = true;
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap();
    story
}

fn plan_of(story: &Story) -> Job {
    story.job(|task| matches!(task, Task::Plan { .. }))
}

#[test]
fn a_run_that_one_job_solved_is_as_after_three_jobs() {
    let (mut one, mut three) = (planning(), planning());
    let compared = Outcome::Compared { comparisons: 100, pairs: 7 };
    let part = three.plan(1).job(|task| matches!(task, Task::Compare { .. }));
    three.report(part, compared).finalize();
    let plan = plan_of(&one);
    one.report(plan.clone(), Outcome::Solved(solved(7)));
    assert_eq!(one.project, three.project);
    assert_eq!(purges(&three), [Purge::Intermediate(RUN)]);
    assert_eq!(purges(&one), [], "there is neither a plan nor pairs");
    assert!(one.jobs().iter().all(|job| !matches!(job.task, Task::Compare { .. } | Task::Finalize { .. })));
    let done = one.project.clone();
    one.report(plan.clone(), Outcome::Solved(solved(9))).plan(4);
    assert_eq!(one.project, done, "a report counts once");
    // The report of a lost worker arrives when others continue the run.
    let mut late = planning();
    late.plan(2);
    let before = late.project.clone();
    assert_eq!(late.report(plan, Outcome::Solved(solved(7))).project, before);
}

#[test]
fn a_run_that_one_job_solved_has_the_times_of_its_stages() {
    let mut story = planning();
    story.tell(&Event::RunStarted { run: RUN, at: at(3) }).unwrap();
    let times = |comparing_us, finalizing_us| {
        let mut story = Story { project: story.project.clone(), effects: story.effects.clone() };
        let plan = plan_of(&story);
        story.report(plan, Outcome::Solved(Solved { comparing_us, finalizing_us, ..solved(7) }));
        let run = story.project.run(RUN).unwrap();
        (run.started, run.times.latest, run.times.compared, run.times.worked.as_micros(), run.ended)
    };
    let some = |micros| Some(at(micros));
    assert_eq!(times(2, 3), (some(3), some(6), some(6), 2, some(9)));
    assert_eq!(times(u64::MAX, 3), (some(3), some(6), some(6), 3, some(9)), "no stage begins before the run");
    assert_eq!(times(1, u64::MAX), (some(3), some(3), some(3), 0, some(9)));
}

#[test]
fn a_run_without_comparisons_and_one_with_too_many_pairs_end_as_after_three_jobs() {
    let (mut one, mut three) = (planning(), planning());
    let plan = plan_of(&three);
    three.report(plan, Outcome::Planned { parts: 0, comparisons: 0, largest_blocks: Vec::new() }).finalize();
    let nothing = Solved { comparisons: 0, largest_blocks: Vec::new(), ..solved(0) };
    let plan = plan_of(&one);
    one.report(plan, Outcome::Solved(nothing));
    assert_eq!(one.project, three.project);
    let mut one = planning();
    let plan = plan_of(&one);
    one.report(plan, Outcome::Solved(solved(101)));
    let RunState::Failed { message, stage: 2 } = one.state() else { panic!("{:?}", one.state()) };
    assert!(message.contains("the limit is 100"), "{message}");
    assert_eq!(purges(&one), [Purge::Run(RUN)]);
}

#[test]
fn one_job_may_solve_a_run_only_where_every_node_knows_its_outcome() {
    let small = Rules { small_work_at_once: true, ..rules() };
    let whole = |result_type, rules: &Rules, records| {
        let mut story = Story::new(2, result_type);
        story.upload(0, 8).upload(1, 8).ingest().post().unwrap();
        for party in &mut story.project.parties {
            party.contents = Contents::Ready(Dataset { upload: 1, records, encoding_bytes: 8, blocks: 1 });
        }
        let jobs = super::jobs::wanted(&story.project, rules);
        let [Job { task: Task::Plan { whole, .. }, .. }] = &jobs[..] else { panic!("{jobs:?}") };
        whole.clone()
    };
    let found = whole(ResultType::Groups, &small, 10).unwrap();
    assert_eq!((found.records, found.pairs_max, found.solver_pairs_max), (vec![10, 10], 50, 50));
    assert!(whole(ResultType::SimilarityScores, &small, 10).is_some());
    assert_eq!(whole(ResultType::Permutations, &small, 10), None, "the seed is drawn after the plan");
    assert_eq!(whole(ResultType::Groups, &rules(), 10), None);
    assert_eq!(whole(ResultType::Groups, &Rules { comparisons_per_job: Some(9), ..small.clone() }, 10), None);
    assert_eq!(whole(ResultType::Groups, &small, 1 << 15), None, "it may need much memory");
}

#[test]
fn an_upload_that_is_indexed_at_once_is_as_one_that_a_job_has_indexed() {
    for sizes in [[8, 8], [8, 16], [16, 16]] {
        let [mut by_job, mut at_once] = [(); 2].map(|()| Story::new(2, ResultType::Groups));
        by_job.post().unwrap().upload(1, sizes[1]).upload(0, sizes[0]).ingest();
        at_once.post().unwrap().upload_indexed(1, sizes[1]).upload_indexed(0, sizes[0]);
        assert_eq!(at_once.project, by_job.project, "{sizes:?}");
        by_job
            .effects
            .retain(|effect| !matches!(effect, Effect::Enqueue(Job { task: Task::Ingest { .. }, .. })));
        assert_eq!(at_once.effects, by_job.effects, "{sizes:?}");
    }
    let mut story = Story::new(2, ResultType::Groups);
    let dataset = Dataset { upload: 1, records: 10, encoding_bytes: 8, blocks: 1 };
    let event = Event::UploadIndexed { party: 0, dataset, receipt: HASH, at: at(9) };
    assert_eq!(story.tell(&event).err(), Some(Refused::UploadSuperseded));
}

#[test]
fn a_token_uploads_once_and_only_one_request_at_a_time() {
    let mut story = Story::new(2, ResultType::Groups);
    story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).unwrap();
    assert_eq!(
        story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).err(),
        Some(Refused::UploadUnderWay)
    );
    story.tell(&Event::UploadAbandoned { party: 0, upload: 1 }).unwrap();
    assert_eq!(purges(&story), [Purge::Upload { party: 0, upload: 1 }]);
    story.upload(0, 8);
    assert_eq!(
        story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).err(),
        Some(Refused::TokenUsed)
    );
    assert_eq!(
        story.tell(&Event::UploadBegun { party: 2, upload: 1, holder: None }).err(),
        Some(Refused::Absent)
    );
    assert_eq!(story.project.parties_contributed(), 1);
}

#[test]
fn an_upload_that_was_given_up_cannot_be_accepted() {
    let mut story = Story::new(2, ResultType::Groups);
    story
        .tell(&Event::UploadBegun { party: 0, upload: 1, holder: None })
        .unwrap()
        .tell(&Event::Restarted)
        .unwrap();
    let upload = Upload { upload: 1, records: 1, encoding_bytes: 8, blocks: false };
    let late = Event::UploadAccepted { party: 0, upload, receipt: HASH };
    assert_eq!(story.tell(&late).err(), Some(Refused::UploadSuperseded));
    assert_eq!(story.project.parties[0].contents, Contents::Missing);
}

#[test]
fn a_size_out_of_bounds_is_a_project_error_that_a_new_upload_repairs() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 4096).ingest();
    assert!(story.project.error().unwrap().contains("4096 bytes"));
    assert!(matches!(story.post(), Err(Refused::ProjectInError(_))));
    story.upload(0, 64).upload(1, 64).ingest().post().unwrap();
    assert_eq!(*story.state(), RunState::Queued);
    assert_eq!(story.project.error(), None);
}

#[test]
fn different_sizes_fail_the_odd_party_and_every_open_run() {
    let mut story = Story::new(3, ResultType::Groups);
    story.post().unwrap();
    story.upload(2, 64).upload(0, 64).upload(1, 256).ingest();
    assert!(matches!(story.project.parties[1].contents, Contents::Failed { .. }));
    let RunState::Failed { message, stage } = story.state() else { panic!("the run failed") };
    assert!(message.contains("party 1 have 256 bytes"), "{message}");
    assert_eq!(*stage, 1);
}

#[test]
fn a_size_that_is_no_multiple_of_8_fails_the_runs_and_not_the_project() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 20).upload(1, 20).ingest().post().unwrap();
    assert_eq!(story.project.error(), None);
    assert!(matches!(story.state(), RunState::Failed { message, .. } if message.contains("multiple of 8")));
}

#[test]
fn an_upload_that_cannot_be_laid_out_leaves_the_runs_waiting() {
    let mut story = Story::new(2, ResultType::Groups);
    story.post().unwrap();
    story.upload(0, 8);
    let job = story.job(|task| matches!(task, Task::Ingest { .. }));
    story.report(job, Outcome::Rejected { message: "the disk is full".to_owned() });
    assert_eq!((story.project.error(), story.state()), (Some("the disk is full"), &RunState::Created));
    story.upload(0, 8).upload(1, 8).ingest();
    assert_eq!(*story.state(), RunState::Queued);
}

#[test]
fn too_many_pairs_end_the_run_and_call_off_its_jobs() {
    // The limit of the solver applies early where no pair is found twice.
    for (result_type, blocks, pairs_max) in [
        (ResultType::Groups, false, 50),
        (ResultType::Permutations, false, 50),
        (ResultType::Groups, true, 100),
        (ResultType::SimilarityScores, false, 100),
    ] {
        let mut story = Story::new(2, result_type);
        story.project.uses_blocking = blocks;
        story.upload(0, 8).upload(1, 8).ingest().post().unwrap().plan(3);
        let asked = |effect: &Effect| matches!(effect, Effect::Enqueue(Job { task: Task::Compare { pairs_max: asked, .. }, .. }) if *asked == pairs_max);
        assert_eq!(story.effects.iter().filter(|effect| asked(effect)).count(), 3);
        story.compare(0, pairs_max);
        assert_eq!(*story.state(), RunState::Comparing);
        story.compare(1, 1);
        let RunState::Failed { message, stage } = story.state() else { panic!("the run failed") };
        let told = format!(
            "found {} candidate pairs, and the limit is {pairs_max}: use a higher threshold",
            pairs_max + 1
        );
        assert!(message.contains(&told), "{message}");
        assert_eq!(*stage, 2);
        assert!(story.effects.contains(&Effect::Cancel(group_of_run(story.project.id, RUN))));
        assert_eq!(purges(&story), [Purge::Run(RUN)]);
    }
}

#[test]
fn a_deleted_run_takes_its_jobs_and_objects_with_it() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap().plan(2);
    story.tell(&Event::RunDeleted(RUN)).unwrap();
    assert!(story.effects.contains(&Effect::Cancel(group_of_run(story.project.id, RUN))));
    assert_eq!(purges(&story), [Purge::Run(RUN)]);
    assert_eq!(story.tell(&Event::RunDeleted(RUN)).err(), Some(Refused::Absent));
    let before = story.project.clone();
    story.compare(0, 1);
    assert_eq!(story.project, before);
}

#[test]
fn a_deleted_project_leaves_nothing_but_a_purge() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap();
    let next = next(story.project.clone(), &Event::Deleted, &rules()).unwrap();
    assert_eq!(next.state, None);
    let cancelled = [story.project.id.to_string(), group_of_run(story.project.id, RUN)].map(Effect::Cancel);
    assert_eq!(next.effects[..2], cancelled);
    let purge = Job { project: story.project.id, task: Task::Purge(Purge::Project) };
    assert_eq!(next.effects[2..], [Effect::Enqueue(purge)]);
}

#[test]
fn after_a_restart_exactly_the_missing_jobs_are_asked_for() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap().plan(3).compare(1, 0);
    story.effects.clear();
    story.tell(&Event::Restarted).unwrap();
    let parts: Vec<u32> = story
        .jobs()
        .iter()
        .map(|job| if let Task::Compare { part, .. } = job.task { part } else { panic!("a comparison") })
        .collect();
    assert_eq!(parts, [0, 2]);
}

#[test]
fn a_job_is_wanted_until_its_outcome_is_applied() {
    let mut story = Story::new(2, ResultType::Groups);
    story.upload(0, 8).upload(1, 8);
    let wanted = |story: &Story| -> Vec<bool> {
        story.jobs().iter().map(|job| super::jobs::is_wanted(&story.project, job)).collect()
    };
    assert_eq!(wanted(&story), [true, true]);
    story.ingest().post().unwrap();
    assert_eq!(wanted(&story), [false, false, true]);
    story.plan(2).compare(0, 0);
    assert_eq!(wanted(&story), [false, false, false, false, true]);
    story.compare(1, 0);
    assert_eq!(wanted(&story), [false, false, false, false, false, true]);
    story.finalize();
    assert_eq!(wanted(&story), [false, false, false, false, false, false, true]);
}

fn reference() -> Reference {
    let own = |key: &str| NamedFile::Own(key.to_owned());
    Reference { upload: 1, encodings: own("p/0/e.bin"), blocks: Some(own("p/0/b.json")) }
}

fn referred(reference: Reference, keyring: Keyring) -> Event {
    Event::UploadReferred { party: 0, reference, keyring, receipt: HASH }
}

#[test]
fn files_are_read_once_and_go_once_they_are_read() {
    let mut story = Story::new(2, ResultType::Groups);
    story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).unwrap();
    let referred = referred(reference(), Keyring::default());
    story.tell(&referred).unwrap();
    assert_eq!(story.project.parties_contributed(), 1);
    assert_eq!(story.tell(&referred).err(), Some(Refused::UploadSuperseded));
    assert_eq!(
        story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).err(),
        Some(Refused::TokenUsed)
    );
    let job = story.job(|task| matches!(task, Task::Fetch { .. }));
    let upload = Upload { upload: 1, records: 10, encoding_bytes: 8, blocks: true };
    story.report(job.clone(), Outcome::Fetched(upload.clone()));
    story.report(job, Outcome::Rejected { message: "too late".to_owned() });
    assert_eq!(story.project.parties[0].contents, Contents::Ingesting(upload));
    let files = vec!["p/0/e.bin".to_owned(), "p/0/b.json".to_owned()];
    let gone = Task::Purge(Purge::Files { party: 0, upload: 1, files });
    assert_eq!(story.jobs().iter().filter(|job| job.task == gone).count(), 1);
    assert!(story.ingest().project.parties[0].dataset().is_some());
}

#[test]
fn files_of_other_stores_stay_and_their_keys_go_once_they_are_read() {
    let keys = AccessKeys {
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
    };
    let file = ForeignFile {
        endpoint: "a.example".to_owned(),
        secure: true,
        bucket: "b".to_owned(),
        path: "p".to_owned(),
    };
    let reference = Reference { upload: 1, encodings: NamedFile::Foreign(Box::new(file)), blocks: None };
    let keyring = Keyring { encodings: Some(Box::new(keys)), blocks: None };
    let mut story = Story::new(2, ResultType::Groups);
    story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).unwrap();
    story.tell(&referred(reference.clone(), keyring.clone())).unwrap();
    assert_eq!(story.project.parties[0].contents, Contents::Fetching { reference, keyring });
    let job = story.job(|task| matches!(task, Task::Fetch { .. }));
    assert!(!serde_json::to_string(&job).unwrap().contains("secret"));
    let upload = Upload { upload: 1, records: 10, encoding_bytes: 8, blocks: false };
    story.report(job, Outcome::Fetched(upload.clone()));
    assert_eq!(story.project.parties[0].contents, Contents::Ingesting(upload));
    assert!(!story.jobs().iter().any(|job| matches!(job.task, Task::Purge(Purge::Files { .. }))));
}

#[test]
fn files_that_cannot_be_used_put_the_project_in_error_until_the_next_upload() {
    let mut story = Story::new(2, ResultType::Groups);
    story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).unwrap();
    story.tell(&referred(reference(), Keyring::default())).unwrap();
    let job = story.job(|task| matches!(task, Task::Fetch { .. }));
    story.report(job, Outcome::Rejected { message: "it is empty".to_owned() });
    assert_eq!(story.project.error(), Some("it is empty"));
    assert!(story.tell(&Event::UploadBegun { party: 0, upload: 1, holder: None }).is_ok());
}

#[test]
fn the_files_of_scores_go_with_their_project() {
    let mut story = Story::new(2, ResultType::SimilarityScores);
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap();
    let plan = story.job(|task| matches!(task, Task::Plan { .. }));
    story.report(plan, Outcome::Planned { parts: 0, comparisons: 0, largest_blocks: Vec::new() });
    let Next { effects, .. } = next(story.project.clone(), &Event::Deleted, &rules()).unwrap();
    let purges = |wanted: &Purge| {
        let is = |effect: &&Effect| matches!(effect, Effect::Enqueue(job) if job.task == Task::Purge(wanted.clone()));
        effects.iter().filter(is).count()
    };
    assert_eq!((purges(&Purge::Run(RUN)), purges(&Purge::Project)), (1, 1));
}

#[test]
fn a_project_goes_when_its_last_run_ended_long_ago_and_nothing_goes_on() {
    let mut story = Story::new(2, ResultType::Groups);
    let aged = |story: &Story, before| {
        next(story.project.clone(), &Event::Aged { before: at(before) }, &rules()).unwrap().state.is_none()
    };
    assert!(!aged(&story, 1_000), "it was never used");
    story.upload(0, 8).upload(1, 8).ingest().post().unwrap().plan(1);
    assert!(!aged(&story, 1_000), "its run goes on");
    story.compare(0, 0).finalize();
    assert!(!aged(&story, 9));
    assert!(aged(&story, 10));
}

/// Returns a project with runs in every state and parties of every kind, in the combinations that can occur.
fn crowded(contents: [Contents; 2]) -> ProjectState {
    let parties = contents.map(|contents| Party { contents, uploads: 1, ..Party::new(HASH) });
    let progress =
        || Progress { parts: 2, applied: BitSet::below(2), comparisons_total: 4, ..Progress::default() };
    let ready = parties.iter().all(|party| party.dataset().is_some());
    let states = [
        RunState::Created,
        RunState::Queued,
        RunState::Comparing,
        RunState::Finalizing,
        RunState::Completed(Summary::default()),
        RunState::Failed { message: String::new(), stage: 2 },
    ];
    let runs = (0..).zip(states).filter(|(_, state)| (*state == RunState::Created) != ready);
    let run = |(number, state): (u8, RunState)| Run {
        progress: (number > 1).then(progress),
        ended: matches!(state, RunState::Completed(_) | RunState::Failed { .. }).then(|| at(3)),
        state,
        ..Run::asked_for(RunId::from_bytes([number; 24]), Threshold::new(0.5).unwrap(), at(1))
    };
    ProjectState {
        runs: runs.map(run).collect(),
        ..ProjectState::of(parties.to_vec(), ResultType::SimilarityScores)
    }
}

/// Returns the project as it is loaded for an event: with the runs that `runs` selects.
fn loaded(project: &ProjectState, runs: Runs) -> ProjectState {
    let wanted = |run: &&Run| match runs {
        Runs::None => false,
        Runs::One(id) => run.id == id,
        Runs::Unended => !run.has_ended(),
        Runs::All => true,
    };
    ProjectState { runs: project.runs.iter().filter(wanted).cloned().collect(), ..project.clone() }
}

#[test]
fn an_event_changes_no_run_that_was_not_loaded_for_it() {
    let upload = Upload { upload: 1, records: 2, encoding_bytes: 8, blocks: false };
    let dataset = Dataset { upload: 1, records: 2, encoding_bytes: 8, blocks: 1 };
    let (ready, ingesting) = (Contents::Ready(dataset.clone()), Contents::Ingesting(upload.clone()));
    let mut uploading = crowded([ready.clone(), Contents::Missing]);
    uploading.parties[1].uploads = 1;
    uploading.parties[1].uploading = true;
    for project in [crowded([ready.clone(), ready.clone()]), crowded([ready, ingesting]), uploading] {
        for event in every_event(&project, &upload, &dataset) {
            let all = next(project.clone(), &event, &rules());
            let some = next(loaded(&project, event.runs()), &event, &rules());
            let (Ok(all), Ok(some)) = (&all, &some) else {
                assert_eq!(all, some, "{event:?}");
                continue;
            };
            assert_eq!(all.effects, some.effects, "{event:?}");
            let untouched =
                |run: &&Run| !loaded(&project, event.runs()).runs.iter().any(|other| other.id == run.id);
            let rest = project.runs.iter().filter(untouched).cloned();
            let merged = some.state.clone().map(|state| {
                let mut runs: Vec<Run> = state.runs.iter().cloned().chain(rest).collect();
                runs.sort_by_key(|run| run.id);
                ProjectState { runs, ..state }
            });
            assert_eq!(all.state, merged, "{event:?}");
        }
    }
}

fn every_event(project: &ProjectState, upload: &Upload, dataset: &Dataset) -> Vec<Event> {
    let new = Run::asked_for(RunId::from_bytes([9; 24]), Threshold::new(0.5).unwrap(), at(4));
    let report = |task: Task, outcome| Event::Reported {
        reports: vec![Report { job: Job { project: project.id, task }, outcome }],
        at: at(5),
        seed: Seed::from_bytes([3; 32]),
    };
    let ingest = || Task::Ingest { party: 1, upload: upload.clone() };
    let other = Dataset { encoding_bytes: 16, ..dataset.clone() };
    let rejected = || Outcome::Rejected { message: "no".to_owned() };
    let mut events = vec![
        Event::UploadBegun { party: 1, upload: 1, holder: None },
        Event::UploadAccepted { party: 1, upload: upload.clone(), receipt: HASH },
        Event::UploadIndexed { party: 1, dataset: dataset.clone(), receipt: HASH, at: at(5) },
        Event::UploadIndexed { party: 1, dataset: other.clone(), receipt: HASH, at: at(5) },
        Event::UploadAbandoned { party: 1, upload: 1 },
        Event::RunPosted(Box::new(new)),
        Event::Deleted,
        Event::Restarted,
        Event::Stalled,
        Event::Aged { before: at(9) },
        report(ingest(), Outcome::Ingested(dataset.clone())),
        report(ingest(), Outcome::Ingested(other)),
        report(ingest(), rejected()),
    ];
    for run in project.runs.iter().map(|run| run.id) {
        let plan = || Task::Plan {
            run,
            uploads: vec![1, 1],
            threshold: Threshold::new(0.5).unwrap(),
            comparisons_per_job: None,
            whole: None,
        };
        let compare = Task::Compare { run, uploads: vec![1, 1], part: 0, pairs_max: 9 };
        events.extend([
            Event::RunDeleted(run),
            Event::RunStarted { run, at: at(6) },
            report(plan(), Outcome::Planned { parts: 2, comparisons: 4, largest_blocks: vec![4] }),
            report(plan(), Outcome::Solved(solved(1))),
            report(plan(), Outcome::Solved(solved(1_000))),
            report(plan(), rejected()),
            report(compare.clone(), Outcome::Compared { comparisons: 2, pairs: 1 }),
            report(compare, Outcome::Compared { comparisons: 2, pairs: 1_000 }),
        ]);
    }
    events
}

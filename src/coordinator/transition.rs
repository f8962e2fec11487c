//! The state transitions of a project, as one pure function.

use std::time::Duration;

use super::event::{Effect, Event, Refused, Report, Rules};
use super::{encoding_size, jobs};
use crate::model::job::group_of_run;
use crate::model::run::Progress;
use crate::model::{
    Contents, Dataset, Job, Keyring, Outcome, Party, ProjectState, Purge, Reference, ResultType, Run, RunId,
    RunState, Seed, Solved, Summary, Task, TokenHash, Upload,
};
use crate::runtime::clock::Timestamp;

/// The result of applying an event to a project.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The project after the event; absent if the event deleted it.
    pub state: Option<ProjectState>,
    /// The effects, in order.
    pub effects: Vec<Effect>,
}

/// Applies an event to a project, its parties and its runs. The function uses no clock, no store and no randomness. The
/// caller commits the state with the effects in its outbox, and may call again if the commit has to be repeated. An
/// event that was applied before changes nothing. The project must contain the runs that the event may change; other
/// runs make no difference.
///
/// # Errors
/// [`Refused`]; the project stays unchanged.
pub fn next(project: ProjectState, event: &Event, rules: &Rules) -> Result<Next, Refused> {
    let mut step = Step { project, effects: Vec::new(), rules };
    match event {
        Event::UploadBegun { party, upload, holder } => {
            step.upload_begun(*party, *upload, holder.as_deref())?;
        }
        Event::UploadAccepted { party, upload, receipt } => step.upload_accepted(*party, upload, *receipt)?,
        Event::UploadIndexed { party, dataset, receipt, at } => {
            step.upload_indexed(*party, dataset, *receipt, *at)?;
        }
        Event::UploadReferred { party, reference, keyring, receipt } => {
            step.upload_referred(*party, reference, keyring, *receipt)?;
        }
        Event::ReceiptRenewed { party, upload, receipt } => {
            step.receipt_renewed(*party, *upload, *receipt)?;
        }
        Event::UploadAbandoned { party, upload } => step.upload_abandoned(*party, *upload),
        Event::RunPosted(run) => step.run_posted(run)?,
        Event::RunDeleted(run) => step.run_deleted(*run)?,
        Event::Deleted => return Ok(step.deleted()),
        Event::RunStarted { run, at } => step.run_started(*run, *at),
        Event::Reported { reports, at, seed } => {
            reports.iter().for_each(|report| step.reported(report, *at, seed));
        }
        Event::Restarted => step.restarted(),
        Event::HoldersLost { serving } => {
            step.end_uploads(|party| party.holder.as_ref().is_none_or(|holder| !serving.contains(holder)));
        }
        Event::Stalled => step.stalled(),
        Event::Aged { before } if step.project.settled().is_some_and(|settled| settled < *before) => {
            return Ok(step.deleted());
        }
        Event::Aged { .. } => {}
    }
    Ok(Next { state: Some(step.project), effects: step.effects })
}

/// A project while an event is being applied to it.
struct Step<'a> {
    project: ProjectState,
    effects: Vec<Effect>,
    rules: &'a Rules,
}

impl Step<'_> {
    fn enqueue(&mut self, job: Job) {
        self.effects.push(Effect::Enqueue(job));
    }

    fn purge(&mut self, purge: Purge) {
        self.enqueue(Job { project: self.project.id, task: Task::Purge(purge) });
    }

    /// Cancels the jobs of a run.
    fn cancel(&mut self, run: RunId) {
        self.effects.push(Effect::Cancel(group_of_run(self.project.id, run)));
    }

    fn run(&mut self, id: RunId) -> Option<&mut Run> {
        self.project.runs.iter_mut().find(|run| run.id == id)
    }

    fn open_runs(&self) -> Vec<RunId> {
        self.project.runs.iter().filter(|run| !run.has_ended()).map(|run| run.id).collect()
    }

    /// Deletes the project: its jobs are cancelled and its objects are removed.
    fn deleted(mut self) -> Next {
        self.effects.push(Effect::Cancel(self.project.id.to_string()));
        for run in self.open_runs() {
            self.cancel(run);
        }
        // Score files are stored outside the project's objects, so each run with one needs its own purge.
        let with_files: Vec<RunId> = self.runs_with_score_files().collect();
        with_files.into_iter().for_each(|run| self.purge(Purge::Run(run)));
        self.purge(Purge::Project);
        Next { state: None, effects: self.effects }
    }

    fn runs_with_score_files(&self) -> impl Iterator<Item = RunId> {
        let scores = self.project.result_type == ResultType::SimilarityScores;
        let made = |run: &&Run| matches!(run.state, RunState::Finalizing | RunState::Completed(_));
        self.project.runs.iter().filter(move |run| scores && made(run)).map(|run| run.id)
    }

    fn upload_begun(&mut self, party: u32, upload: u32, holder: Option<&str>) -> Result<(), Refused> {
        let party = self.project.parties.get_mut(party as usize).ok_or(Refused::Absent)?;
        if party.uploading {
            return Err(Refused::UploadUnderWay);
        }
        if !matches!(party.contents, Contents::Missing | Contents::Failed { .. }) {
            return Err(Refused::TokenUsed);
        }
        party.uploading = true;
        party.holder = holder.map(str::to_owned);
        party.uploads = upload;
        Ok(())
    }

    fn upload_accepted(&mut self, index: u32, upload: &Upload, receipt: TokenHash) -> Result<(), Refused> {
        self.upload_ended(index, upload.upload, receipt)?.contents = Contents::Ingesting(upload.clone());
        self.enqueue(jobs::ingest(self.project.id, index, upload));
        Ok(())
    }

    fn upload_indexed(
        &mut self,
        index: u32,
        dataset: &Dataset,
        receipt: TokenHash,
        at: Timestamp,
    ) -> Result<(), Refused> {
        self.upload_ended(index, dataset.upload, receipt)?.contents = Contents::Ready(dataset.clone());
        self.judge_sizes(index, dataset, at);
        Ok(())
    }

    fn upload_referred(
        &mut self,
        index: u32,
        reference: &Reference,
        keyring: &Keyring,
        receipt: TokenHash,
    ) -> Result<(), Refused> {
        self.upload_ended(index, reference.upload, receipt)?.contents =
            Contents::Fetching { reference: reference.clone(), keyring: keyring.clone() };
        self.enqueue(jobs::fetch(self.project.id, index, reference));
        Ok(())
    }

    /// Returns the party whose upload was accepted.
    fn upload_ended(&mut self, index: u32, upload: u32, receipt: TokenHash) -> Result<&mut Party, Refused> {
        let party = self.project.parties.get_mut(index as usize).ok_or(Refused::Absent)?;
        if !party.uploading || party.uploads != upload {
            return Err(Refused::UploadSuperseded);
        }
        party.uploading = false;
        party.holder = None;
        party.receipt_token = Some(receipt);
        Ok(party)
    }

    fn receipt_renewed(&mut self, index: u32, upload: u32, receipt: TokenHash) -> Result<(), Refused> {
        let party = self.project.parties.get_mut(index as usize).ok_or(Refused::Absent)?;
        let accepted = match &party.contents {
            Contents::Ingesting(accepted) => Some(accepted.upload),
            Contents::Ready(accepted) => Some(accepted.upload),
            Contents::Missing | Contents::Fetching { .. } | Contents::Failed { .. } => None,
        };
        if accepted != Some(upload) {
            return Err(Refused::TokenUsed);
        }
        party.receipt_token = Some(receipt);
        Ok(())
    }

    fn upload_abandoned(&mut self, index: u32, upload: u32) {
        let Some(party) = self.project.parties.get_mut(index as usize) else { return };
        if party.uploading && party.uploads == upload {
            party.uploading = false;
            party.holder = None;
            self.purge(Purge::Upload { party: index, upload });
        }
    }

    fn run_posted(&mut self, run: &Run) -> Result<(), Refused> {
        if let Some(message) = self.project.error() {
            return Err(Refused::ProjectInError(message.to_owned()));
        }
        self.project.runs.push(run.clone());
        self.start_runs(run.added);
        Ok(())
    }

    fn run_deleted(&mut self, id: RunId) -> Result<(), Refused> {
        let index = self.project.runs.iter().position(|run| run.id == id).ok_or(Refused::Absent)?;
        self.project.runs.remove(index);
        self.cancel(id);
        self.purge(Purge::Run(id));
        Ok(())
    }

    fn run_started(&mut self, id: RunId, at: Timestamp) {
        if let Some(run) = self.run(id)
            && run.state == RunState::Queued
        {
            run.state = RunState::Comparing;
            run.started.get_or_insert(at);
        }
    }

    fn reported(&mut self, report: &Report, at: Timestamp, seed: &Seed) {
        match (&report.job.task, &report.outcome) {
            (Task::Fetch { party, reference }, outcome) => self.fetched(*party, reference, outcome),
            (Task::Ingest { party, upload }, outcome) => self.ingested(*party, upload, outcome, at),
            (task, Outcome::Rejected { message }) => {
                if let Some(run) = task.run() {
                    self.fail_run(run, message, at);
                }
            }
            (Task::Plan { run, .. }, Outcome::Planned { parts, comparisons, largest_blocks }) => {
                let blocks = if self.project.uses_blocking { largest_blocks.clone() } else { Vec::new() };
                let progress = Progress::planned(*parts, *comparisons, blocks);
                self.planned(*run, progress, at, seed);
            }
            (Task::Plan { run, .. }, Outcome::Solved(solved)) => self.solved(*run, solved, at),
            (Task::Compare { run, part, .. }, Outcome::Compared { comparisons, pairs }) => {
                self.compared(*run, *part, *comparisons, *pairs, at);
            }
            (Task::Finalize { run, .. }, Outcome::Finalized(summary)) => {
                self.finalized(*run, summary.clone(), at);
            }
            // A purge changes nothing in the project, and no job has an outcome of another kind.
            _ => {}
        }
    }

    /// Applies the outcome of reading the files of an upload. Unusable files are kept, so that they can be replaced.
    fn fetched(&mut self, index: u32, reference: &Reference, outcome: &Outcome) {
        let Some(party) = self.project.parties.get_mut(index as usize) else { return };
        if party.contents.named() != Some(reference) {
            return;
        }
        match outcome {
            Outcome::Fetched(upload) => {
                party.contents = Contents::Ingesting(upload.clone());
                self.enqueue(jobs::ingest(self.project.id, index, upload));
                let files: Vec<String> = reference.own_files().cloned().collect();
                if !files.is_empty() {
                    self.purge(Purge::Files { party: index, upload: reference.upload, files });
                }
            }
            Outcome::Rejected { message } => self.fail_party(index, message.clone()),
            _ => {}
        }
    }

    /// Applies the outcome of indexing an upload.
    fn ingested(&mut self, index: u32, upload: &Upload, outcome: &Outcome, at: Timestamp) {
        let Some(party) = self.project.parties.get_mut(index as usize) else { return };
        if party.contents != Contents::Ingesting(upload.clone()) {
            return;
        }
        match outcome {
            Outcome::Ingested(dataset) => {
                party.contents = Contents::Ready(dataset.clone());
                if upload.blocks {
                    self.purge(Purge::Entries { party: index, upload: upload.upload });
                }
                self.judge_sizes(index, dataset, at);
            }
            Outcome::Rejected { message } => self.fail_party(index, message.clone()),
            _ => {}
        }
    }

    /// Checks the encoding size of a dataset, and compares the sizes of all datasets once all are ready.
    fn judge_sizes(&mut self, index: u32, dataset: &Dataset, at: Timestamp) {
        let alone =
            encoding_size::check_alone(&self.project, index, dataset, self.rules).map_err(|why| (index, why));
        match alone.and_then(|()| encoding_size::check_together(&self.project)) {
            Ok(()) => self.start_runs(at),
            Err((odd, message)) => {
                self.fail_party(odd, message.clone());
                self.fail_runs(&message, at, |run| !run.has_ended());
            }
        }
    }

    /// Removes the party's data; the party may upload again.
    fn fail_party(&mut self, index: u32, message: String) {
        let Some(party) = self.project.parties.get_mut(index as usize) else { return };
        let upload = party.contents.upload().unwrap_or(party.uploads);
        party.contents = Contents::Failed { message };
        self.purge(Purge::Upload { party: index, upload });
    }

    /// Starts every run that waits for data, if the data of all parties is ready.
    fn start_runs(&mut self, at: Timestamp) {
        let Some(datasets) = jobs::datasets(&self.project) else { return };
        let size = datasets[0].encoding_bytes;
        if let Err(error) = linkage::encoding::check_comparable(size) {
            self.fail_runs(&error.to_string(), at, |run| run.state == RunState::Created);
            return;
        }
        self.project.encoding_bytes = Some(size);
        let mut started = Vec::new();
        for (index, run) in self.project.runs.iter_mut().enumerate() {
            if run.state == RunState::Created {
                run.state = RunState::Queued;
                run.times.ready = Some(at);
                started.push(index);
            }
        }
        for index in started {
            self.effects.extend(jobs::ask(&self.project, &self.project.runs[index], self.rules));
        }
    }

    fn planned(&mut self, id: RunId, progress: Progress, at: Timestamp, seed: &Seed) {
        let permutes = self.project.result_type == ResultType::Permutations;
        let Some(run) = self.run(id).filter(|run| run.progress.is_none() && !run.has_ended()) else { return };
        run.started.get_or_insert(at);
        let parts = progress.parts;
        run.progress = Some(progress);
        run.seed = permutes.then(|| seed.clone());
        run.times.latest = Some(at);
        run.times.compared = (parts == 0).then_some(at);
        run.state = if parts == 0 { RunState::Finalizing } else { RunState::Comparing };
        self.enqueue_current(id);
    }

    /// Applies the outcome of a job that planned a small run and brought it to its result. The run is then as three jobs
    /// would have left it, with one part. There are no intermediate objects to remove.
    fn solved(&mut self, id: RunId, solved: &Solved, at: Timestamp) {
        let pairs_max = self.rules.pairs_max(&self.project);
        let blocks = if self.project.uses_blocking { solved.largest_blocks.clone() } else { Vec::new() };
        let Some(run) = self.run(id).filter(|run| run.progress.is_none() && !run.has_ended()) else { return };
        let started = *run.started.get_or_insert(at);
        let compared = at.before(Duration::from_micros(solved.finalizing_us)).max(started);
        let planned = compared.before(Duration::from_micros(solved.comparing_us)).max(started);
        let parts = u32::from(solved.comparisons > 0);
        let mut progress = Progress::planned(parts, solved.comparisons, blocks);
        run.times.latest = Some(planned);
        if parts > 0 {
            progress.applied.insert(0);
            run.times.part_reported(compared);
        }
        progress.comparisons = solved.comparisons;
        progress.pairs = solved.pairs;
        run.progress = Some(progress);
        run.state = RunState::Comparing;
        if solved.pairs > pairs_max {
            // The limit was lowered after the job was enqueued.
            return self.fail_run(id, &too_many_pairs(solved.pairs, pairs_max), at);
        }
        run.times.compared = Some(compared);
        run.state = RunState::Completed(solved.summary.clone());
        run.ended = Some(at);
    }

    fn compared(&mut self, id: RunId, part: u32, comparisons: u64, pairs: u64, at: Timestamp) {
        let pairs_max = self.rules.pairs_max(&self.project);
        let Some(run) = self.run(id).filter(|run| run.state == RunState::Comparing) else { return };
        let Some(progress) = run.progress.as_mut() else { return };
        if !progress.applied.insert(part) {
            return;
        }
        progress.comparisons = progress.comparisons.saturating_add(comparisons);
        progress.pairs = progress.pairs.saturating_add(pairs);
        run.times.part_reported(at);
        let found = progress.pairs;
        if found > pairs_max {
            self.fail_run(id, &too_many_pairs(found, pairs_max), at);
        } else if progress.applied.len() == u64::from(progress.parts) {
            run.state = RunState::Finalizing;
            run.times.compared = Some(at);
            self.enqueue_current(id);
        }
    }

    fn finalized(&mut self, id: RunId, summary: Summary, at: Timestamp) {
        let Some(run) = self.run(id).filter(|run| run.state == RunState::Finalizing) else { return };
        run.state = RunState::Completed(summary);
        run.ended = Some(at);
        run.seed = None;
        self.purge(Purge::Intermediate(id));
    }

    /// Fails a run: its jobs are cancelled and its objects removed.
    fn fail_run(&mut self, id: RunId, message: &str, at: Timestamp) {
        self.fail_runs(message, at, |run| run.id == id && !run.has_ended());
    }

    /// Fails the runs for which `which` returns true.
    fn fail_runs(&mut self, message: &str, at: Timestamp, which: impl Fn(&Run) -> bool) {
        let stages = self.project.result_type.stages();
        let mut failed = Vec::new();
        for run in self.project.runs.iter_mut().filter(|run| which(run)) {
            run.state = RunState::Failed { message: message.to_owned(), stage: run.stage(stages) };
            run.ended = Some(at);
            run.seed = None;
            failed.push(run.id);
        }
        for run in failed {
            self.cancel(run);
            self.purge(Purge::Run(run));
        }
    }

    /// Applies a restart of the process: requests that were in progress have ended.
    fn restarted(&mut self) {
        self.end_uploads(|_| true);
        self.stalled();
    }

    /// Ends uploads that will never be complete, and releases their locks.
    fn end_uploads(&mut self, these: impl Fn(&Party) -> bool) {
        let uploading: Vec<(u32, u32)> = (0..)
            .zip(&self.project.parties)
            .filter(|(_, party)| party.uploading && these(party))
            .map(|(index, party)| (index, party.uploads))
            .collect();
        uploading.into_iter().for_each(|(index, upload)| self.upload_abandoned(index, upload));
    }

    /// Enqueues every job that should be in progress. This has no effect on jobs that are already in the queue.
    fn stalled(&mut self) {
        self.effects.extend(jobs::ask_all(&self.project, self.rules));
    }

    /// Enqueues the jobs that continue a run from its present state.
    fn enqueue_current(&mut self, id: RunId) {
        let Some(run) = self.project.run(id) else { return };
        self.effects.extend(jobs::ask(&self.project, run, self.rules));
    }
}

/// Returns the message of a run with too many candidate pairs.
pub fn too_many_pairs(pairs: u64, pairs_max: u64) -> String {
    format!(
        "the run found {pairs} candidate pairs, and the limit is {pairs_max}: \
         use a higher threshold or blocking to find fewer"
    )
}

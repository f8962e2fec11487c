//! Determines the objects that a job may read and create. A worker on another machine has no access to other objects.

use crate::model::{Job, NamedFile, Outcome, ProjectId, ResultType, RunId, Task, WholeRun};
use crate::objects::{Key, keys};

/// Returns the key with the text `text`, if the job may read this object.
pub fn readable(job: &Job, text: &str) -> Option<Key> {
    let project = job.project;
    let datasets = |uploads: &[u32]| -> Vec<Key> {
        let keys_of = |(party, upload): (u32, &u32)| {
            [keys::matrix(project, party, *upload), keys::index(project, party, *upload)]
        };
        (0..).zip(uploads).flat_map(keys_of).collect()
    };
    let inputs = match &job.task {
        Task::Fetch { .. } | Task::Chore { .. } | Task::Purge(_) => Vec::new(),
        Task::Ingest { party, upload } => {
            vec![keys::matrix(project, *party, upload.upload), keys::entries(project, *party, upload.upload)]
        }
        Task::Plan { uploads, .. } => datasets(uploads),
        Task::Compare { run, uploads, .. } => {
            let mut inputs = datasets(uploads);
            inputs.push(keys::plan(project, *run));
            inputs
        }
        Task::Finalize { run, parts, .. } => pairs(project, *run, *parts, text).into_iter().collect(),
    };
    named(inputs, text).or_else(|| writable(job, text))
}

/// Returns the key with the text `text`, if the job may create this object.
pub fn writable(job: &Job, text: &str) -> Option<Key> {
    let project = job.project;
    let outputs = match &job.task {
        Task::Chore { .. } | Task::Purge(_) => Vec::new(),
        Task::Fetch { party, reference } => vec![
            keys::matrix(project, *party, reference.upload),
            keys::entries(project, *party, reference.upload),
        ],
        Task::Ingest { party, upload } => vec![keys::index(project, *party, upload.upload)],
        Task::Plan { run, whole, .. } => {
            let result = whole.iter().flat_map(|whole| of_whole(project, *run, whole));
            std::iter::once(keys::plan(project, *run)).chain(result).collect()
        }
        Task::Compare { run, part, .. } => vec![keys::pairs(project, *run, *part)],
        Task::Finalize { run, result_type, records, with_scores, .. } => match result_type {
            ResultType::Groups => groups(project, *run, *with_scores),
            ResultType::SimilarityScores => vec![keys::scores(project, *run), keys::score_file(*run)],
            ResultType::Permutations => (0..records.len() as u32)
                .map(|party| keys::permutation(project, *run, party))
                .chain([keys::mask(project, *run)])
                .collect(),
        },
    };
    named(outputs, text)
}

/// Returns true if the job may read the client's file with this key.
pub fn may_read_file(job: &Job, key: &str) -> bool {
    let Task::Fetch { reference, .. } = &job.task else { return false };
    let files = std::iter::once(&reference.encodings).chain(&reference.blocks);
    files.into_iter().any(|file| matches!(file, NamedFile::Own(own) if own == key))
}

/// Returns the keys of the objects that must exist after this outcome of the job; `None` if a job of this kind cannot
/// have this outcome.
pub fn made(job: &Job, outcome: &Outcome) -> Option<Vec<Key>> {
    let project = job.project;
    match (&job.task, outcome) {
        (Task::Chore { .. } | Task::Purge(_), _) => None,
        (_, Outcome::Rejected { .. }) => Some(Vec::new()),
        (Task::Fetch { party, reference }, Outcome::Fetched(upload)) if upload.upload == reference.upload => {
            let entries = upload.blocks.then(|| keys::entries(project, *party, upload.upload));
            Some(std::iter::once(keys::matrix(project, *party, upload.upload)).chain(entries).collect())
        }
        (Task::Ingest { party, upload }, Outcome::Ingested(dataset)) => {
            let is_same = (dataset.upload, dataset.records) == (upload.upload, upload.records);
            is_same.then(|| vec![keys::index(project, *party, upload.upload)])
        }
        (Task::Plan { run, .. }, Outcome::Planned { .. }) => Some(vec![keys::plan(project, *run)]),
        (Task::Plan { run, whole: Some(whole), .. }, Outcome::Solved(_)) => {
            Some(of_whole(project, *run, whole)).filter(|made| !made.is_empty())
        }
        (Task::Compare { run, part, .. }, Outcome::Compared { .. }) => {
            Some(vec![keys::pairs(project, *run, *part)])
        }
        (Task::Finalize { run, result_type, records, .. }, Outcome::Finalized(summary)) => {
            Some(match result_type {
                // A worker of an older version makes no scores.
                ResultType::Groups => {
                    let scores = keys::groups_with_scores(project, *run);
                    groups(project, *run, summary.checksum(scores.name()).is_some())
                }
                ResultType::SimilarityScores => vec![keys::scores(project, *run)],
                ResultType::Permutations => (0..records.len() as u32)
                    .map(|party| keys::permutation(project, *run, party))
                    .chain([keys::mask(project, *run)])
                    .collect(),
            })
        }
        _ => None,
    }
}

/// Returns the keys of the objects of a result of groups.
fn groups(project: ProjectId, run: RunId, with_scores: bool) -> Vec<Key> {
    let scores = with_scores.then(|| keys::groups_with_scores(project, run));
    std::iter::once(keys::groups(project, run)).chain(scores).collect()
}

/// Returns the keys of the objects of a small run's result. A job that plans makes neither permutations nor score files.
fn of_whole(project: ProjectId, run: RunId, whole: &WholeRun) -> Vec<Key> {
    match whole.result_type {
        ResultType::Groups => groups(project, run, whole.with_scores),
        ResultType::SimilarityScores => vec![keys::scores(project, run)],
        ResultType::Permutations => Vec::new(),
    }
}

fn named(keys: Vec<Key>, text: &str) -> Option<Key> {
    keys.into_iter().find(|key| key.as_str() == text)
}

/// Returns the key of the pairs of a part, if there is such a part.
fn pairs(project: ProjectId, run: RunId, parts: u32, text: &str) -> Option<Key> {
    let part: u32 = text.rsplit('/').next()?.parse().ok()?;
    (part < parts).then(|| keys::pairs(project, run, part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checksum, Dataset, Solved, Summary, Threshold, Upload};

    const PROJECT: ProjectId = ProjectId::from_bytes([1; 24]);
    const RUN: RunId = RunId::from_bytes([2; 24]);

    fn job(task: Task) -> Job {
        Job { project: PROJECT, task }
    }

    #[test]
    fn a_job_reads_its_inputs_and_makes_its_outputs() {
        let compare = job(Task::Compare { run: RUN, uploads: vec![7, 8], part: 3, pairs_max: 9 });
        let own = keys::pairs(PROJECT, RUN, 3);
        for key in
            [keys::plan(PROJECT, RUN), keys::matrix(PROJECT, 0, 7), keys::index(PROJECT, 1, 8), own.clone()]
        {
            assert_eq!(readable(&compare, key.as_str()), Some(key.clone()));
            assert_eq!(writable(&compare, key.as_str()).is_some(), key == own, "{key}");
        }
        let stranger = ProjectId::from_bytes([9; 24]);
        for other in [
            keys::pairs(PROJECT, RUN, 4).to_string(),
            keys::matrix(PROJECT, 0, 8).to_string(),
            keys::matrix(stranger, 0, 7).to_string(),
            keys::groups(PROJECT, RUN).to_string(),
            "entityd/owner".to_owned(),
            "../metadata.db".to_owned(),
            String::new(),
        ] {
            assert_eq!(readable(&compare, &other), None, "{other}");
        }
    }

    #[test]
    fn a_result_is_made_of_the_pairs_of_its_run() {
        let (result_type, records) = (ResultType::Permutations, vec![5, 5]);
        let finalize = job(Task::Finalize {
            run: RUN,
            result_type,
            records,
            parts: 2,
            solver_pairs_max: 9,
            pairs: 0,
            with_scores: false,
        });
        assert!(readable(&finalize, keys::pairs(PROJECT, RUN, 1).as_str()).is_some());
        for other in
            [keys::pairs(PROJECT, RUN, 2), keys::groups(PROJECT, RUN), keys::permutation(PROJECT, RUN, 2)]
        {
            assert_eq!(readable(&finalize, other.as_str()), None, "{other}");
        }
        assert!(writable(&finalize, keys::permutation(PROJECT, RUN, 1).as_str()).is_some());
        assert_eq!(readable(&finalize, &format!("projects/{PROJECT}/runs/{RUN}/pairs/01")), None);
    }

    #[test]
    fn scores_of_groups_are_made_where_they_are_wanted() {
        let finalize = |with_scores| {
            let (result_type, records) = (ResultType::Groups, vec![5, 5]);
            job(Task::Finalize {
                run: RUN,
                result_type,
                records,
                parts: 2,
                solver_pairs_max: 9,
                pairs: 0,
                with_scores,
            })
        };
        let (groups, scores) = (keys::groups(PROJECT, RUN), keys::groups_with_scores(PROJECT, RUN));
        assert!(writable(&finalize(true), scores.as_str()).is_some());
        assert!(writable(&finalize(false), scores.as_str()).is_none());
        let checksum = Checksum { object: scores.name().to_owned(), bytes: 1, crc32: 1 };
        let done = |checksums| Outcome::Finalized(Summary { checksums, ..Summary::default() });
        assert_eq!(made(&finalize(true), &done(vec![checksum])), Some(vec![groups.clone(), scores]));
        // A worker of an older version does not know them.
        assert_eq!(made(&finalize(true), &done(Vec::new())), Some(vec![groups]));
    }

    #[test]
    fn a_job_that_plans_makes_a_result_only_where_it_may() {
        let plan = |whole| {
            let (uploads, threshold) = (vec![7, 8], Threshold::new(0.5).unwrap());
            job(Task::Plan { run: RUN, uploads, threshold, comparisons_per_job: None, whole })
        };
        let whole = |result_type| {
            let (records, with_scores) = (vec![5, 5], false);
            plan(Some(WholeRun { result_type, records, pairs_max: 9, solver_pairs_max: 9, with_scores }))
        };
        let (groups, scores) = (keys::groups(PROJECT, RUN), keys::scores(PROJECT, RUN));
        let may = |job: &Job, key: &Key| writable(job, key.as_str()).is_some();
        assert!(may(&whole(ResultType::Groups), &groups) && !may(&whole(ResultType::Groups), &scores));
        assert!(may(&whole(ResultType::SimilarityScores), &scores) && !may(&plan(None), &groups));
        assert!(!may(&whole(ResultType::SimilarityScores), &keys::score_file(RUN)));
        assert!(may(&whole(ResultType::Groups), &keys::plan(PROJECT, RUN)));
        let solved = Outcome::Solved(Solved {
            comparisons: 1,
            largest_blocks: Vec::new(),
            pairs: 1,
            comparing_us: 1,
            finalizing_us: 1,
            summary: Summary::default(),
        });
        assert_eq!(made(&whole(ResultType::Groups), &solved), Some(vec![groups]));
        assert_eq!(made(&whole(ResultType::SimilarityScores), &solved), Some(vec![scores]));
        assert_eq!(made(&plan(None), &solved), None);
        assert_eq!(made(&whole(ResultType::Permutations), &solved), None);
    }

    #[test]
    fn an_outcome_is_of_the_kind_of_its_job() {
        let upload = Upload { upload: 7, records: 4, encoding_bytes: 8, blocks: false };
        let ingest = job(Task::Ingest { party: 0, upload });
        let dataset =
            |records| Outcome::Ingested(Dataset { upload: 7, records, encoding_bytes: 8, blocks: 0 });
        assert_eq!(made(&ingest, &dataset(4)), Some(vec![keys::index(PROJECT, 0, 7)]));
        assert_eq!(made(&ingest, &dataset(5)), None);
        assert_eq!(made(&ingest, &Outcome::Purged), None);
        assert_eq!(made(&ingest, &Outcome::Rejected { message: String::new() }), Some(Vec::new()));
        assert_eq!(made(&job(Task::Purge(crate::model::Purge::Project)), &Outcome::Purged), None);
    }
}

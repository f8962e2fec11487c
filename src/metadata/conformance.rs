//! The conformance tests, which every metadata store must pass.

use std::time::Duration;

use super::store::{Commit, Duty, Mark, Runs, Store};
use crate::model::run::{Progress, Times};
use crate::model::{
    AccessKeys, BitSet, Checksum, Contents, Dataset, ForeignFile, Keyring, NamedFile, Party, ProjectId,
    ProjectState, Reference, ResultType, Run, RunId, RunState, Seed, Summary, Threshold, TokenHash,
    Tombstone, Upload,
};
use crate::runtime::clock::Timestamp;

/// The seed of the runs that have a seed.
pub(super) const SEED: [u8; 32] = *b"the seed that must be forgotten!";

/// The secret key of the party whose upload is in a store of another provider.
pub(super) const SECRET_KEY: &str = "the key that must be forgotten";

/// Runs every scenario, one after the other, on an empty store.
pub(super) async fn all(store: &dyn Store) {
    a_project_comes_back_as_it_was_put(store).await;
    a_refused_change_changes_nothing(store).await;
    runs_that_are_not_loaded_stay(store).await;
    the_list_of_runs_is_in_their_order(store).await;
    what_waits_for_us_is_found(store).await;
    failed_runs_are_listed_until_they_are_run_again(store).await;
    a_deleted_project_is_gone(store).await;
    what_was_deleted_is_known_until_it_is_forgotten(store).await;
    messages_come_in_order_and_go_when_told(store).await;
    duties_stay_until_they_are_done(store).await;
    attempts_go_with_their_job_or_its_project(store).await;
    changes_of_one_project_do_not_overtake_each_other(store).await;
    the_rate_of_a_completed_run_outlives_it(store).await;
    settled_projects_are_found_by_age(store).await;
    a_mark_replaces_one_that_is_not_later(store).await;
}

/// Returns a project with a party and a run in every state; `number` determines its identifiers.
pub(super) fn project(number: u8) -> ProjectState {
    let hash = TokenHash::from_bytes([number; 32]);
    let at = |micros| Timestamp::from_micros(i64::from(number) + micros);
    let contents = [
        Contents::Missing,
        fetching(),
        Contents::Ingesting(Upload { upload: 1, records: 2, encoding_bytes: 8, blocks: true }),
        Contents::Ready(Dataset { upload: 3, records: u32::MAX, encoding_bytes: 128, blocks: 1 << 40 }),
        Contents::Failed { message: "the encodings have 4 bytes".to_owned() },
    ];
    let parties = contents.map(|contents| Party {
        update_token: hash,
        receipt_token: (contents != Contents::Missing).then_some(hash),
        uploads: 3,
        uploading: contents == Contents::Missing,
        holder: None,
        contents,
    });
    let states = [
        RunState::Created,
        RunState::Queued,
        RunState::Comparing,
        RunState::Finalizing,
        RunState::Completed(Summary { pairs: 5, groups: 4, checksums: vec![checksum()] }),
        RunState::Failed { message: "too many pairs".to_owned(), stage: 3 },
    ];
    let runs = (0..).zip(states).map(|(index, state)| run(number, index, state)).collect();
    ProjectState {
        id: ProjectId::from_bytes([number; 24]),
        added: at(0),
        name: "Ünïcode \0 名".to_owned(),
        notes: String::new(),
        schema: "{ \"clkConfig\": {\"l\": 1024} }".to_owned(),
        result_type: ResultType::Permutations,
        uses_blocking: true,
        encoding_bytes: Some(128),
        result_token: hash,
        parties: parties.to_vec(),
        runs,
    }
}

fn checksum() -> Checksum {
    Checksum { object: "mask.json".to_owned(), bytes: 1 << 40, crc32: u32::MAX }
}

/// Returns an upload with a file in the server's own store and one in a store of another provider.
fn fetching() -> Contents {
    let foreign = ForeignFile {
        endpoint: "store.example:9000".to_owned(),
        secure: true,
        bucket: "b".to_owned(),
        path: "p/0/\u{e9}".to_owned(),
    };
    let keys = AccessKeys {
        access_key_id: "id".to_owned(),
        secret_access_key: SECRET_KEY.to_owned(),
        session_token: None,
    };
    Contents::Fetching {
        reference: Reference {
            upload: 1,
            encodings: NamedFile::Own("p/0/e.json".to_owned()),
            blocks: Some(NamedFile::Foreign(Box::new(foreign))),
        },
        keyring: Keyring { encodings: None, blocks: Some(Box::new(keys)) },
    }
}

fn run(number: u8, index: u8, state: RunState) -> Run {
    let mut applied = BitSet::below(20);
    applied.insert(u32::from(index));
    let at = |micros| Timestamp::from_micros(i64::from(number) * 1_000_000 + micros);
    let mut id = [number; 24];
    id[0] = index;
    Run {
        id: RunId::from_bytes(id),
        name: format!("run {index}"),
        notes: "notes".to_owned(),
        threshold: Threshold::new(0.1 + 0.2).unwrap(),
        with_scores: index.is_multiple_of(2),
        added: at(1),
        started: (index > 1).then(|| at(2)),
        ended: (index > 3).then(|| at(500_002)),
        settled: (index > 4).then(|| at(500_003)),
        progress: (index > 1).then_some(Progress {
            parts: 20,
            applied,
            comparisons_total: 1_000_000,
            largest_blocks: if index == 2 { Vec::new() } else { vec![700_000, 9] },
            comparisons: 50_000,
            pairs: u64::from(index),
        }),
        seed: (index == 3).then(|| Seed::from_bytes(SEED)),
        times: Times {
            ready: (index > 0).then(|| at(1)),
            compared: (index > 2).then(|| at(400_000)),
            latest: (index > 1).then(|| at(399_999)),
            worked: Duration::from_micros(u64::from(index) * 1_001),
        },
        state,
    }
}

/// Stores a project without changing it.
pub(super) async fn put(store: &dyn Store, project: &ProjectState) {
    let state = project.clone();
    let change = Box::new(move |_| Some(Commit { state: Some(state.clone()), ..Commit::default() }));
    store.update(project.id, Runs::All, change).await.unwrap();
}

async fn a_project_comes_back_as_it_was_put(store: &dyn Store) {
    let mut project = project(1);
    put(store, &project).await;
    assert_eq!(store.project(project.id, Runs::All).await.unwrap().as_ref(), Some(&project));
    project.parties[0].uploads += 1;
    project.runs.remove(1);
    project.runs[1].state = RunState::Finalizing;
    project.encoding_bytes = None;
    put(store, &project).await;
    assert_eq!(store.project(project.id, Runs::All).await.unwrap(), Some(project));
    assert_eq!(store.project(ProjectId::from_bytes([200; 24]), Runs::All).await.unwrap(), None);
}

async fn a_refused_change_changes_nothing(store: &dyn Store) {
    let project = project(2);
    put(store, &project).await;
    store.update(project.id, Runs::All, Box::new(|_| None)).await.unwrap();
    assert_eq!(store.project(project.id, Runs::All).await.unwrap(), Some(project));
}

async fn runs_that_are_not_loaded_stay(store: &dyn Store) {
    let project = project(20);
    put(store, &project).await;
    let (second, unended) = (project.runs[1].id, &project.runs[..4]);
    for (runs, expected) in [
        (Runs::None, &[][..]),
        (Runs::One(second), &project.runs[1..2]),
        (Runs::One(RunId::from_bytes([99; 24])), &[]),
        (Runs::Unended, unended),
        (Runs::All, &project.runs),
    ] {
        let loaded = store.project(project.id, runs).await.unwrap().unwrap();
        assert_eq!(loaded, ProjectState { runs: expected.to_vec(), ..project.clone() }, "{runs:?}");
    }
    let change = |state: Option<ProjectState>| {
        let mut state = state?;
        state.parties[0].uploads += 1;
        state.runs.clear();
        Some(Commit { state: Some(state), ..Commit::default() })
    };
    store.update(project.id, Runs::None, Box::new(change)).await.unwrap();
    store.update(project.id, Runs::One(second), Box::new(change)).await.unwrap();
    let mut expected = project.clone();
    expected.parties[0].uploads += 2;
    expected.runs.remove(1);
    assert_eq!(store.project(project.id, Runs::All).await.unwrap(), Some(expected));
}

async fn the_list_of_runs_is_in_their_order(store: &dyn Store) {
    let project = project(21);
    put(store, &project).await;
    let listed = store.runs(project.id).await.unwrap();
    let same = listed.iter().zip(&project.runs).all(|(listed, run)| {
        let kind = std::mem::discriminant(&run.state);
        (listed.id, listed.added) == (run.id, run.added) && std::mem::discriminant(&listed.state) == kind
    });
    assert!(same && listed.len() == project.runs.len(), "{listed:?}");
    assert!(store.runs(ProjectId::from_bytes([201; 24])).await.unwrap().is_empty());
}

async fn what_waits_for_us_is_found(store: &dyn Store) {
    let mut busy = project(10);
    put(store, &busy).await;
    assert!(store.unsettled().await.unwrap().contains(&busy.id));
    busy.runs.retain(|run| run.has_ended() || run.state == RunState::Created);
    busy.parties.iter_mut().for_each(|party| {
        party.uploading = false;
        party.contents = Contents::Missing;
    });
    put(store, &busy).await;
    assert!(!store.unsettled().await.unwrap().contains(&busy.id));
}

async fn failed_runs_are_listed_until_they_are_run_again(store: &dyn Store) {
    let mut project = project(22);
    let failed = || RunState::Failed { message: "the disk is full".to_owned(), stage: 2 };
    project.runs.iter_mut().for_each(|run| run.state = failed());
    for (number, run) in (1_u8..).zip(&mut project.runs) {
        run.threshold = Threshold::new(f64::from(number) / 100.0).unwrap();
    }
    put(store, &project).await;
    let listed = async |count| {
        let found = store.failed_runs(count).await.unwrap();
        found.into_iter().filter(|(id, _)| *id == project.id).map(|(_, run)| run).collect::<Vec<_>>()
    };
    let mut expected: Vec<RunId> = project.runs.iter().rev().map(|run| run.id).collect();
    assert_eq!(listed(1_000).await, expected);
    assert_eq!(listed(1).await, expected[..1]);
    let [first, ..] = project.runs.as_slice() else { unreachable!("the project has runs") };
    let again = Run::asked_for(RunId::from_bytes([221; 24]), first.threshold, first.added);
    let mut after = project.clone();
    after.runs.push(again);
    put(store, &after).await;
    expected.pop();
    assert_eq!(listed(1_000).await, expected);
    store.update(project.id, Runs::All, Box::new(|_| Some(Commit::default()))).await.unwrap();
    assert!(listed(1_000).await.is_empty());
}

async fn a_deleted_project_is_gone(store: &dyn Store) {
    let project = project(3);
    put(store, &project).await;
    let before = store.status().await.unwrap().projects;
    let change = Box::new(|_| Some(Commit::default()));
    store.update(project.id, Runs::All, change).await.unwrap();
    assert_eq!(store.project(project.id, Runs::All).await.unwrap(), None);
    assert!(store.projects().await.unwrap().iter().all(|listed| listed.id != project.id));
    assert_eq!(store.status().await.unwrap().projects, before - 1);
}

async fn what_was_deleted_is_known_until_it_is_forgotten(store: &dyn Store) {
    let mut project = project(6);
    put(store, &project).await;
    let run = project.runs.remove(0).id;
    put(store, &project).await;
    let end = || Box::new(|_| Some(Commit { state: None, outbox: Vec::new(), duties: Vec::new() }));
    store.update(project.id, Runs::All, end()).await.unwrap();
    store.update(project.id, Runs::All, end()).await.unwrap();
    let (run, project) = (Tombstone::of_run(run), Tombstone::of_project(project.id));
    let find = async |tombstone| {
        let deleted = store.deleted().await.unwrap();
        deleted.into_iter().find(|deleted| deleted.tombstone == tombstone).map(|deleted| deleted.late)
    };
    // The deletion of the project is late, because a party was uploading.
    assert_eq!((find(run).await, find(project).await), (Some(false), Some(true)));
    store.forget_deleted(vec![run, project], false).await.unwrap();
    assert_eq!((find(run).await, find(project).await), (None, Some(true)));
    store.forget_deleted(vec![project], true).await.unwrap();
    assert_eq!(find(project).await, None);
}

async fn messages_come_in_order_and_go_when_told(store: &dyn Store) {
    let project = project(4);
    for pair in [["a", "b"], ["c", "d"]] {
        let state = project.clone();
        let change = Box::new(move |_| {
            Some(Commit {
                state: Some(state.clone()),
                outbox: pair.map(str::to_owned).to_vec(),
                ..Commit::default()
            })
        });
        store.update(project.id, Runs::All, change).await.unwrap();
    }
    let messages = store.outbox(3).await.unwrap();
    let bodies: Vec<_> = messages.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, ["a", "b", "c"]);
    store.forget(messages[1].sequence).await.unwrap();
    let left = store.outbox(10).await.unwrap();
    assert_eq!(left.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    store.forget(left[1].sequence).await.unwrap();
    assert!(store.outbox(10).await.unwrap().is_empty());
}

async fn duties_stay_until_they_are_done(store: &dyn Store) {
    let duty = |name: &str, body: &str| Duty { name: name.to_owned(), body: body.to_owned() };
    for duties in [vec![duty("a", "1"), duty("b", "2")], vec![duty("a", "3")]] {
        let change = Box::new(move |_| Some(Commit { duties: duties.clone(), ..Commit::default() }));
        store.update(ProjectId::from_bytes([201; 24]), Runs::None, change).await.unwrap();
    }
    assert_eq!(store.duties().await.unwrap(), [duty("a", "3"), duty("b", "2")]);
    store.settle("b").await.unwrap();
    store.settle("b").await.unwrap();
    assert_eq!(store.duties().await.unwrap(), [duty("a", "3")]);
    store.settle("a").await.unwrap();
    store.check().await.unwrap();
}

async fn attempts_go_with_their_job_or_its_project(store: &dyn Store) {
    let project = project(6);
    put(store, &project).await;
    for (job, attempts) in [("a", 1), ("b", 2), ("b", 1)] {
        store.note_attempts(project.id, job, attempts).await.unwrap();
    }
    store.note_attempts(ProjectId::from_bytes([200; 24]), "of nobody", 1).await.unwrap();
    let noted = [("a".to_owned(), 1), ("b".to_owned(), 2)];
    assert_eq!(store.attempts().await.unwrap(), noted.into());
    store.settle("a").await.unwrap();
    assert_eq!(store.attempts().await.unwrap().len(), 1);
    store.update(project.id, Runs::All, Box::new(|_| Some(Commit::default()))).await.unwrap();
    assert!(store.attempts().await.unwrap().is_empty());
}

async fn changes_of_one_project_do_not_overtake_each_other(store: &dyn Store) {
    let project = project(5);
    put(store, &project).await;
    let count = || {
        Box::new(|state: Option<ProjectState>| {
            let mut state = state?;
            state.parties[0].uploads += 1;
            Some(Commit { state: Some(state), ..Commit::default() })
        })
    };
    futures::future::join_all((0..200).map(|_| store.update(project.id, Runs::All, count()))).await;
    let after = store.project(project.id, Runs::All).await.unwrap().unwrap();
    assert_eq!(after.parties[0].uploads, project.parties[0].uploads + 200);
}

async fn the_rate_of_a_completed_run_outlives_it(store: &dyn Store) {
    // 1,000,000 comparisons in half a second, by the completed run of the projects above.
    assert_eq!(store.status().await.unwrap().rate, Some(2_000_000));
}

async fn settled_projects_are_found_by_age(store: &dyn Store) {
    let of = |number: u8, runs: &[(Option<i64>, Option<i64>)]| {
        let mut state = project(number);
        state.runs.drain(..5);
        let run = state.runs.remove(0);
        state.runs = (0..)
            .zip(runs)
            .map(|(index, (ended, settled))| {
                let id = RunId::from_bytes([number + index; 24]);
                let [ended, settled] = [ended, settled].map(|moment| moment.map(Timestamp::from_micros));
                Run { id, ended, settled, ..run.clone() }
            })
            .collect();
        state
    };
    let projects = [
        of(210, &[(Some(-90), Some(-100)), (Some(-80), Some(-60))]),
        of(215, &[(Some(-80), None)]),
        of(220, &[(Some(-90), Some(-100)), (None, None)]),
        of(225, &[(Some(-100), Some(-50))]),
        of(230, &[]),
    ];
    for project in &projects {
        put(store, project).await;
    }
    let before = async |micros| store.settled_before(Timestamp::from_micros(micros)).await.unwrap();
    assert!(before(-80).await.is_empty());
    assert_eq!(before(-60).await, [projects[1].id]);
    let mut found = before(-50).await;
    found.sort_unstable();
    assert_eq!(found, [projects[0].id, projects[1].id]);
    assert!(store.latest().await.unwrap().is_some_and(|latest| latest >= project(1).added));
}

async fn a_mark_replaces_one_that_is_not_later(store: &dyn Store) {
    assert_eq!(store.mark().await.unwrap(), None);
    // The last mark is from a node whose retention clock is behind.
    for (passed, wall, kept) in [(5, 14, 5), (7, 10, 7), (6, 12, 7)] {
        let [passed, wall, kept] = [passed, wall, kept].map(Timestamp::from_micros);
        store.keep_mark(Mark { passed, wall }).await.unwrap();
        assert_eq!(store.mark().await.unwrap().unwrap().passed, kept);
    }
    assert_eq!(store.mark().await.unwrap().unwrap().wall, Timestamp::from_micros(10));
}

//! Tests of each kind of job.

use std::sync::Arc;

use linkage::pairs::{ENTRY_BYTES, HEADER, Pair};
use linkage::similarity::plan::Plan;

use super::people::{People, compare, finalize, groups_by_definition, pairs_by_definition, solve, whole};
use super::{Fixture, PROJECT, RUN, assignment};
use crate::model::{Outcome, Purge, ResultType, Summary, Task, WholeRun};
use crate::objects::{Key, keys};
use crate::worker::Error;
use crate::worker::active_jobs::{ActiveJob, Cause};
use crate::worker::jobs::execute;

fn parties(count: u32, blocking: bool) -> Vec<People> {
    (0..count).map(|party| People::new(party, 60 + 10 * party, blocking)).collect()
}

/// Processes uploads up to the compared parts; returns the number of parts.
async fn compared(fixture: &Fixture, parties: &[People], comparisons_per_job: u64) -> u32 {
    fixture.upload(parties).await;
    let datasets = fixture.ingest(parties).await;
    let (parts, comparisons) = fixture.plan(datasets, Some(comparisons_per_job)).await;
    let mut done = 0;
    for part in 0..parts {
        let outcome = fixture.work(compare(parties, part)).await.unwrap();
        let Outcome::Compared { comparisons, .. } = outcome else { panic!("{outcome:?}") };
        done += comparisons;
    }
    assert_eq!(done, comparisons, "the parts are the plan");
    parts
}

#[tokio::test]
async fn a_run_of_jobs_brings_the_groups_of_the_definition() {
    for (count, blocking) in [(2, false), (3, false), (2, true), (4, true)] {
        let (fixture, parties) = (Fixture::new(), parties(count, blocking));
        let parts = compared(&fixture, &parties, 1_000).await;
        assert!(parts > 1);
        let outcome = fixture.finalize(&parties, ResultType::Groups, parts).await;
        let Outcome::Finalized(Summary { pairs, groups, .. }) = outcome else { panic!("{outcome:?}") };
        let sent = String::from_utf8(fixture.get(&keys::groups(PROJECT, RUN)).await).unwrap();
        assert_eq!(sent, groups_by_definition(&parties));
        assert_eq!(pairs, pairs_by_definition(&parties).len() as u64);
        assert_eq!(
            groups,
            serde_json::from_str::<serde_json::Value>(&sent).unwrap()["groups"].as_array().unwrap().len()
                as u64
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_are_merged_from_a_bucket_as_from_a_directory() {
    let (fixture, parties) = (Fixture::in_bucket(), parties(3, true));
    let parts = compared(&fixture, &parties, 100).await;
    assert!(parts > 16, "more than are fetched at once: {parts}");
    fixture.finalize(&parties, ResultType::Groups, parts).await;
    let sent = String::from_utf8(fixture.get(&keys::groups(PROJECT, RUN)).await).unwrap();
    assert_eq!(sent, groups_by_definition(&parties));
    fixture.objects.delete(&keys::pairs(PROJECT, RUN, parts - 1)).await.unwrap();
    let outcome = fixture.work(finalize(&parties, ResultType::Groups, parts)).await;
    assert!(matches!(&outcome, Err(Error::Missing(_))), "{outcome:?}");
}

/// Returns the job that finishes a run of groups with their scores.
fn with_scores(parties: &[People], parts: u32) -> Task {
    let mut task = finalize(parties, ResultType::Groups, parts);
    if let Task::Finalize { with_scores, .. } = &mut task {
        *with_scores = true;
    }
    task
}

#[tokio::test]
async fn groups_have_the_scores_of_the_definition_where_they_are_wanted() {
    for (count, blocking) in [(2, false), (3, true)] {
        let (fixture, parties) = (Fixture::new(), parties(count, blocking));
        let parts = compared(&fixture, &parties, 1_000).await;
        let scores = keys::groups_with_scores(PROJECT, RUN);
        fixture.finalize(&parties, ResultType::Groups, parts).await;
        assert!(!fixture.objects.exists(&scores).await.unwrap());
        let groups = fixture.get(&keys::groups(PROJECT, RUN)).await;

        let outcome = fixture.work(with_scores(&parties, parts)).await.unwrap();
        let Outcome::Finalized(summary) = &outcome else { panic!("{outcome:?}") };
        let made = fixture.get(&scores).await;
        let known = summary.checksum(scores.name()).unwrap();
        assert_eq!((known.bytes, known.crc32), (made.len() as u64, crc32fast::hash(&made)));
        assert!(made.starts_with(&groups[..groups.len() - 1]), "the groups are the same");
        let answer: serde_json::Value = serde_json::from_slice(&made).unwrap();
        let pairs = pairs_by_definition(&parties);
        for (group, edges) in std::iter::zip(array(&answer["groups"]), array(&answer["scores"])) {
            let ends = |at: usize, pair: &Pair| serde_json::json!([pair.datasets[at], pair.records[at]]);
            let within =
                pairs.iter().filter(|pair| [0, 1].iter().all(|at| array(group).contains(&ends(*at, pair))));
            let expected: Vec<_> =
                within.map(|pair| serde_json::json!([ends(0, pair), ends(1, pair), pair.score])).collect();
            assert_eq!(array(edges), &expected);
        }
        assert_eq!(array(&answer["groups"]).len(), array(&answer["scores"]).len());
        // The state is that after a crash between the publication of the two objects.
        assert!(fixture.objects.delete(&scores).await.unwrap());
        assert_eq!(fixture.work(with_scores(&parties, parts)).await.unwrap(), outcome);
        assert_eq!(fixture.get(&scores).await, made);
        assert_eq!(std::fs::read_dir(fixture.dir.path().join("spool")).unwrap().count(), 0);
        fixture.work(Task::Purge(Purge::Run(RUN))).await.unwrap();
        assert!(!fixture.objects.exists(&scores).await.unwrap());
    }
}

fn array(value: &serde_json::Value) -> &Vec<serde_json::Value> {
    value.as_array().unwrap()
}

#[tokio::test]
async fn a_small_run_of_one_job_has_the_result_of_three_jobs() {
    let cases = [(2, false), (3, false), (2, true), (4, true)];
    for (count, blocking) in cases {
        for (result_type, with_scores) in
            [(ResultType::Groups, false), (ResultType::Groups, true), (ResultType::SimilarityScores, false)]
        {
            let (one, three, parties) = (Fixture::new(), Fixture::new(), parties(count, blocking));
            let parts = compared(&three, &parties, 1_000).await;
            let mut task = finalize(&parties, result_type, parts);
            if let Task::Finalize { with_scores: wanted, .. } = &mut task {
                *wanted = with_scores;
            }
            let Outcome::Finalized(expected) = three.work(task).await.unwrap() else { panic!() };
            let blob = three.objects.blob(&keys::plan(PROJECT, RUN)).await.unwrap();
            let comparisons = Plan::parse(&blob).unwrap().comparisons();

            one.upload(&parties).await;
            one.ingest(&parties).await;
            let whole = WholeRun { with_scores, ..whole(&parties, result_type) };
            let outcome = one.solve(&whole).await.unwrap();
            let Outcome::Solved(solved) = &outcome else { panic!("{outcome:?}") };
            assert_eq!((&solved.summary, solved.comparisons), (&expected, comparisons));
            assert!(solved.pairs >= expected.pairs);
            assert!(blocking || solved.pairs == expected.pairs);
            let mut made = vec![match result_type {
                ResultType::SimilarityScores => keys::scores(PROJECT, RUN),
                _ => keys::groups(PROJECT, RUN),
            }];
            made.extend(with_scores.then(|| keys::groups_with_scores(PROJECT, RUN)));
            assert_eq!(all(&one, &made).await, all(&three, &made).await);
            for other in [keys::plan(PROJECT, RUN), keys::pairs(PROJECT, RUN, 0)] {
                assert!(!one.objects.exists(&other).await.unwrap(), "{other}");
            }
            // As after a crash between the publication and the report, and between two publications.
            one.objects.delete(made.last().unwrap()).await.unwrap();
            let Outcome::Solved(again) = one.solve(&whole).await.unwrap() else { panic!() };
            assert_eq!(again.summary, expected);
            assert_eq!(all(&one, &made).await, all(&three, &made).await);
            assert_eq!(std::fs::read_dir(one.dir.path().join("spool")).unwrap().count(), 0);
        }
    }
}

#[tokio::test]
async fn a_run_that_one_job_cannot_solve_is_planned() {
    let (fixture, parties) = (Fixture::new(), parties(2, false));
    fixture.upload(&parties).await;
    fixture.ingest(&parties).await;
    let all = whole(&parties, ResultType::Groups);
    let (plan, groups) = (keys::plan(PROJECT, RUN), keys::groups(PROJECT, RUN));
    let planned = async |whole: &WholeRun, why: &str| {
        let outcome = fixture.solve(whole).await.unwrap();
        assert!(matches!(outcome, Outcome::Planned { parts: 1, .. }), "{why}: {outcome:?}");
        assert!(!fixture.objects.exists(&groups).await.unwrap(), "{why}");
        assert!(fixture.objects.exists(&plan).await.unwrap(), "{why}");
    };
    let few = |pairs_max, solver_pairs_max| WholeRun { pairs_max, solver_pairs_max, ..all.clone() };
    for (whole, why) in [(few(1, 1_000), "many pairs"), (few(1_000, 5), "many pairs for the solver")] {
        planned(&whole, why).await;
        fixture.objects.delete(&plan).await.unwrap();
    }
    planned(&few(1, 1), "it is planned").await;
    planned(&all, "it was planned before").await;
    fixture.objects.delete(&plan).await.unwrap();
    fixture.damage(&keys::matrix(PROJECT, 1, 1), 90);
    planned(&all, "a matrix is damaged").await;
    let refused = fixture.work(compare(&parties, 0)).await;
    assert!(matches!(&refused, Err(Error::DamagedObject(_))), "{refused:?}");
    fixture.objects.delete(&plan).await.unwrap();
    fixture.objects.delete(&keys::matrix(PROJECT, 1, 1)).await.unwrap();
    planned(&all, "a matrix is missing").await;
}

#[tokio::test]
async fn doing_every_job_twice_changes_nothing() {
    let (fixture, parties) = (Fixture::new(), parties(2, true));
    let parts = compared(&fixture, &parties, 1_000).await;
    let first = fixture.finalize(&parties, ResultType::Permutations, parts).await;
    let made = [
        keys::index(PROJECT, 0, 1),
        keys::plan(PROJECT, RUN),
        keys::pairs(PROJECT, RUN, 0),
        keys::mask(PROJECT, RUN),
        keys::permutation(PROJECT, RUN, 0),
        keys::permutation(PROJECT, RUN, 1),
    ];
    let before = all(&fixture, &made).await;
    // As after a crash between publication and report, with another size of parts.
    assert_eq!(compared(&fixture, &parties, 2_000).await, parts);
    assert_eq!(fixture.finalize(&parties, ResultType::Permutations, parts).await, first);
    assert_eq!(all(&fixture, &made).await, before);
    // Without the result the job runs again; the seed determines the same result.
    for key in &made[3..] {
        assert!(fixture.objects.delete(key).await.unwrap());
    }
    assert_eq!(fixture.finalize(&parties, ResultType::Permutations, parts).await, first);
    assert_eq!(all(&fixture, &made).await, before);
}

async fn all(fixture: &Fixture, keys: &[Key]) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    for key in keys {
        bytes.push(fixture.get(key).await);
    }
    bytes
}

#[tokio::test]
async fn scores_are_every_pair_in_order() {
    let (fixture, parties) = (Fixture::new(), parties(2, true));
    let parts = compared(&fixture, &parties, 1_000).await;
    fixture.finalize(&parties, ResultType::SimilarityScores, parts).await;
    let sent: serde_json::Value =
        serde_json::from_slice(&fixture.get(&keys::scores(PROJECT, RUN)).await).unwrap();
    let scores: Vec<f64> = sent["similarity_scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry[2].as_f64().unwrap())
        .collect();
    let expected: Vec<f64> = pairs_by_definition(&parties).iter().map(|pair| pair.score).collect();
    assert_eq!(scores, expected);
}

#[tokio::test]
async fn nothing_in_common_is_a_result_too() {
    let (fixture, parties) = (Fixture::new(), parties(2, false));
    let outcome = fixture.finalize(&parties, ResultType::Groups, 0).await;
    let Outcome::Finalized(summary) = outcome else { panic!("{outcome:?}") };
    assert_eq!((summary.pairs, summary.groups), (0, 0));
    let [checksum] = &summary.checksums[..] else { panic!("{summary:?}") };
    assert_eq!((checksum.object.as_str(), checksum.bytes), ("groups.json", 14));
    assert_eq!(fixture.get(&keys::groups(PROJECT, RUN)).await, b"{\"groups\": []}");
}

#[tokio::test]
async fn damage_is_found_before_anything_is_made_of_it() {
    for damaged in [keys::matrix(PROJECT, 1, 1), keys::index(PROJECT, 0, 1), keys::plan(PROJECT, RUN)] {
        let (fixture, parties) = (Fixture::new(), parties(2, true));
        fixture.upload(&parties).await;
        let datasets = fixture.ingest(&parties).await;
        fixture.plan(datasets, Some(1_000)).await;
        fixture.damage(&damaged, 90);
        let refused = fixture.work(compare(&parties, 0)).await;
        assert!(
            matches!(&refused, Err(error @ Error::DamagedObject(_)) if error.to_string().contains("cannot be used")),
            "{refused:?}"
        );
        assert!(!fixture.objects.exists(&keys::pairs(PROJECT, RUN, 0)).await.unwrap());
    }
}

#[tokio::test]
async fn damage_is_found_although_the_dataset_was_sound_before() {
    let (fixture, parties) = (Fixture::new(), parties(2, true));
    compared(&fixture, &parties, 1_000).await;
    fixture.objects.delete(&keys::pairs(PROJECT, RUN, 0)).await.unwrap();
    fixture.damage(&keys::matrix(PROJECT, 1, 1), 90);
    let refused = fixture.work(compare(&parties, 0)).await;
    assert!(
        matches!(&refused, Err(error @ Error::DamagedObject(_)) if error.to_string().contains("damaged")),
        "{refused:?}"
    );
    fixture.objects.delete(&keys::matrix(PROJECT, 0, 1)).await.unwrap();
    assert!(matches!(fixture.work(compare(&parties, 0)).await, Err(Error::Missing(_))));
}

#[tokio::test]
async fn pairs_that_were_changed_are_damage() {
    let (fixture, parties) = (Fixture::new(), parties(2, true));
    let parts = compared(&fixture, &parties, 1_000).await;
    let key = keys::pairs(PROJECT, RUN, 0);
    // The damage lowers a score slightly, which only the checksum detects.
    fixture.damage(&key, 6);
    for result_type in [ResultType::Groups, ResultType::SimilarityScores] {
        let refused = fixture.work(finalize(&parties, result_type, parts)).await;
        assert!(
            matches!(&refused, Err(error @ Error::DamagedObject(_)) if error.to_string().contains("was changed")),
            "{refused:?}"
        );
    }
    fixture.put(&key, &[&HEADER[..], &[0; ENTRY_BYTES]].concat()).await;
    let refused = fixture.work(finalize(&parties, ResultType::Groups, parts)).await;
    assert!(
        matches!(&refused, Err(error @ Error::DamagedObject(_)) if error.to_string().contains("truncated")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_object_that_is_gone_is_not_damage() {
    let (fixture, parties) = (Fixture::new(), parties(2, true));
    let ingest = Task::Ingest { party: 0, upload: parties[0].upload() };
    for task in [ingest, compare(&parties, 0), finalize(&parties, ResultType::Groups, 1)] {
        let refused = fixture.work(task).await;
        assert!(
            matches!(&refused, Err(error @ Error::Missing(_)) if error.to_string().contains("does not exist")),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn too_many_pairs_are_refused_with_the_limit_and_what_helps() {
    let (fixture, parties) = (Fixture::new(), parties(2, false));
    let parts = compared(&fixture, &parties, 1_000).await;
    let Task::Compare { run, uploads, part, .. } = compare(&parties, 0) else { unreachable!() };
    let Task::Finalize { result_type, records, .. } = finalize(&parties, ResultType::Groups, parts) else {
        unreachable!()
    };
    fixture.objects.delete(&keys::pairs(PROJECT, RUN, 0)).await.unwrap();
    let few = Task::Compare { run, uploads, part, pairs_max: 1 };
    let refused = fixture.work(few).await;
    assert!(matches!(&refused, Err(Error::Rejected(why)) if why.contains("limit of 1;")), "{refused:?}");
    fixture.work(compare(&parties, 0)).await.unwrap();
    let few = Task::Finalize {
        run,
        result_type,
        records,
        parts,
        solver_pairs_max: 5,
        pairs: 0,
        with_scores: false,
    };
    let refused = fixture.work(few).await;
    assert!(
        matches!(&refused, Err(Error::Rejected(why)) if why.contains("limit of 5; a higher threshold or blocking")),
        "{refused:?}"
    );
    assert!(!fixture.objects.exists(&keys::groups(PROJECT, RUN)).await.unwrap());
}

#[tokio::test]
async fn a_job_that_was_told_to_stop_leaves_nothing_behind() {
    let (fixture, parties) = (Fixture::new(), parties(2, true));
    let parts = compared(&fixture, &parties, 1_000).await;
    fixture.objects.delete(&keys::pairs(PROJECT, RUN, 1)).await.unwrap();
    fixture.objects.delete(&keys::index(PROJECT, 1, 1)).await.unwrap();
    fixture.context.forget(|_| true);
    let ingest = Task::Ingest { party: 1, upload: parties[1].upload() };
    fixture.objects.delete(&keys::plan(PROJECT, RUN)).await.unwrap();
    let solve = solve(&whole(&parties, ResultType::Groups));
    for task in [ingest, compare(&parties, 1), finalize(&parties, ResultType::Groups, parts), solve] {
        let active = Arc::new(ActiveJob::new(assignment(task)));
        active.cancel(Cause::Unwanted);
        assert!(execute(&fixture.context, &active).await.is_err());
    }
    let plan = keys::plan(PROJECT, RUN);
    for key in [keys::pairs(PROJECT, RUN, 1), keys::index(PROJECT, 1, 1), keys::groups(PROJECT, RUN), plan] {
        assert!(!fixture.objects.exists(&key).await.unwrap());
    }
    assert_eq!(std::fs::read_dir(fixture.dir.path().join("spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn purges_remove_what_they_name() {
    let (fixture, parties) = (Fixture::new(), parties(2, true));
    let parts = compared(&fixture, &parties, 1_000).await;
    fixture.finalize(&parties, ResultType::Groups, parts).await;
    let left = async |key: Key| fixture.objects.exists(&key).await.unwrap();
    let purge = async |purge| assert_eq!(fixture.work(Task::Purge(purge)).await.unwrap(), Outcome::Purged);

    purge(Purge::Entries { party: 0, upload: 1 }).await;
    assert!(!left(keys::entries(PROJECT, 0, 1)).await && left(keys::index(PROJECT, 0, 1)).await);
    purge(Purge::Intermediate(RUN)).await;
    assert!(!left(keys::plan(PROJECT, RUN)).await && !left(keys::pairs(PROJECT, RUN, 0)).await);
    assert!(left(keys::groups(PROJECT, RUN)).await);
    purge(Purge::Run(RUN)).await;
    assert!(!left(keys::groups(PROJECT, RUN)).await);
    purge(Purge::Upload { party: 0, upload: 1 }).await;
    assert!(!left(keys::matrix(PROJECT, 0, 1)).await && left(keys::matrix(PROJECT, 1, 1)).await);
    purge(Purge::Project).await;
    purge(Purge::Project).await;
    assert_eq!(std::fs::read_dir(fixture.dir.path().join("objects")).unwrap().count(), 0);
}

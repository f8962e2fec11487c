//! A server that is killed at any moment and restarted loses no acknowledged data, and the result has the same bytes.
//! The code for kills and checks is that of `entityd selftest`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use entityd::cli::selftest::kill::{
    Killed, MOMENTS_AT_ONCE, STEPS, Scene, folder, go_on, killed_in, recover, undisturbed,
};
use entityd::cli::selftest::scenario::{Api, Outcome, People, Scenario};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand_core::Rng;
use serde_json::json;
use tempfile::TempDir;

use crate::maintenance::bury;
use crate::support::{Entityd, eventually};

/// The delay added to the step in which the server is killed.
const SLOW: Duration = Duration::from_millis(60);

fn scene() -> Scene {
    entityd::edge::tls::install_provider();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_entityd"));
    let (people, step_timeout) = (People { count: 400 }, Duration::from_mins(2));
    Scene { program, people, at_once: false, slow: SLOW, step_timeout }
}

/// Returns the scene of uploads that are indexed before they are accepted, and a run that one job brings to its result.
fn scene_at_once() -> Scene {
    Scene { at_once: true, ..scene() }
}

/// Returns a random generator whose seed is printed.
pub(crate) fn chance() -> TestRng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    eprintln!("seed {}", hex::encode(seed));
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_breakpoint_it_continues_to_the_same_result() {
    let scene = scene();
    let expected = undisturbed(&scene).await.unwrap();
    expected.is_the_known_answer(scene.people).unwrap();
    for (_, moments) in STEPS {
        stopped_at_each(&scene, &expected, moments).await;
    }
    let scene = scene_at_once();
    assert_eq!(undisturbed(&scene).await.as_ref(), Ok(&expected), "fewer steps have the same result");
    stopped_at_each(&scene, &expected, &MOMENTS_AT_ONCE).await;
}

async fn stopped_at_each(scene: &Scene, expected: &Outcome, moments: &[&str]) {
    for moment in moments {
        let mut server = scene.start(folder().unwrap(), &[("ENTITYD_BREAKPOINT", moment)]).unwrap();
        let mut scenario = Scenario::new(scene.people);
        // This succeeds only if the breakpoint is reached after the result is delivered.
        let _ = go_on(&mut scenario, &server).await;
        scene.until(&format!("the server stops at {moment}"), || server.has_ended()).await.unwrap();
        assert!(server.log().contains("a test stops the process"), "{moment} was reached");
        let ended = recover(scene, server.kill(), scenario, expected).await;
        assert_eq!(ended, Ok(()), "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_of_every_step_it_loses_nothing() {
    const KILLS_PER_STEP: usize = 8;
    let (scene, at_once) = (scene(), scene_at_once());
    let expected = undisturbed(&scene).await.unwrap();
    let mut landed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rng = chance();
    let few_steps = ("at once", &MOMENTS_AT_ONCE[..]);
    let steps: Vec<_> = STEPS.into_iter().chain([few_steps]).collect();
    for &(step, moments) in &steps {
        let scene = if step == few_steps.0 { &at_once } else { &scene };
        for _ in 0..KILLS_PER_STEP {
            let moment = moments[rng.next_u32() as usize % moments.len()];
            let delay = Duration::from_micros(u64::from(rng.next_u32()) % SLOW.as_micros() as u64);
            let Killed { folder, scenario } = killed_in(scene, moment, delay).await.unwrap();
            let ended = recover(scene, folder, scenario, &expected).await;
            assert_eq!(ended, Ok(()), "{delay:?} into {moment}");
            *landed.entry(step).or_default() += 1;
        }
    }
    let mut table = String::from("kills by step:\n");
    for (step, _) in steps {
        let _ = writeln!(table, "  {step:<9} {}", landed[step]);
    }
    // The output of `eprintln!` is hidden if the test passes.
    std::io::stderr().write_all(table.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_repeatedly_it_still_completes() {
    for scene in [scene(), scene_at_once()] {
        killed_twice(&scene).await;
    }
}

async fn killed_twice(scene: &Scene) {
    let expected = undisturbed(scene).await.unwrap();
    let mut rng = chance();
    let mut folder = folder().unwrap();
    let mut scenario = Scenario::new(scene.people);
    // Two kills at most: after three failed attempts, a job would be given up.
    for kill in 0..2 {
        let delay = Duration::from_millis(u64::from(rng.next_u32() % 150));
        eprintln!("kill {kill} after {delay:?}");
        let server = scene.start(folder, &[]).unwrap();
        let api = Api::new(server.api());
        tokio::select! {
            _ = scenario.go_on(&api) => {}
            () = tokio::time::sleep(delay) => {}
        }
        folder = server.kill();
    }
    assert_eq!(recover(scene, folder, scenario, &expected).await, Ok(()));
}

#[tokio::test]
async fn killed_while_it_starts_it_starts_the_next_time() {
    let mut rng = chance();
    let mut moment = || Duration::from_micros(u64::from(rng.next_u32() % 60_000));
    for _ in 0..6 {
        // First with an empty data directory, then with a project in it.
        let mut folder = TempDir::new().unwrap();
        for _ in 0..4 {
            Entityd::killed_after(&folder, moment()).await;
        }
        let server = Entityd::in_folder(folder, &[]);
        let project = server.api().create(json!({"schema": {}, "result_type": "groups"})).await;
        folder = server.kill();
        for _ in 0..8 {
            Entityd::killed_after(&folder, moment()).await;
        }
        let server = Entityd::in_folder(folder, &[]);
        let found = server.api().get(&project.path, &project.result_token).await;
        assert_eq!(found.status(), 200);
    }
}

#[tokio::test]
async fn leftovers_of_a_deleted_project_are_removed_at_the_next_start() {
    let (_, folder) = Entityd::start().stop();
    let data = folder.path().join("data");
    let (deleted, unknown) = ("0f".repeat(24), "0e".repeat(24));
    bury(&data, &deleted);
    let stray = |project: &str| {
        let stray = data.join("objects/projects").join(project).join("parties/0/1");
        std::fs::create_dir_all(&stray).unwrap();
        std::fs::write(stray.join("matrix"), "other").unwrap();
    };
    stray(&unknown);
    stray(&deleted);
    let server = Entityd::in_folder(folder, &[]);
    let kept = data.join("objects/projects").join(&unknown).join("parties/0/1/matrix");
    eventually("the stray is removed", async || (server.payload_files() == [kept.clone()]).then_some(()))
        .await;
    assert!(server.log().contains(&unknown));
}

//! Killed at any moment and started again, the server loses nothing that it acknowledged, and the result is
//! the same to the byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand_core::Rng;
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, Entityd, eventually, text};

/// The steps of an upload and a run at which a process can be stopped, with their moments.
const STEPS: [(&str, &[&str]); 7] = [
    ("body", &["body"]),
    ("spooled", &["spooled.done", "spooled.published", "spooled.reported"]),
    ("ingest", &["ingest", "ingest.done", "ingest.published", "ingest.reported"]),
    ("plan", &["plan", "plan.done", "plan.published", "plan.reported"]),
    ("compare", &["compare", "compare.done", "compare.published", "compare.reported"]),
    ("finalize", &["finalize", "finalize.done", "finalize.published", "finalize.reported"]),
    ("purge", &["purge", "purge.published"]),
];
/// How much longer a slowed moment takes.
const SLOW: Duration = Duration::from_millis(60);
const RECORDS: usize = 400;
const ENCODING_BYTES: usize = 64;

/// The server went away in the middle of a request.
struct Gone;

/// What the server has acknowledged so far.
#[derive(Default)]
struct Story {
    project: Option<Value>,
    uploaded: [bool; 2],
    run: Option<String>,
    result: Option<Vec<u8>>,
    deleted: bool,
}

impl Story {
    /// Goes on from what was acknowledged, until the project is deleted again.
    async fn go_on(&mut self, api: &Api) -> Result<(), Gone> {
        if self.project.is_none() {
            let body = json!({"schema": {}, "result_type": "groups", "uses_blocking": true});
            let answer = api.request(Method::POST, "/projects").json(&body).send().await.map_err(|_| Gone)?;
            self.project = Some(answer.json().await.map_err(|_| Gone)?);
        }
        let created = self.project.clone().unwrap();
        let path = format!("/projects/{}", text(&created["project_id"]));
        let token = text(&created["result_token"]);
        if self.deleted {
            return Ok(());
        }
        for party in 0..2 {
            if !self.uploaded[party] {
                self.upload(api, &path, party, &text(&created["update_tokens"][party])).await?;
            }
        }
        if self.run.is_none() {
            let request = api.request(Method::POST, &format!("{path}/runs")).header("Authorization", &token);
            let answer = request.json(&json!({"threshold": 0.7})).send().await.map_err(|_| Gone)?;
            assert_eq!(answer.status(), StatusCode::CREATED);
            let run: Value = answer.json().await.map_err(|_| Gone)?;
            self.run = Some(format!("{path}/runs/{}", text(&run["run_id"])));
        }
        if self.result.is_none() {
            self.result = Some(collect(api, self.run.as_ref().unwrap(), &token).await?);
        }
        let request = api.request(Method::DELETE, &path).header("Authorization", &token);
        let answer = request.send().await.map_err(|_| Gone)?;
        // Deleted by a request whose answer was lost, it is forbidden now.
        assert!([204, 403].contains(&answer.status().as_u16()));
        self.deleted = true;
        Ok(())
    }

    async fn upload(&mut self, api: &Api, path: &str, party: usize, token: &str) -> Result<(), Gone> {
        let body = serde_json::to_vec(&dataset(party)).unwrap();
        // In pieces, so that there is a middle to be killed in.
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            body.chunks(body.len() / 4).map(|piece| Ok(piece.to_vec())).collect();
        let request = api
            .request(Method::POST, &format!("{path}/clks"))
            .header("Authorization", token)
            .header("Content-Type", "application/json")
            .body(Body::wrap_stream(futures::stream::iter(pieces)));
        let answer = request.send().await.map_err(|_| Gone)?;
        match answer.status().as_u16() {
            201 => drop(answer.bytes().await.map_err(|_| Gone)?),
            // Accepted by a request whose answer was lost.
            403 => {}
            status => panic!("the upload was answered {status}"),
        }
        self.uploaded[party] = true;
        Ok(())
    }

    /// What was acknowledged is still there.
    async fn check(&self, api: &Api) {
        let Some(created) = &self.project else { return };
        let path = format!("/projects/{}", text(&created["project_id"]));
        let token = text(&created["result_token"]);
        let answer = api.get(&path, &token).await;
        if self.deleted {
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "a deleted project came back");
            return;
        }
        if self.result.is_some() && answer.status() == StatusCode::FORBIDDEN {
            return;
        }
        assert_eq!(answer.status(), StatusCode::OK, "an acknowledged project was lost");
        let described: Value = answer.json().await.unwrap();
        let uploaded = self.uploaded.iter().filter(|uploaded| **uploaded).count() as u64;
        assert!(
            described["parties_contributed"].as_u64().unwrap() >= uploaded,
            "an acknowledged upload was lost"
        );
        if let Some(run) = &self.run {
            assert_eq!(api.get(run, &token).await.status(), StatusCode::OK, "an acknowledged run was lost");
        }
    }
}

/// Waits for the run, and gives the bytes of its result.
async fn collect(api: &Api, run: &str, token: &str) -> Result<Vec<u8>, Gone> {
    loop {
        let request = api.request(Method::GET, &format!("{run}/status")).header("Authorization", token);
        let status: Value = request.send().await.map_err(|_| Gone)?.json().await.map_err(|_| Gone)?;
        assert_ne!(status["state"], "error", "{status}");
        if status["state"] == "completed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request = api.request(Method::GET, &format!("{run}/result")).header("Authorization", token);
    let answer = request.send().await.map_err(|_| Gone)?;
    assert_eq!(answer.status(), StatusCode::OK);
    Ok(answer.bytes().await.map_err(|_| Gone)?.to_vec())
}

/// A party's upload: similar to the other's, in overlapping blocks, with many tied scores.
fn dataset(party: usize) -> Value {
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut records = Vec::new();
    for record in 0..RECORDS {
        let mut encoding = [0_u8; ENCODING_BYTES];
        rng.fill_bytes(&mut encoding);
        let noise = (rng.next_u32() % 64) as usize;
        if party == 1 {
            encoding[noise] ^= 0x11;
        }
        let blocks = [format!("a{}", record % 7), format!("b{}", record % 3)];
        records.push(json!([base64_simd::STANDARD.encode_to_string(encoding), blocks[0], blocks[1]]));
    }
    json!({ "clknblocks": records })
}

/// The flags that make a small run into several jobs.
const FLAGS: [&str; 2] = ["--comparisons-per-job", "20000"];

/// The story as it is when nothing happens.
async fn undisturbed() -> Vec<u8> {
    let server = Entityd::with(&FLAGS);
    let mut story = Story::default();
    assert!(story.go_on(&server.api()).await.is_ok());
    let result = story.result.unwrap();
    assert!(result.len() > 1_000, "the story links something");
    result
}

/// After the server was killed: starts it again on what is left, ends the story, and checks everything.
async fn recover(folder: TempDir, mut story: Story, expected: &[u8]) {
    let server = Entityd::in_folder(folder, &FLAGS);
    story.check(&server.api()).await;
    assert!(story.go_on(&server.api()).await.is_ok(), "the server went away by itself");
    assert_eq!(story.result.as_deref(), Some(expected), "the result is not the same");
    eventually("no byte of the deleted project is left", async || {
        server.payload_files().is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_breakpoint_it_goes_on_to_the_same_result() {
    let expected = undisturbed().await;
    for moment in STEPS.iter().flat_map(|(_, moments)| *moments) {
        let mut server = Entityd::with_variables(&FLAGS, &[("ENTITYD_BREAKPOINT", moment)]);
        let mut story = Story::default();
        let told = story.go_on(&server.api()).await;
        if told.is_ok() {
            // The story was told before the last step was due.
            eventually(&format!("the server stops at {moment}"), async || server.has_ended().then_some(()))
                .await;
        }
        assert!(server.log().contains("a test stops the process"), "{moment} was reached");
        recover(server.kill(), story, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_of_every_step_it_loses_nothing() {
    const KILLS_PER_STEP: usize = 8;
    let expected = undisturbed().await;
    let mut landed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    eprintln!("seed {}", hex::encode(seed));
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    for (step, moments) in STEPS {
        for _ in 0..KILLS_PER_STEP {
            let moment = moments[rng.next_u32() as usize % moments.len()];
            let delay = Duration::from_micros(u64::from(rng.next_u32()) % SLOW.as_micros() as u64);
            let (folder, story) = killed_in(moment, delay).await;
            recover(folder, story, &expected).await;
            *landed.entry(step).or_default() += 1;
        }
    }
    let mut table = String::from("kills by step:\n");
    for (step, _) in STEPS {
        let _ = writeln!(table, "  {step:<9} {}", landed[step]);
        assert!(landed[step] >= 5);
    }
    // Not through the macro, which the test runner keeps to itself when all is well.
    std::io::stderr().write_all(table.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_still_comes_to_its_end() {
    let expected = undisturbed().await;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut folder = TempDir::new().unwrap();
    let mut story = Story::default();
    // Fewer unclean stops than a job has attempts: the third would give a job up.
    for kill in 0..2 {
        let delay = Duration::from_millis(u64::from(rng.next_u32() % 150));
        eprintln!("seed {}: kill {kill} after {delay:?}", hex::encode(seed));
        let server = Entityd::in_folder(folder, &FLAGS);
        let api = server.api();
        tokio::select! {
            _ = story.go_on(&api) => {}
            () = tokio::time::sleep(delay) => {}
        }
        folder = server.kill();
    }
    recover(folder, story, &expected).await;
}

/// Tells the story to a server that is killed `delay` after it has come to `moment`.
async fn killed_in(moment: &str, delay: Duration) -> (TempDir, Story) {
    let slow = format!("{moment}={}", SLOW.as_millis());
    let server = Entityd::with_variables(&FLAGS, &[("ENTITYD_SLOW_MS", &slow)]);
    let api = server.api();
    let mut story = Story::default();
    {
        let due = async {
            eventually(&format!("the server comes to {moment}"), async || {
                server.log().contains("a test slows this step").then_some(())
            })
            .await;
            tokio::time::sleep(delay).await;
        };
        let mut due = std::pin::pin!(due);
        tokio::select! {
            () = &mut due => {}
            told = story.go_on(&api) => {
                assert!(told.is_ok(), "the server went away by itself");
                due.await;
            }
        }
    }
    (server.kill(), story)
}

#[tokio::test]
async fn what_a_crash_left_of_a_deleted_project_is_removed_at_the_next_start() {
    let (_, folder) = Entityd::start().stop();
    let stray = folder.path().join("data/objects/projects").join("0f".repeat(24)).join("parties/0/1");
    std::fs::create_dir_all(&stray).unwrap();
    std::fs::write(stray.join("matrix"), "somebody").unwrap();
    let server = Entityd::in_folder(folder, &[]);
    eventually("the stray is removed", async || server.payload_files().is_empty().then_some(())).await;
}

//! Running comparisons: their progress, their cancellation, and their kernel.

use std::fs;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::command_line::{entityd, stderr};
use crate::support::{Entityd, Project, eventually};

const RECORDS: usize = 200_000;
const ENCODING_BYTES: usize = 128;

/// Returns random encodings.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..RECORDS * ENCODING_BYTES / 8).flat_map(|_| next()).collect()
}

async fn upload(project: &Project, party: usize, rows: Vec<u8>) {
    let request = project.api.request(Method::POST, &format!("{}/binaryclks", project.path));
    let answer = request
        .header("Authorization", &project.update_tokens[party])
        .header("Content-Type", "application/octet-stream")
        .header("Hash-Count", rows.len() / ENCODING_BYTES)
        .header("Hash-Size", ENCODING_BYTES)
        .body(rows)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
}

/// Returns the processor time that the server has used.
fn processor_time(server: &Entityd) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

/// At this threshold, filters reject few pairs, so that the whole run would take half a minute.
#[tokio::test]
async fn progress_never_decreases_and_after_a_delete_the_processors_are_idle() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    for party in 0..2 {
        upload(&project, party, noise(party as u64 + 1)).await;
    }
    let run = project.run(0.6).await;
    let mut seen = (0, 0.0);
    eventually("a few parts are compared", async || {
        let status: Value = run.status().await;
        let stage = &status["current_stage"];
        let progress = stage["progress"]["relative"].as_f64().unwrap_or(0.0);
        let progress = (stage["number"].as_u64().unwrap(), progress);
        assert!(progress >= seen && status["state"] != "completed", "{status} after {seen:?}");
        seen = progress;
        (progress >= (2, 0.02)).then_some(())
    })
    .await;
    let busy = processor_time(&server) + Duration::from_millis(50);
    eventually("the run is computing", async || (processor_time(&server) > busy).then_some(())).await;

    assert_eq!(project.api.delete(&run.path, &project.result_token).await.status(), StatusCode::NO_CONTENT);
    let deleted = processor_time(&server);
    eventually("the processors are idle", async || {
        let before = processor_time(&server);
        tokio::time::sleep(Duration::from_secs(1)).await;
        (processor_time(&server).saturating_sub(before) < Duration::from_millis(100)).then_some(())
    })
    .await;
    let spent = processor_time(&server).saturating_sub(deleted);
    assert!(spent < Duration::from_secs(2), "{spent:?} of processor time after the delete");
}

#[tokio::test]
async fn every_kernel_of_this_machine_gives_the_same_result() {
    let mut answers = Vec::new();
    for kernel in ["auto", "portable", "popcnt", "avx2", "avx512", "amx", "neon"] {
        let output = entityd().args(["config", "show", "--kernel", kernel]).output().unwrap();
        if !output.status.success() {
            assert!(stderr(&output).contains("it runs"), "{}", stderr(&output));
            continue;
        }
        let server = Entityd::with(&["--kernel", kernel]);
        let project = server.api().project("similarity_scores").await;
        let mut rows = noise(7);
        rows.truncate(300 * ENCODING_BYTES);
        upload(&project, 0, rows.clone()).await;
        rows.iter_mut().step_by(9).for_each(|byte| *byte ^= 0x11);
        upload(&project, 1, rows).await;
        let run = project.run(0.7).await;
        assert_eq!(run.ended().await["state"], "completed");
        let found: Value = run.result(&project.result_token).await.json().await.unwrap();
        assert_eq!(found["similarity_scores"].as_array().map(Vec::len), Some(300));
        answers.push(found);
    }
    assert!(answers.len() > 1 && answers.iter().all(|answer| *answer == answers[0]));
}

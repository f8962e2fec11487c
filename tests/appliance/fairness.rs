//! Fairness between projects: a project with many runs does not delay others.

use serde_json::Value;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually};

const RUNS: usize = 150;

async fn states(project: &Project) -> Vec<String> {
    let runs = project.api.get(&format!("{}/runs", project.path), &project.result_token).await;
    let runs: Vec<Value> = runs.json().await.unwrap();
    runs.iter().map(|run| run["state"].as_str().unwrap().to_owned()).collect()
}

async fn upload_both(project: &Project) {
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
}

#[tokio::test]
async fn a_project_with_many_runs_does_not_delay_another_project() {
    // All runs take some seconds, so that most are left when the other one has ended.
    let server = Entityd::with_variables(&[], &[("ENTITYD_SLOW_MS", "compare=100")]);
    let (large, small) = (server.api().project("groups").await, server.api().project("groups").await);
    for _ in 0..RUNS {
        large.run(0.9).await;
    }
    let run = small.run(0.9).await;
    upload_both(&large).await;
    upload_both(&small).await;
    assert_eq!(run.ended().await["state"], "completed");
    let unended = states(&large).await.iter().filter(|state| *state != "completed").count();
    assert!(unended > RUNS / 3, "{unended} of {RUNS} runs were left when the run of the other project ended");
    eventually("all runs of the large project end", async || {
        states(&large).await.iter().all(|state| state == "completed").then_some(())
    })
    .await;
    assert_eq!(states(&large).await.len(), RUNS);
}

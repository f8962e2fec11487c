//! Scheduling between queues and runs.

use std::time::Duration;

use serde_json::json;

use crate::support::{Entityd, Project, eventually};

/// Uploads the same `records` encodings of 8 bytes for both parties, all different.
async fn upload(project: &Project, records: u32) {
    for party in 0..2 {
        let encodings: Vec<String> = (0..records)
            .map(|record| {
                let number = u64::from(record).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                base64_simd::STANDARD.encode_to_string(number.to_le_bytes())
            })
            .collect();
        let answer = project.post_clks(party, &json!({ "clks": encodings })).await;
        assert_eq!(answer.status(), 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_thousands_of_jobs_does_not_hold_up_a_run_of_ten() {
    // The large run has 5,000 jobs of at least 10 ms, three at a time, and takes about 17 seconds.
    let server =
        Entityd::with_variables(&["--comparisons-per-job", "200"], &[("ENTITYD_SLOW_MS", "compare=10")]);
    let api = server.api();
    let (large, small) = (api.project("groups").await, api.project("groups").await);
    upload(&large, 1_000).await;
    let long = large.run(0.99).await;
    eventually("the long run is comparing", async || {
        (long.status().await["current_stage"]["progress"]["absolute"].as_u64()? > 1_000).then_some(())
    })
    .await;
    upload(&small, 45).await;
    let short = small.run(0.99).await;
    let ended = tokio::time::timeout(Duration::from_secs(15), short.ended())
        .await
        .expect("it is scheduled in between");
    assert_eq!(ended["state"], "completed");
    let status = long.status().await;
    assert_eq!(status["state"], "running");
    assert!(status["rate"].as_u64().unwrap() > 0 && status["eta"].is_string(), "{status}");
    api.delete(&large.path, &large.result_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_can_never_fit_fails_with_the_reason() {
    let server = Entityd::with(&["--memory-limit", "1000000"]);
    let api = server.api();
    let project = api.create(json!({"schema": {}, "result_type": "groups", "number_parties": 3})).await;
    for party in 0..3 {
        // All encodings are equal, so that all 3,630,000 pairs match.
        let answer = project.post_clks(party, &json!({ "clks": vec!["AAECAwQFBgc="; 1_100] })).await;
        assert_eq!(answer.status(), 201);
    }
    let ended = project.run(0.9).await.ended().await;
    let message = ended["message"].as_str().unwrap();
    assert!(ended["state"] == "error" && message.contains("--memory-limit"), "{ended}");
}

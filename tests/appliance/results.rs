//! The results that each token may read.

use serde_json::{Value, json};

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, refused};

#[tokio::test]
async fn groups_and_scores_are_for_the_owner() {
    let server = Entityd::start();
    for (result_type, expected) in [
        ("groups", json!({"groups": [[[0, 0], [1, 1]]]})),
        ("similarity_scores", json!({"similarity_scores": [[[0, 0], [1, 1], 1.0]]})),
    ] {
        let project = server.api().project(result_type).await;
        let receipt = project.upload(0, &[ENCODING]).await;
        project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
        let run = project.run(0.9).await;
        assert_eq!(run.ended().await["state"], "completed");
        let answer = run.result(&project.result_token).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        let length = answer.content_length().unwrap();
        let body = answer.bytes().await.unwrap();
        assert_eq!(length, body.len() as u64);
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
        refused(run.result(&receipt).await, 403).await;
        refused(run.result(&project.update_tokens[0]).await, 403).await;
    }
}

#[tokio::test]
async fn a_permutation_is_for_the_party_and_the_mask_for_the_owner() {
    let server = Entityd::start();
    let project = server.api().project("permutations").await;
    let receipts =
        [project.upload(0, &[ENCODING, OTHER_ENCODING]).await, project.upload(1, &[OTHER_ENCODING]).await];
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed");
    let mask: Value = run.result(&project.result_token).await.json().await.unwrap();
    assert_eq!(mask, json!({"mask": [1]}));
    let mut rows = Vec::new();
    for (receipt, records) in receipts.iter().zip([2, 1]) {
        let own: Value = run.result(receipt).await.json().await.unwrap();
        assert_eq!(own["rows"], 1);
        let permutation: Vec<u64> = serde_json::from_value(own["permutation"].clone()).unwrap();
        assert_eq!(permutation.len(), records);
        rows.push(permutation);
        assert_eq!(project.api.get(&project.path, receipt).await.status(), 200);
        refused(project.api.get(&run.path, receipt).await, 403).await;
    }
    assert_eq!((rows[0][1], rows[1][0]), (0, 0), "the one match comes first in both");
}

#[tokio::test]
async fn a_failed_run_returns_the_reason_in_place_of_a_result() {
    let server = Entityd::with(&["--run-pairs-max", "3"]);
    let project = server.api().project("similarity_scores").await;
    project.upload(0, &[ENCODING; 2]).await;
    project.upload(1, &[ENCODING; 2]).await;
    let run = project.run(0.9).await;
    let status = run.ended().await;
    assert_eq!((&status["state"], &status["current_stage"]["number"]), (&json!("error"), &json!(2)));
    assert!(refused(run.result(&project.result_token).await, 500).await.contains("4 candidate pairs"));
}

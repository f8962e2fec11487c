//! Runs, from their creation to their deletion.

use serde_json::{Value, json};

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, refused};

#[tokio::test]
async fn a_run_waits_for_data_and_then_starts_by_itself() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    let run = project.run(1.0).await;
    let status = run.status().await;
    assert_eq!((&status["state"], &status["time_started"]), (&json!("created"), &Value::Null));
    assert_eq!(status["current_stage"]["progress"]["relative"], 0.0);
    refused(run.result(&project.result_token).await, 404).await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &[ENCODING]).await;
    let status = run.ended().await;
    assert_eq!(status["state"], "completed");
    assert_eq!(status["total_number_comparisons"], 1);
    assert_eq!(status["current_stage"], json!({"number": 3, "description": "compute output"}));
}

#[tokio::test]
async fn a_threshold_is_returned_exactly() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    for threshold in [1.0, 0.1 + 0.2, 5e-324, 0.850_000_000_000_000_1] {
        let run = project.run(threshold).await;
        let described: Value = project.api.get(&run.path, &project.result_token).await.json().await.unwrap();
        assert_eq!(described["threshold"].as_f64(), Some(threshold));
    }
    let runs = format!("{}/runs", project.path);
    for wrong in [json!(0), json!(1.5), json!(true), json!("0.5"), json!(null)] {
        let answer = project.api.post(&runs, &project.result_token, &json!({"threshold": wrong})).await;
        assert!(refused(answer, 400).await.contains("threshold"));
    }
    let listed: Value = project.api.get(&runs, &project.result_token).await.json().await.unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn a_deleted_run_is_gone_and_its_project_stays() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING]).await;
    let run = project.run(0.5).await;
    run.ended().await;
    let token = &project.result_token;
    assert_eq!(project.api.delete(&run.path, token).await.status(), 204);
    refused(project.api.delete(&run.path, token).await, 403).await;
    refused(run.result(token).await, 403).await;
    assert_eq!(project.describe().await["parties_contributed"], 2);
}

#[tokio::test]
async fn sizes_that_differ_put_the_project_in_error_until_they_are_corrected() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    let early = project.run(0.5).await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &["AAECAwQFBgcICQoLDA0ODw=="]).await;
    eventually("the project is in error", async || (project.describe().await["error"] == true).then_some(()))
        .await;
    let status = early.status().await;
    assert_eq!(status["state"], "error");
    assert!(status["message"].as_str().unwrap().contains("16 bytes"), "{status}");
    let runs = format!("{}/runs", project.path);
    let refusal = project.api.post(&runs, &project.result_token, &json!({"threshold": 0.5})).await;
    assert!(refused(refusal, 500).await.contains("16 bytes"));

    project.upload(1, &[ENCODING]).await;
    assert_eq!(project.describe().await["error"], false);
    assert_eq!(project.run(0.5).await.ended().await["state"], "completed");
}

#[tokio::test]
async fn a_run_completes_after_a_stop_and_a_restart() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &[ENCODING]).await;
    let run = project.run(0.5).await;
    let path = run.path.clone();
    let (status, folder) = server.stop();
    assert!(status.success(), "{status}");
    let server = Entityd::in_folder(folder, &[]);
    let project = Project { api: server.api(), ..project };
    assert_eq!(project.known_run(path).ended().await["state"], "completed");
}

//! Jobs that fail in every attempt: their run ends in the state error with the reason, and the server survives.

use serde_json::Value;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, refused};

async fn project(server: &Entityd) -> Project {
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
    project
}

fn died(ended: &Value, because: &str) {
    let message = ended["message"].as_str().unwrap_or_default();
    assert!(ended["state"] == "error" && message.contains(because), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_panics_three_times_ends_its_run_and_nothing_else() {
    let server = Entityd::with_variables(&[], &[("ENTITYD_BREAKPOINT", "compare#")]);
    let project = project(&server).await;
    let run = project.run(0.9).await;
    let ended = run.ended().await;
    died(&ended, "the job panicked: a test makes compare panic");
    refused(run.result(&project.result_token).await, 500).await;
    assert_eq!(project.describe().await["error"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_end_is_stopped_at_its_deadline() {
    let server =
        Entityd::with_variables(&["--job-deadline-ms", "200"], &[("ENTITYD_BREAKPOINT", "finalize~")]);
    let ended = project(&server).await.run(0.9).await.ended().await;
    died(&ended, "stopped after 0.2 s, the deadline of a job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_the_process_is_given_up_after_its_third_attempt() {
    let mut server = Entityd::with_variables(&[], &[("ENTITYD_BREAKPOINT", "compare")]);
    let (project, run) = {
        let project = project(&server).await;
        let path = project.run(0.9).await.path;
        (project, path)
    };
    eventually("the job kills the process", async || server.has_ended().then_some(())).await;
    let folder = server.kill();
    for _ in 0..2 {
        Entityd::until_it_ends(&folder, &[("ENTITYD_BREAKPOINT", "compare")]).await;
    }
    let mut server = Entityd::with_variables_in(folder, &[("ENTITYD_BREAKPOINT", "compare")]);
    let project = Project { api: server.api(), ..project };
    let ended = project.known_run(run).ended().await;
    died(&ended, "the process stopped in attempt 3 of 3");
    assert!(!server.has_ended(), "the fourth start is not killed by it");
}

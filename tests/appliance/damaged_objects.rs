//! Files of objects that are cut, changed or missing: what uses them fails with the reason, and the process goes on.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, text};

async fn linked(server: &Entityd, result_type: &str) -> Project {
    let project = server.api().project(result_type).await;
    for party in 0..2 {
        project.upload(party, &[ENCODING, OTHER_ENCODING]).await;
    }
    project
}

/// Cuts a file to a fraction of its length.
fn cut(path: &Path, fraction: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length * fraction / 10).unwrap();
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_mapped_ends_the_run_and_not_the_process() {
    let mut server = Entityd::with_variables(&[], &[("ENTITYD_SLOW_MS", "compare.opened=400")]);
    let mut seen = 0;
    for kind in ["matrix", "index", "plan"] {
        // Cut to nothing, an access ends in a signal; cut within a page, it reads zeros.
        for fraction in [0, 9] {
            let project = linked(&server, "groups").await;
            let run = project.run(0.9).await;
            eventually("the files are mapped", async || {
                (server.log().matches("a test slows this step").count() > seen).then_some(())
            })
            .await;
            seen += 1;
            server.files(kind).iter().for_each(|file| cut(file, fraction));
            let status: Value = run.ended().await;
            assert_eq!(status["state"], "error", "{kind}: {status}");
            let message = text(&status["message"]);
            assert!(
                message.contains(kind) && message.contains("the stored data cannot be used"),
                "{message}"
            );
            assert!(!server.has_ended(), "{kind}");
            assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
        }
    }
    let next = linked(&server, "groups").await;
    assert_eq!(next.run(0.9).await.ended().await["state"], "completed");
}

#[tokio::test]
async fn no_database_is_mapped() {
    let server = Entityd::start();
    let project = linked(&server, "groups").await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.id())).unwrap();
    let mapped: Vec<&str> = maps.lines().filter(|line| line.contains(".db")).collect();
    assert_eq!(mapped, Vec::<&str>::new());
}

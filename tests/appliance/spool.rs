//! The limits on disk space for uploads, and the errors when they are reached.

use std::time::Duration;

use futures::stream;
use reqwest::Body;

use crate::support::{Entityd, refused};

const BYTES: usize = 800_000;

/// Returns a body of undeclared length, whose last piece is sent after a delay.
fn unannounced(last_after: Duration) -> Body {
    let piece = vec![7; BYTES / 8];
    Body::wrap_stream(stream::unfold(0, move |sent| {
        let piece = piece.clone();
        async move {
            if sent == 7 {
                tokio::time::sleep(last_after).await;
            }
            (sent < 8).then_some((Ok::<_, std::io::Error>(piece), sent + 1))
        }
    }))
}

#[tokio::test]
async fn uploads_share_a_spool_and_free_their_space() {
    let server = Entityd::with(&["--spool-bytes-max", "1_000_000"]);
    let project = server.api().project("groups").await;
    let slow = project.binary(0, BYTES as i64 / 8).body(unannounced(Duration::from_secs(10))).send();
    let slow = tokio::spawn(slow);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The first upload is rejected before its body is read, the second while it is read.
    for body in [Body::from(vec![7; BYTES]), unannounced(Duration::ZERO)] {
        let answer = project.binary(1, BYTES as i64 / 8).body(body).send().await.unwrap();
        let said = refused(answer, 507).await;
        assert!(said.contains("the token stays unused"), "{said}");
    }
    assert_eq!(slow.await.unwrap().unwrap().status(), 201);
    let answer = project.binary(1, BYTES as i64 / 8).body(vec![7; BYTES]).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let log = server.log();
    assert!(log.contains("--spool-bytes-max"), "the log names the limit");
}

#[tokio::test]
async fn uploads_leave_some_of_the_disk_free() {
    let server = Entityd::with(&["--disk-free-min", "1_000_000_000_000_000_000"]);
    let project = server.api().project("groups").await;
    refused(project.binary(0, 1).body(vec![1; 8]).send().await.unwrap(), 507).await;
    assert!(server.log().contains("--disk-free-min"));
    assert_eq!(project.describe().await["parties_contributed"], 0);
}

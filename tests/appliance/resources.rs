//! Open files, threads, memory and file sizes: what a server needs of each, and what it does with less.

use std::fs;

use futures::future::join_all;

use crate::support::{Entityd, OTHER_ENCODING};

/// How many files of these names a process has open.
fn open_files(server: &Entityd, name: &str) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    let names = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    names.filter(|path| path.to_string_lossy().contains(name)).count()
}

#[tokio::test]
async fn many_readers_of_the_metadata_share_a_few_files() {
    let server = Entityd::start();
    let api = server.api();
    let project = api.project("groups").await;
    project.upload(0, &[OTHER_ENCODING]).await;
    let run = project.run(0.9).await;
    let before = open_files(&server, "metadata.db");
    assert!(before <= 2 * 17 + 1, "{before} files");
    for _ in 0..3 {
        for status in join_all((0..300).map(|_| run.status())).await {
            assert_eq!(status["state"], "created");
        }
        assert_eq!(open_files(&server, "metadata.db"), before);
    }
}

//! The data directory: nothing is written outside of it, whose it is, and what may lie in it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, eventually};

/// Calls that open files for writing, or change what a folder holds.
const CALLS: &str = "trace=open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,\
                     symlink,symlinkat,unlink,unlinkat,rmdir,truncate,chmod,fchmodat";

/// Paths that a call of `strace -y` names and may have written to.
fn written(line: &str) -> Vec<PathBuf> {
    let reads_only =
        line.contains("open") && !["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|f| line.contains(f));
    if reads_only || !line.contains('(') || line.contains(" = -1 ") {
        return Vec::new();
    }
    let folder =
        line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("/", |(path, _)| path);
    line.split('"').skip(1).step_by(2).map(|name| Path::new(folder).join(name)).collect()
}

#[tokio::test]
async fn nothing_is_written_outside_of_the_data_directory() {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let strace = ["strace", "-D", "-f", "-y", "--seccomp-bpf", "-e", "signal=none", "-e", CALLS, "-o"];
    let strace = [&strace[..], &[trace.to_str().unwrap()]].concat();
    // A directory for temporary files that is not there.
    let server = Entityd::through(&strace, &["--tls", "off"], &[("TMPDIR", "/nowhere")]);
    let data_dir = server.data_dir();
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
    let notes = "long ".repeat(20_000);
    let runs = format!("{}/runs", project.path);
    for _ in 0..8 {
        let run = json!({"threshold": 0.9, "notes": notes});
        assert_eq!(project.api.post(&runs, &project.result_token, &run).await.status(), 201);
    }
    project.run(0.9).await.ended().await;
    assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
    eventually("the project's files go", async || server.payload_files().is_empty().then_some(())).await;
    assert!(server.stop().0.success());
    let trace = fs::read_to_string(&trace).unwrap();
    let paths: Vec<_> = trace.lines().flat_map(written).collect();
    assert!(paths.iter().any(|path| path.starts_with(&data_dir)), "the trace shows something");
    let harmless = |path: &PathBuf| path.starts_with(&data_dir) || path.starts_with("/dev/null");
    let strays: Vec<_> = paths.iter().filter(|path| !harmless(path)).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

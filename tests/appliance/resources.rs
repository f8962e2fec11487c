//! Limits on open files, threads, memory and file sizes: the server needs no more than documented, and reports limits
//! that are too low.

use std::fs;
use std::net::TcpStream;

use futures::future::join_all;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, refused};

const MIB: u64 = 1 << 20;

/// Counts the server's open files whose paths contain `name`.
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

/// Returns the number before `words` in a text.
fn number_before(text: &str, words: &str) -> u64 {
    let before = text.split(words).next().unwrap();
    before.split(' ').next_back().unwrap().parse().unwrap()
}

/// Asserts that a server does not start and prints the reason in one line; returns the line.
async fn refuses(wrapper: &[&str]) -> String {
    let (ended, said) = Entityd::refused_through(wrapper).await;
    assert_eq!((ended.code(), said.lines().count()), (Some(1), 1), "{wrapper:?}: {said}");
    said
}

#[tokio::test]
async fn too_few_open_files_are_refused_and_the_number_in_the_error_suffices() {
    let mut needed = 0;
    for files in [16, 24, 32] {
        let said = refuses(&["prlimit", &format!("--nofile={files}:{files}")]).await;
        needed = number_before(&said, " open files, and");
    }
    refuses(&["prlimit", &format!("--nofile={0}:{0}", needed - 1)]).await;
    let server = Entityd::through(&["prlimit", &format!("--nofile={needed}:{needed}")], &[], &[]);
    let project = server.api().project("groups").await;
    // The server closes most of these connections; the client closes none.
    let idle: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(server.doors().api).unwrap()).collect();
    project.upload(0, &[ENCODING; 40]).await;
    project.upload(1, &[ENCODING; 40]).await;
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed", "{}", server.log());
    drop(idle);
}

#[tokio::test]
async fn an_idle_server_has_no_more_files_open_than_it_counts() {
    let server = Entityd::start();
    let databases = open_files(&server, ".db");
    let all = open_files(&server, "");
    assert!(all - databases <= 24, "{all} files are open, {databases} of them of databases");
}

#[tokio::test]
async fn too_little_address_space_is_refused_in_one_line() {
    for mib in [100, 200, 300, 400, 500, 700] {
        let said = refuses(&["prlimit", &format!("--as={0}:{0}", mib * MIB)]).await;
        assert!(said.contains("ulimit -v"), "{said}");
    }
}

#[tokio::test]
async fn too_few_threads_are_refused_in_one_line() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root may become the user that the limit binds");
    }
    for threads in [1, 2, 6, 20] {
        let limit = format!("--nproc={threads}:{threads}");
        let user = ["setpriv", "--reuid=65534", "--clear-groups", "prlimit", &limit];
        let (ended, said) = Entityd::refused_through(&user).await;
        if said.contains("failed to execute") {
            return eprintln!("skipped: the other user may not start the program");
        }
        assert_eq!((ended.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains("ulimit -u"), "{said}");
    }
}

#[tokio::test]
async fn an_upload_above_the_file_size_limit_is_refused_and_the_server_continues() {
    assert!(refuses(&["prlimit", "--fsize=1000000"]).await.contains("ulimit -f"));
    let server = Entityd::through(&["prlimit", &format!("--fsize={}", 80 * MIB)], &[], &[]);
    let project = server.api().project("groups").await;
    let records = 11 * MIB;
    let body = vec![7; 8 * records as usize];
    let answer = project.binary(0, records.cast_signed()).body(body).send().await.unwrap();
    refused(answer, 507).await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &[ENCODING]).await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
}

#[tokio::test]
async fn a_log_that_can_take_nothing_ends_no_process_by_a_signal() {
    let (ended, said) = Entityd::refused_through(&["prlimit", "--fsize=0"]).await;
    assert_eq!((ended.code(), said.as_str()), (Some(1), ""));
}

#[tokio::test]
async fn a_server_needs_no_more_stack_than_it_may_have() {
    let server = Entityd::through(&["prlimit", "--stack=65536:65536"], &[], &[]);
    let project = server.api().project("groups").await;
    for party in 0..2 {
        project.upload(party, &[ENCODING]).await;
    }
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
}

#[tokio::test]
async fn the_available_memory_is_bounded_by_the_limits_of_the_process() {
    let server = Entityd::through(&["prlimit", &format!("--as={0}:{0}", 6_000 * MIB)], &[], &[]);
    let log = server.log();
    assert!(log.contains("memory.mib"), "{log}");
    let available = number_before(&log.replace("\"memory.available_mib\":", " "), ",\"memory.bound\"");
    assert!(available <= 6_000, "{log}");
}

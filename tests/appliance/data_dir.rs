//! The data directory: its owner, its permitted content, and no writes outside of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::command_line::{entityd, stderr};
use crate::support::{ENCODING, Entityd, OTHER_ENCODING, eventually};

/// The system calls that can open files for writing, or change the content of a folder.
const CALLS: &str = "trace=open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,\
                     symlink,symlinkat,unlink,unlinkat,rmdir,truncate,chmod,fchmodat";

/// Returns the paths that the call in a line of `strace -y` may have written to.
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
    // The directory for temporary files does not exist.
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
    eventually("the project's files are removed", async || server.payload_files().is_empty().then_some(()))
        .await;
    assert!(server.stop().0.success());
    let trace = fs::read_to_string(&trace).unwrap();
    let paths: Vec<_> = trace.lines().flat_map(written).collect();
    assert!(paths.iter().any(|path| path.starts_with(&data_dir)), "the trace shows something");
    let harmless = |path: &PathBuf| path.starts_with(&data_dir) || path.starts_with("/dev/null");
    let strays: Vec<_> = paths.iter().filter(|path| !harmless(path)).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

/// Asserts that a server does not start on `data_dir`, which may be a file, and returns the error.
pub(crate) fn complaint(wrapper: &[&str], data_dir: &Path) -> String {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(entityd().get_program()).args(["serve", "--listen", "127.0.0.1:0"]);
    command.args(["--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// A command prefix that removes root's right to access other users' files.
pub(crate) const ORDINARY: [&str; 3] = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];

#[test]
fn a_file_of_another_user_is_named_with_both_users() {
    if rustix::process::geteuid().as_raw() != 0 {
        return eprintln!("skipped: only root can give files to another user");
    }
    let (_, folder) = Entityd::with(&["--tls", "self-signed"]).stop();
    let data_dir = folder.path().join("data");
    let names = [
        "",
        "format",
        "lock",
        "spool",
        "admin-token",
        "s3-credentials",
        "metadata.db",
        "buckets.db",
        "queue",
        "queue/db",
        "objects",
        "tls/self-signed.pem",
    ];
    for name in names {
        let path = data_dir.join(name);
        std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).unwrap();
        let said = complaint(&ORDINARY, &data_dir);
        let shown = path.display().to_string();
        let shown = shown.trim_end_matches('/');
        let owner = format!("{shown} belongs to user 12345 and group 54321 (mode 0");
        assert!(said.contains(&owner) && said.contains("runs as user 0 and group 0"), "{name}: {said}");
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
    }
    std::os::unix::fs::chown(data_dir.join("format"), Some(12_345), None).unwrap();
    let server = Entityd::in_folder(folder, &[]);
    assert!(
        server.log().contains("belongs to user 12345, and this process runs as user 0"),
        "{}",
        server.log()
    );
}

#[test]
fn a_directory_in_use_names_the_host_and_the_start_of_the_process_that_has_it() {
    let server = Entityd::start();
    let said = complaint(&["env"], &server.data_dir());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let holder = format!("in use by process {} on host {host}, started at 20", server.id());
    assert!(said.contains(&holder), "{said}");
}

#[test]
fn a_fresh_volume_is_accepted_and_a_foreign_file_is_named() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    for name in [
        "lost+found",
        ".snapshot",
        ".Trash-1000",
        "System Volume Information",
        "#recycle",
        "@eaDir",
        "..data",
    ] {
        fs::create_dir_all(data_dir.join(name)).unwrap();
    }
    fs::write(data_dir.join(".DS_Store"), "").unwrap();
    fs::write(data_dir.join("thesis.odt"), "").unwrap();
    let said = complaint(&["env"], &data_dir);
    assert!(said.contains("it holds \"thesis.odt\""), "{said}");
    fs::remove_file(data_dir.join("thesis.odt")).unwrap();
    drop(Entityd::in_folder(folder, &[]));
}

#[test]
fn a_data_directory_on_fuse_is_warned_about() {
    let folder = TempDir::new().unwrap();
    let (behind, data_dir) = (folder.path().join("behind"), folder.path().join("data"));
    [&behind, &data_dir].into_iter().for_each(|path| fs::create_dir(path).unwrap());
    let mount = Command::new("bindfs").args([&behind, &data_dir]).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: bindfs is not installed, or FUSE is not allowed here");
    }
    let server = Entityd::in_folder(folder, &[]);
    let said = server.log();
    let (_, folder) = server.stop();
    assert!(Command::new("umount").arg(folder.path().join("data")).status().unwrap().success());
    assert!(said.contains("is on FUSE") && said.contains("use a local disk"), "{said}");
}

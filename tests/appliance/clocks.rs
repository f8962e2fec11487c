//! Changed system clocks, and paused processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, text};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A wall clock that can be changed while servers use it. Their monotonic clocks are not affected.
struct WallClock(TempDir);

impl WallClock {
    /// Returns a clock that shows the machine's time; `None` where the library for changing clocks is not installed.
    fn new() -> Option<Self> {
        if !Path::new(LIBRARY).exists() {
            println!("skipped: the package faketime is not installed");
            return None;
        }
        let clock = Self(TempDir::new().unwrap());
        clock.set("+0");
        Some(clock)
    }

    /// Sets the offset of this clock from the machine's clock.
    fn set(&self, offset: &str) {
        fs::write(self.0.path().join("new"), offset).unwrap();
        fs::rename(self.0.path().join("new"), self.file()).unwrap();
    }

    fn file(&self) -> String {
        self.0.path().join("offset").to_str().unwrap().to_owned()
    }

    /// Starts a server that uses this clock, on the data directory in `folder`.
    fn server(&self, folder: TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Entityd {
        let file = self.file();
        let ours = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        Entityd::told_in(folder, flags, &[&ours[..], variables].concat())
    }
}

async fn project(server: &Entityd) -> Project {
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
    project
}

/// Returns a project with a completed run, and the year in which the run ended by the server's clock.
async fn completed(server: &Entityd) -> (Project, String) {
    let project = project(server).await;
    let ended = project.run(0.9).await.ended().await;
    assert_eq!(ended["state"], "completed");
    (project, text(&ended["time_completed"])[..4].to_owned())
}

/// Waits until the server has searched for old projects once more.
async fn retired(server: &Entityd) {
    let ops = server.doors().ops;
    let count = async || {
        let figures = reqwest::get(format!("http://{ops}/metrics")).await.unwrap().text().await.unwrap();
        let lines = figures.lines().filter(|line| line.starts_with("entityd_jobs_total"));
        let line = lines.filter(|line| line.contains("\"retire\"")).find(|line| line.contains("\"done\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = count().await;
    eventually("old projects are looked for", async || (count().await > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_briefly_wrong_deletes_nothing_even_across_restarts() {
    const FLAGS: [&str; 4] = ["--retention-days", "30", "--maintenance-every-ms", "1000"];
    let Some(clock) = WallClock::new() else { return };
    let mut server = clock.server(TempDir::new().unwrap(), &FLAGS, &[]);
    let (kept, this_year) = completed(&server).await;
    // First a year ahead, then decades behind, like a clock after a power cut without a battery.
    for (offset, wrong) in [("+400d", true), ("-20000d", true), ("+0", false)] {
        clock.set(offset);
        let (during, year) = completed(&server).await;
        assert_eq!(year != this_year, wrong, "the server uses the clock: {offset}");
        retired(&server).await;
        server = clock.server(server.kill(), &FLAGS, &[]);
        retired(&server).await;
        for project in [&kept, &during] {
            let answer = server.api().get(&project.path, &project.result_token).await;
            assert_eq!(answer.status(), 200, "{offset}");
        }
    }
    assert!(server.log().contains("the system clock was set ahead while the server ran"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_changed_repeatedly_ends_no_job() {
    let Some(clock) = WallClock::new() else { return };
    let slow = [("ENTITYD_SLOW_MS", "finalize=3000")];
    let server = clock.server(TempDir::new().unwrap(), &["--lease-ms", "2000"], &slow);
    let project = project(&server).await;
    let run = project.run(0.9).await;
    in_hand(&server, "finalize").await;
    for offset in ["+1h", "+2h", "+3h", "+4h", "-1h", "+8760h"] {
        clock.set(offset);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(run.ended().await["state"], "completed");
    assert_eq!(begun(&server, "finalize"), 1, "the job was claimed only once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_paused_longer_than_its_leases_keeps_its_jobs() {
    let slow = [("ENTITYD_SLOW_MS", "finalize=7000")];
    let server = Entityd::told_in(TempDir::new().unwrap(), &["--lease-ms", "2000"], &slow);
    let project = project(&server).await;
    let run = project.run(0.9).await;
    in_hand(&server, "finalize").await;
    let process = Pid::from_raw(server.id().cast_signed()).unwrap();
    for _ in 0..2 {
        kill_process(process, Signal::STOP).unwrap();
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        kill_process(process, Signal::CONT).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(run.ended().await["state"], "completed");
    assert_eq!(begun(&server, "finalize"), 1, "the job was claimed only once");
}

/// Returns the number of times that a delayed step has begun.
fn begun(server: &Entityd, step: &str) -> usize {
    let log = server.log();
    let slowed = log.lines().filter(|line| line.contains("failpoint: the step is delayed"));
    slowed.filter(|line| line.contains(step)).count()
}

async fn in_hand(server: &Entityd, step: &str) {
    eventually("a worker has the job", async || (begun(server, step) > 0).then_some(())).await;
}

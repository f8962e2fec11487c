//! Simulates power cuts. A workload runs under `strace`, which records every write and every sync. The test rebuilds
//! the files as a power cut at a random moment may leave them: everything acknowledged before must be in them.

mod disk;
mod trace;
mod workload;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use entityd::queue::{Broker, JobQuery};
use entityd::runtime::clock::Stopwatch;
use entityd::runtime::entropy::Entropy;
use tempfile::TempDir;

use disk::{Kept, Recording};
use trace::Trace;

/// The maximum number of simulated power cuts.
const CUTS: usize = 150;
/// The number of simulated power cuts that are made however long they take. Fewer would show nothing.
const CUTS_MIN: usize = 20;
/// The time limit for further power cuts.
const TIME: Duration = Duration::from_secs(15);

/// Runs a part of the workload in another process, and returns its recorded operations.
fn record(part: &str, folder: &Path) -> Trace {
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    let trace = folder.join("trace");
    let calls = "trace=openat,close,write,pwrite64,writev,pwritev,ftruncate,fallocate,lseek,rename,renameat,renameat2,\
                 unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync";
    let output = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "16777216", "--seccomp-bpf", "-e", "signal=none", "-e", calls, "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "powercut::workload::workload", "--ignored", "--nocapture"])
        .env(workload::FOLDER, folder)
        .env(workload::PART, part)
        .output()
        .expect("strace is installed (tests/run does that)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    trace::read(&trace, &data, &folder.join(workload::LOG))
}

#[test]
fn acknowledged_jobs_survive_a_power_cut() {
    let folder = TempDir::new().unwrap();
    let recording = Recording::of(record("mixed", folder.path()));
    let seed = std::env::var("ENTITYD_SIM_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from_le_bytes(Entropy::system().bytes()));
    println!("ENTITYD_SIM_SEED={seed}");
    let chance = Entropy::seeded(seed);
    let pick = |below: usize| (u64::from_le_bytes(chance.bytes()) % below as u64) as usize;
    let (started, mut cuts) = (Stopwatch::start(), 0);
    while cuts < CUTS_MIN || (cuts < CUTS && started.elapsed() < TIME) {
        // One cut in five is during the start of the stores.
        let cut = if cuts % 5 == 0 { pick(recording.first_word()) } else { pick(recording.moments()) };
        let kept = [Kept::Nothing, Kept::Blocks, Kept::Everything][pick(3)];
        // The files of earlier cuts are kept: SQLite identifies files by inode number, which could be reused otherwise.
        let after = folder.path().join(cuts.to_string());
        recording.rebuild(cut, kept, &chance, &after);
        check(
            &after,
            &Promises::until(&recording, cut),
            &format!("cut at {cut}, {kept:?} of what was not synced"),
        );
        cuts += 1;
    }
    let (writes, syncs, bytes) = recording.size();
    println!("{cuts} power cuts in a recording of {writes} writes of {bytes} bytes and {syncs} syncs");
    // The test is meaningful only if files are overwritten.
    let times = ["queue/db", "queue/journal.0", "metadata.db-wal"].map(|name| recording.times_written(name));
    println!("times written over: {times:.1?} (sled, commit log, metadata)");
    assert!(times[0] > 2.0 && times[1] > 2.0, "{times:?}");
}

#[test]
fn a_group_of_changes_costs_one_sync() {
    let folder = TempDir::new().unwrap();
    let recording = Recording::of(record("syncs", folder.path()));
    let syncs = |from: &str, to: &str| recording.syncs_between(from, to);
    let (alone, together) = (syncs("alone", "together"), syncs("together", "done"));
    // Each single call needs one sync, not two. A few more syncs have other causes, more of them on a loaded machine.
    assert!(
        (workload::CALLS..workload::CALLS * 3 / 2).contains(&alone),
        "{alone} syncs of calls one after another"
    );
    assert!((1..=workload::CALLS / 2).contains(&together), "{together} syncs of calls all at once");
}

/// The changes that the workload had requested or seen acknowledged at a moment.
#[derive(Default)]
struct Promises {
    waiting: HashSet<String>,
    /// The jobs with a change that is not acknowledged: they may exist or not.
    uncertain: HashSet<String>,
    projects: HashSet<String>,
    /// True while a project is being created, so that it may exist or not.
    project_begun: bool,
}

impl Promises {
    fn until(recording: &Recording, cut: usize) -> Self {
        let (mut promises, mut finishing) = (Self::default(), HashSet::new());
        for (verb, name) in recording.words_until(cut) {
            match verb {
                "enqueueing" => _ = promises.uncertain.insert(name.to_owned()),
                // Another client may have claimed the job before this client received the acknowledgement.
                "enqueued" if !finishing.contains(name) => {
                    promises.uncertain.remove(name);
                    promises.waiting.insert(name.to_owned());
                }
                "finishing" => {
                    finishing.insert(name);
                    promises.waiting.remove(name);
                    promises.uncertain.insert(name.to_owned());
                }
                "finished" => _ = promises.uncertain.remove(name),
                "creating" => promises.project_begun = true,
                "created" => {
                    promises.project_begun = false;
                    promises.projects.insert(name.to_owned());
                }
                _ => {}
            }
        }
        promises
    }
}

/// Opens the rebuilt stores, and compares them with the promises.
fn check(data: &Path, promises: &Promises, moment: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shelves = workload::open(data).unwrap_or_else(|error| panic!("{moment}: {error:?}"));
        let query = JobQuery { count: usize::MAX, ..JobQuery::default() };
        let jobs = shelves.broker.jobs(&query, shelves.clock.now()).await.unwrap();
        let mut found: HashMap<String, usize> = HashMap::new();
        for job in &jobs {
            *found.entry(job.job.to_string()).or_default() += 1;
        }
        for name in &promises.waiting {
            assert!(found.contains_key(name), "{moment}: job {name} was lost");
        }
        for (name, times) in &found {
            assert!(
                promises.waiting.contains(name) || promises.uncertain.contains(name),
                "{moment}: job {name} is back"
            );
            assert_eq!(*times, 1, "{moment}: job {name}");
        }
        // Payloads must be complete too.
        for name in promises.waiting.iter().take(50) {
            let shown = shelves.broker.show(&name.as_str().into(), shelves.clock.now()).await.unwrap();
            assert_eq!(shown.expect("it is listed").payload, workload::payload(name), "{moment}: job {name}");
        }
        let listed = shelves.coordinator.projects().await.unwrap();
        let listed: HashSet<String> = listed.into_iter().map(|project| project.id.to_string()).collect();
        assert!(promises.projects.is_subset(&listed), "{moment}: a project was lost");
        assert!(listed.len() <= promises.projects.len() + usize::from(promises.project_begun), "{moment}");
    });
}

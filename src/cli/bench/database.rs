//! `entityd bench database`: the rate at which the metadata store records finished parts of a run, each in a commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::cli::context::runtime;
use crate::cli::exit::OrFail;
use crate::cli::number::whole;
use crate::cli::{Failure, output};
use crate::metadata::{Commit, Error, Location, Postgres, Runs, Sqlite, Store, postgres};
use crate::model::run::Progress;
use crate::model::{ProjectId, ProjectState, ResultType, Run, RunId, RunState, Threshold, TokenHash};
use crate::runtime::clock::{Clock, Stopwatch};
use crate::runtime::entropy::Entropy;
use crate::system::identity::Identity;
use crate::system::sqlite::{Losses, Owner};

/// The environment variable with the password.
const PASSWORD: &str = "ENTITYD_DATABASE_PASSWORD";

/// Reports parts of one run: each report sets a bit in the run's row, and is committed before it is acknowledged
///
/// Measures `SQLite` in a temporary directory, or an empty database in `PostgreSQL`, which should be dropped
/// afterwards.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Empty database in `PostgreSQL`, in the form that `serve` accepts; the password is read from
    /// `ENTITYD_DATABASE_PASSWORD`
    #[arg(long, default_value = "", hide_default_value = true)]
    database: String,
    /// Number of reports
    #[arg(long, default_value_t = 20_000, value_parser = whole::<u32>(0..))]
    reports: u32,
    /// Number of workers; each waits for the response to its report
    #[arg(long, default_value_t = 64, value_parser = whole::<usize>(0..))]
    workers: usize,
    /// End the output with a line that holds one JSON object
    #[arg(long)]
    json: bool,
}

/// The measurements.
#[derive(Debug, Serialize)]
struct Report {
    reports_per_second: f64,
    reports: u32,
    workers: usize,
    seconds: f64,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let location = location(&self.database)?;
        let folder = tempfile::tempdir().map_err(|error| Failure::Failed(error.to_string()))?;
        let report = runtime()?.block_on(async {
            let store = open_store(&location, folder.path()).await?;
            let report = measure(&store, self.reports, self.workers).await?;
            store.close().await?;
            Ok::<_, Error>(report)
        });
        let report = report.or_fail()?;
        let text = if self.json {
            serde_json::to_string(&report).map_err(|error| Failure::Failed(error.to_string()))?
        } else {
            format!("{:.0} reports a second by {} workers", report.reports_per_second, report.workers)
        };
        output::print(&format!("{text}\n"))
    }
}

/// Parses the flag `--database`.
pub(super) fn location(text: &str) -> Result<Location, Failure> {
    let refused = || Failure::Usage("--database is no URL such as postgres://user@host/name".to_owned());
    Location::parse(text).ok_or_else(refused)
}

/// Opens the database at `location`, or a new one in `folder`.
pub(super) async fn open_store(location: &Location, folder: &Path) -> Result<Arc<dyn Store>, Error> {
    let file = folder.join("metadata.db");
    let identity = Identity::random(&Entropy::system());
    let owner = Owner {
        identity,
        made: false,
        accepted: Losses::default(),
        companion: None,
        known: Arc::default(),
        take_over: None,
    };
    let Location::Postgres(address) = location else {
        return Ok(Arc::new(Sqlite::open_owned(&file, &owner)?));
    };
    let settings = postgres::Settings {
        address: (**address).clone(),
        server: None,
        name: None,
        user: None,
        password: std::env::var(PASSWORD).ok().map(Zeroizing::new),
        ca_file: None,
        cert_file: None,
        key_file: None,
        connections_max: 10,
        timeout: Duration::from_secs(10),
    };
    Ok(Arc::new(Postgres::open(&settings, &owner, &file, true).await?))
}

async fn measure(store: &Arc<dyn Store>, reports: u32, workers: usize) -> Result<Report, Error> {
    let project = comparing(reports);
    let (id, run) = (project.id, project.runs[0].id);
    let create = move |_| Some(Commit { state: Some(project.clone()), ..Commit::default() });
    store.update(id, Runs::All, Box::new(create)).await?;
    let next = Arc::new(AtomicU32::new(0));
    let watch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (store, next) = (Arc::clone(store), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                if part >= reports {
                    return Ok::<_, Error>(());
                }
                let change = Box::new(move |state| report(state, part));
                store.update(id, Runs::One(run), change).await?;
            }
        });
    }
    tasks.join_all().await.into_iter().collect::<Result<(), _>>()?;
    let seconds = watch.seconds();
    let after = store.project(id, Runs::All).await?;
    let counted = after.and_then(|project| project.runs[0].progress.as_ref().map(|progress| progress.pairs));
    assert_eq!(counted, Some(reports.into()), "each report counts once");
    Ok(Report { reports_per_second: f64::from(reports) / seconds, reports, workers, seconds })
}

/// Records in a project that a part of its run has been compared.
fn report(state: Option<ProjectState>, part: u32) -> Option<Commit> {
    let mut state = state?;
    let run = state.runs.first_mut()?;
    let progress = run.progress.as_mut()?;
    if !progress.applied.insert(part) {
        return None;
    }
    progress.comparisons += 1_000;
    progress.pairs += 1;
    run.times.part_reported(Clock::system().now());
    Some(Commit { state: Some(state), ..Commit::default() })
}

/// Returns a project with a run of this many parts.
fn comparing(parts: u32) -> ProjectState {
    let entropy = Entropy::system();
    let now = Clock::system().now();
    let threshold = Threshold::new(0.8).expect("it is between 0 and 1");
    let mut run = Run::asked_for(RunId::from_bytes(entropy.bytes()), threshold, now);
    run.state = RunState::Comparing;
    run.progress = Some(Progress::planned(parts, u64::from(parts) * 1_000, Vec::new()));
    ProjectState {
        id: ProjectId::from_bytes(entropy.bytes()),
        added: now,
        name: String::new(),
        notes: String::new(),
        schema: "{}".to_owned(),
        result_type: ResultType::Groups,
        uses_blocking: false,
        encoding_bytes: Some(128),
        result_token: TokenHash::from_bytes(entropy.bytes()),
        parties: Vec::new(),
        runs: vec![run],
    }
}

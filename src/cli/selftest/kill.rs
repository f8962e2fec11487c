//! Kills a server in a step of a linkage, restarts it, and checks the outcome.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::scenario::{Api, Outcome, People, Scenario, Stopped};
use super::server::Server;

/// The steps of an upload and a run in which a server can be killed, with the failpoints of each.
pub const STEPS: [(&str, &[&str]); 7] = [
    ("body", &["body"]),
    ("spooled", &["spooled.done", "spooled.published", "spooled.reported"]),
    ("ingest", &["ingest", "ingest.done", "ingest.published", "ingest.reported"]),
    ("plan", &["plan", "plan.done", "plan.published", "plan.reported"]),
    ("compare", &["compare", "compare.done", "compare.published", "compare.reported"]),
    ("finalize", &["finalize", "finalize.done", "finalize.published", "finalize.reported"]),
    ("purge", &["purge", "purge.published"]),
];
/// The failpoints of uploads that are indexed before they are accepted, and of a run that one job brings to its result.
pub const MOMENTS_AT_ONCE: [&str; 10] = [
    "spooled.done",
    "spooled.published",
    "spooled.reported",
    "plan",
    "compare",
    "compare.opened",
    "finalize",
    "plan.done",
    "plan.published",
    "plan.reported",
];
/// The time limit for an event that must happen.
pub const STEP_TIMEOUT: Duration = Duration::from_mins(2);
/// The number of parts of a run, enough to kill the server between two of them.
const PARTS: u64 = 8;
/// The interval at which a condition is checked.
const LOOK: Duration = Duration::from_millis(5);

/// The input and the timing of a test with a kill.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The path of the server's program.
    pub program: PathBuf,
    /// The people of each party.
    pub people: People,
    /// Set if no job indexes the uploads, and one job brings the run to its result, as is usual for so few people.
    pub at_once: bool,
    /// The delay added to the step in which the server is killed.
    pub slow: Duration,
    /// The time limit for an event that must happen.
    pub step_timeout: Duration,
}

/// The state after the kill of a server.
#[derive(Debug)]
pub struct Killed {
    /// The data directory.
    pub folder: Arc<TempDir>,
    /// The state that the server has acknowledged.
    pub scenario: Scenario,
}

impl Scene {
    /// Starts a server on the data in `folder`.
    ///
    /// # Errors
    /// The server's error message if it does not start.
    pub fn start(&self, folder: Arc<TempDir>, variables: &[(&str, &str)]) -> Result<Server, String> {
        let count = u64::from(self.people.count);
        let comparisons = (count * count / 2 / PARTS).to_string();
        let in_parts = ["--comparisons-per-job", &comparisons];
        let flags = if self.at_once { &[] } else { in_parts.as_slice() };
        Server::start(&self.program, folder, flags, variables)
    }

    /// Polls until `is_so` returns true. `what` describes the condition.
    ///
    /// # Errors
    /// A message with `what`, if the time limit has passed.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
        let wait = async {
            while !is_so() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(self.step_timeout, wait)
            .await
            .map_err(|_| format!("timed out waiting for: {what}"))
    }
}

/// Creates a temporary data directory for a server.
///
/// # Errors
/// The operating system's error.
pub fn folder() -> Result<Arc<TempDir>, String> {
    TempDir::new().map(Arc::new).map_err(|error| format!("cannot create a temporary folder: {error}"))
}

/// Runs the scenario without a kill, and returns the outcome.
///
/// # Errors
/// The failure.
pub async fn undisturbed(scene: &Scene) -> Result<Outcome, String> {
    let server = scene.start(folder()?, &[])?;
    let mut scenario = Scenario::new(scene.people);
    go_on(&mut scenario, &server).await?;
    scenario.outcome().cloned().ok_or_else(|| "the scenario has no outcome".to_owned())
}

/// Runs the scenario on a server that is killed `delay` after it has reached the failpoint `moment`.
///
/// # Errors
/// A failure before the kill.
pub async fn killed_in(scene: &Scene, moment: &str, delay: Duration) -> Result<Killed, String> {
    let slow = format!("{moment}={}", scene.slow.as_millis());
    let server = scene.start(folder()?, &[("ENTITYD_SLOW_MS", &slow)])?;
    let mut scenario = Scenario::new(scene.people);
    let told = {
        let mut due = std::pin::pin!(comes_to(scene, &server, moment, delay));
        tokio::select! {
            due = &mut due => due,
            told = go_on(&mut scenario, &server) => match told {
                // The scenario ends before the last step, which deletes the data later.
                Ok(()) => due.await,
                failed => failed,
            },
        }
    };
    told?;
    Ok(Killed { folder: server.kill(), scenario })
}

/// Waits until the server has reached the failpoint `moment`, and then for `delay`.
async fn comes_to(scene: &Scene, server: &Server, moment: &str, delay: Duration) -> Result<(), String> {
    let comes = format!("the server reaches {moment}");
    scene.until(&comes, || server.log().contains("failpoint: the step is delayed")).await?;
    tokio::time::sleep(delay).await;
    Ok(())
}

/// Restarts a killed server on its data, completes the scenario, and checks that nothing is lost, repeated or left
/// behind.
///
/// # Errors
/// A description of the first difference from the expected outcome.
pub async fn recover(
    scene: &Scene,
    folder: Arc<TempDir>,
    mut scenario: Scenario,
    expected: &Outcome,
) -> Result<(), String> {
    let server = scene.start(folder, &[])?;
    let checked = scenario.check(&Api::new(server.api())).await;
    checked.map_err(said)?;
    go_on(&mut scenario, &server).await?;
    if scenario.outcome() != Some(expected) {
        return Err("the result is not the same".to_owned());
    }
    nothing_twice(&server.log(), scenario.run().unwrap_or_default(), expected.comparisons)?;
    scene.until("no byte of the deleted project is left", || server.payload_files().is_empty()).await
}

/// Runs the scenario to its end on a server that is not killed.
///
/// # Errors
/// The failure.
pub async fn go_on(scenario: &mut Scenario, server: &Server) -> Result<(), String> {
    scenario.go_on(&Api::new(server.api())).await.map_err(said)
}

fn said(stopped: Stopped) -> String {
    match stopped {
        Stopped::Gone => "the server disconnected by itself".to_owned(),
        Stopped::Wrong(why) => why,
    }
}

/// Checks that each transition of the run occurs at most once in the log of all servers, and that the comparisons
/// reported by its parts add up to the planned number. A part that counts twice would exceed it.
fn nothing_twice(log: &str, run: &str, comparisons: u64) -> Result<(), String> {
    let parsed = |line: &str| serde_json::from_str::<Value>(line).ok();
    let lines: Vec<Value> = log.lines().filter_map(parsed).filter(|line| line["run.id"] == run).collect();
    for turn in ["run created", "run started", "all parts compared", "run completed"] {
        let told: Vec<&Value> = lines.iter().filter(|line| line["message"] == turn).collect();
        if told.len() > 1 {
            return Err(format!("`{turn}` happened {} times", told.len()));
        }
        if let Some(counted) = told.first().and_then(|line| line["comparisons"].as_u64())
            && counted != comparisons
        {
            return Err(format!("{counted} comparisons were counted, and the plan has {comparisons}"));
        }
    }
    Ok(())
}

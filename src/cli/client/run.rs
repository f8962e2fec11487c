//! `entityd run`: starts, lists, watches and deletes runs.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::access::{self, Access, CODES, Kind, Session};
use super::refusal::{Asked, READERS, Shape};
use super::{block_on, cell, show};
use crate::cli::answer::plain;
use crate::cli::columns::aligned;
use crate::cli::exit::Failure;
use crate::cli::number::{TIME_MAX, seconds};
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::model::Threshold;
use crate::runtime::clock::Stopwatch;

/// The initial interval at which the status is read.
const LOOK: Duration = Duration::from_millis(100);
/// The longest interval at which the status is read.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Starts, lists, watches and deletes runs on a server
///
/// A run links the uploads of its project at one threshold. It waits for the parties that have not uploaded yet. These
/// commands need the analyst's token; a party may watch a run of a `permutations` project with its receipt token.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Starts a run, and prints its id
    Create {
        /// Minimum Dice coefficient of a candidate pair
        #[arg(long, value_name = "T")]
        threshold: Threshold,
        /// Name of the run
        #[arg(long, default_value = "")]
        name: String,
        /// Notes about the run
        #[arg(long, default_value = "")]
        notes: String,
        /// Keep the scores of the pairs within each group, for `entityd result get --scores`; only for projects of the
        /// result type `groups`, and not on the reference service
        #[arg(long)]
        scores: bool,
        /// Wait until the run has ended
        #[arg(long)]
        watch: bool,
    },
    /// Lists the runs of the project
    List,
    /// Shows the progress of a run until it has ended
    ///
    /// On a terminal, prints a bar, and otherwise a line for each stage; with --json, a line for every status that
    /// differs from the previous one. Fails if the run fails.
    #[command(after_help = CODES)]
    Watch {
        #[command(flatten)]
        run: Which,
        /// Give up after this time, in seconds or with a unit such as 30m or 2h; the run continues
        #[arg(long, value_name = "TIME", value_parser = seconds(1..=TIME_MAX))]
        timeout: Option<u64>,
    },
    /// Stops a run and deletes its result
    Delete {
        /// Id of the run
        #[arg(value_name = "RUN", value_parser = access::id)]
        run: String,
    },
}

/// A run of the project.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Id of the run [default for the analyst: the run that was started last]
    #[arg(value_name = "RUN", value_parser = access::id)]
    run: Option<String>,
}

impl Arguments {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let session = self.access.open()?;
        block_on(self.action.run(&session))
    }
}

impl Action {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create { threshold, name, notes, scores, watch } => {
                let mut body = json!({ "threshold": threshold.get(), "name": name, "notes": notes });
                if *scores {
                    body["scores"] = json!(true);
                }
                let answer = create(session, &body).await?;
                if *scores && answer["scores"] != json!(true) {
                    output::note(
                        "the server has started the run, but does not keep scores within groups (--scores)",
                    );
                }
                show(&answer, session.json && !watch, |answer| format!("{}\n", cell(&answer["run_id"])))?;
                if !watch {
                    return Ok(());
                }
                let id = access::id(answer["run_id"].as_str().unwrap_or_default());
                let id =
                    id.map_err(|_| Failure::Failed("starting a run: the response lacks its id".to_owned()))?;
                let path = format!("{}/runs/{id}", session.project_path()?);
                Watching { session, path, is_quiet: false }.to_its_end(None).await
            }
            Self::List => show(&list(session).await?, session.json, table),
            Self::Watch { run, timeout } => {
                let path = run.path(session).await?;
                Watching { session, path, is_quiet: false }.to_its_end(timeout.map(Duration::from_secs)).await
            }
            Self::Delete { run } => {
                let asked = Asked::new("deleting the run", Shape::Nothing);
                session.ask((Method::DELETE, &format!("/runs/{run}")), None, &asked).await?;
                output::note(&format!("deleted run {run}"));
                Ok(())
            }
        }
    }
}

async fn create(session: &Session, body: &Value) -> Result<Value, Failure> {
    let asked = Asked::new("starting a run", Shape::Member("run_id"));
    session.ask((Method::POST, "/runs"), Some(body), &asked).await
}

async fn list(session: &Session) -> Result<Value, Failure> {
    session.ask((Method::GET, "/runs"), None, &Asked::new("listing the runs", Shape::List)).await
}

fn table(answer: &Value) -> String {
    let row = |run: &Value| vec![cell(&run["run_id"]), cell(&run["state"]), cell(&run["time_added"])];
    aligned(&["run", "state", "created (UTC)"], answer.as_array().into_iter().flatten().map(row).collect())
}

impl Which {
    /// Returns the path of the run below `/api/v1`.
    pub(super) async fn path(&self, session: &Session) -> Result<String, Failure> {
        let runs = format!("{}/runs", session.project_path()?);
        if let Some(run) = &self.run {
            return Ok(format!("{runs}/{run}"));
        }
        let is_partys = session.profile.result_token.is_none() && session.profile.receipt_token.is_some();
        if is_partys && !session.has_own_token() {
            return Err(Failure::Usage("give the RUN: a party cannot list the runs of a project".to_owned()));
        }
        let listed = list(session).await?;
        let last = listed.as_array().and_then(|runs| runs.last()?["run_id"].as_str());
        let last = last.ok_or_else(|| Failure::Input("the project has no run yet".to_owned()))?;
        let id = access::id(last)
            .map_err(|_| Failure::Failed("the server lists a run without an id".to_owned()))?;
        Ok(format!("{runs}/{id}"))
    }
}

/// Follows a run.
pub(super) struct Watching<'a> {
    pub(super) session: &'a Session,
    /// The path of the run below `/api/v1`.
    pub(super) path: String,
    /// Set if standard output is reserved for other output.
    pub(super) is_quiet: bool,
}

impl Watching<'_> {
    /// Shows the progress of the run until it has completed. Fails if the run fails, or takes longer than `give_up_after`.
    pub(super) async fn to_its_end(&self, give_up_after: Option<Duration>) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let mut progress = Progress::with_eta();
        let (mut before, mut pause) = (Value::Null, LOOK);
        loop {
            let status = self.status().await?;
            if status != before {
                pause = LOOK;
                if self.session.json && !self.is_quiet {
                    output::print(&format!("{status}\n"))?;
                } else {
                    let (task, done) = stage(&status);
                    progress.show(&task, done);
                }
            }
            match status["state"].as_str() {
                Some("completed") => {
                    progress.finish();
                    return if self.session.json || self.is_quiet { Ok(()) } else { finished(&status) };
                }
                Some("error") => {
                    let why =
                        status["message"].as_str().map_or("the server gives no reason".to_owned(), plain);
                    return Err(Failure::Failed(format!("the run failed: {why}")));
                }
                Some(_) => {}
                None => return Err(Failure::Failed("the status of the run has no `state`".to_owned())),
            }
            if give_up_after.is_some_and(|give_up_after| watch.elapsed() + pause > give_up_after) {
                let state = cell(&status["state"]);
                return Err(Failure::Failed(format!(
                    "the run has not completed in time (--timeout): it is {state}"
                )));
            }
            before = status;
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    async fn status(&self) -> Result<Value, Failure> {
        let token = self.session.token(Kind::ResultOrReceipt, None)?;
        let path = format!("{}/status", self.path);
        let act = "reading the status of the run";
        let asked = Asked { forbidden: READERS, ..Asked::new(act, Shape::Member("state")) };
        self.session.api.ask((Method::GET, &path), &token, None, &asked).await
    }
}

/// Returns the stage of a run, and how much of it is done.
fn stage(status: &Value) -> (String, f64) {
    let stage = &status["current_stage"];
    let done = stage["progress"]["relative"].as_f64().unwrap_or(0.0);
    let task = format!(
        "{}: stage {} of {}, {}",
        cell(&status["state"]),
        cell(&stage["number"]),
        cell(&status["stages"]),
        cell(&stage["description"])
    );
    (task, done)
}

fn finished(status: &Value) -> Result<(), Failure> {
    let comparisons = &status["total_number_comparisons"];
    output::print(&if comparisons.is_u64() {
        format!("completed after {comparisons} comparisons\n")
    } else {
        "completed\n".to_owned()
    })
}

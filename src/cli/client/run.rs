//! `entityd run`: starts, lists, watches and deletes runs.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::access::{self, Access, CODES, Kind, Session};
use super::refusal::{Asked, READERS, Shape};
use super::{block_on, cell, project, show};
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
        /// Wait until the run has ended; progress is shown on standard error
        #[arg(long)]
        watch: bool,
        /// Give up the wait after this time, in seconds or with a unit such as 30m or 2h; the run continues
        #[arg(long, value_name = "TIME", requires = "watch", value_parser = seconds(1..=TIME_MAX))]
        timeout: Option<u64>,
    },
    /// Lists the runs of the project
    List,
    /// Shows the progress of a run until it has ended
    ///
    /// On a terminal, shows a bar on standard error, and otherwise a line for each stage. Standard output gets the number of
    /// comparisons at the end; with --json, a line for every status that differs from the previous one. Fails if the run
    /// fails, or if it has not ended within --timeout.
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
            Self::Create { threshold, name, notes, scores, watch, timeout } => {
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
                show(&answer, session.json, |answer| format!("{}\n", cell(&answer["run_id"])))?;
                if !watch {
                    return Ok(());
                }
                let id = access::id(answer["run_id"].as_str().unwrap_or_default());
                let id =
                    id.map_err(|_| Failure::Failed("starting a run: the response lacks its id".to_owned()))?;
                let path = format!("{}/runs/{id}", session.project_path()?);
                Watching { session, path, is_quiet: true }.to_its_end(*timeout).await
            }
            Self::List => show(&list(session).await?, session.json, table),
            Self::Watch { run, timeout } => {
                let path = run.path(session).await?;
                Watching { session, path, is_quiet: false }.to_its_end(*timeout).await
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
    /// Shows the progress of the run until it has completed. Fails if the run fails, or takes longer than `timeout` seconds.
    pub(super) async fn to_its_end(&self, timeout: Option<u64>) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let prints_json = self.session.json && !self.is_quiet;
        let mut progress = Progress::with_eta();
        let (mut before, mut pause) = (Value::Null, LOOK);
        let (mut parties, mut task) = (None, String::new());
        loop {
            let status = self.status().await?;
            if status != before {
                pause = LOOK;
                if prints_json {
                    output::print(&format!("{status}\n"))?;
                }
                let (stage, done) = stage(&status);
                let missing = self.missing(&status, &mut parties).await;
                if missing.is_some() || !prints_json {
                    progress.show(missing.as_ref().unwrap_or(&stage), done);
                }
                task = missing.unwrap_or(stage);
            }
            match status["state"].as_str() {
                Some("completed") => {
                    progress.finish();
                    return if prints_json { Ok(()) } else { self.finished(&status) };
                }
                Some("error") => {
                    let why =
                        status["message"].as_str().map_or("the server gives no reason".to_owned(), plain);
                    return Err(Failure::Failed(format!("the run failed: {why}")));
                }
                Some(_) => {}
                None => return Err(Failure::Failed("the status of the run has no `state`".to_owned())),
            }
            let left = timeout.map(|timeout| Duration::from_secs(timeout).saturating_sub(watch.elapsed()));
            if let (Some(timeout), Some(Duration::ZERO)) = (timeout, left) {
                return Err(Failure::Failed(format!(
                    "the run has not ended within {timeout} s (--timeout), and continues; {task}"
                )));
            }
            before = status;
            sleep(left.map_or(pause, |left| left.min(pause))).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// Returns the sentence that names the number of parties for which the run waits; `None` if it waits for none. Keeps the
    /// number of all parties in `parties`.
    async fn missing(&self, status: &Value, parties: &mut Option<u64>) -> Option<String> {
        let stage = &status["current_stage"];
        if status["state"] != "created" || stage["number"] != 1 {
            return None;
        }
        let uploaded = stage["progress"]["absolute"].as_u64()?;
        let share = stage["progress"]["relative"].as_f64().unwrap_or(0.0);
        // The status has the share of the parties that have uploaded, and their number only through it.
        if parties.is_none() && uploaded > 0 && share > 0.0 {
            *parties = Some((uploaded as f64 / share).round() as u64);
        } else if parties.is_none() {
            *parties =
                project::read(self.session).await.ok().and_then(|read| read["number_parties"].as_u64());
        }
        waits_for(uploaded, *parties)
    }

    /// Says that the run has completed: on standard error if standard output is reserved.
    fn finished(&self, status: &Value) -> Result<(), Failure> {
        let comparisons = &status["total_number_comparisons"];
        let said = if comparisons.is_u64() {
            format!("completed after {comparisons} comparisons")
        } else {
            "completed".to_owned()
        };
        if self.is_quiet {
            output::note(&said);
            return Ok(());
        }
        output::print(&format!("{said}\n"))
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

/// Returns the sentence that names the parties which have not uploaded; `None` if there are none.
fn waits_for(uploaded: u64, parties: Option<u64>) -> Option<String> {
    match parties {
        Some(parties) if parties <= uploaded => None,
        Some(parties) => {
            Some(format!("the run waits for {} of {parties} parties to upload", parties - uploaded))
        }
        None => Some("the run waits for parties to upload".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parties_that_are_missing_are_counted() {
        let said = |uploaded, parties| waits_for(uploaded, parties).unwrap_or_default();
        assert_eq!(said(1, Some(3)), "the run waits for 2 of 3 parties to upload");
        assert_eq!(said(0, None), "the run waits for parties to upload");
        assert_eq!(said(2, Some(2)), "");
    }
}

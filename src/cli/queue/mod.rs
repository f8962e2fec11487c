//! `entityd queue`: inspects and controls the job queues through the server, since only its process can open the
//! embedded queue.

mod table;

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::context::runtime;
use super::interrupt::unless_stopped;
use super::ops_client::{self, Client};
use super::{Failure, output, progress::Progress};
use crate::cli::number::whole;

/// The interval at which the state of a draining queue is requested.
const LOOK: Duration = Duration::from_millis(200);

/// Inspects and controls the queues of a server
///
/// Calls the operations listener of a running server, which requires the admin token. The token was printed when the
/// server first started: give it in a file (--token-file) or in the environment (`ENTITYD_ADMIN_TOKEN`). If it is lost,
/// remove `admin-token` from the data directory, and the next start of the server prints a new one.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: ops_client::Options,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows statistics of every queue
    Stats,
    /// Lists jobs, the oldest first
    List(List),
    /// Shows one job with its payload
    Show {
        /// Job id, as listed
        job: String,
    },
    /// Gives dead jobs all their attempts again
    Retry(Dead),
    /// Discards dead jobs
    Discard(Dead),
    /// Stops handing out jobs of queues, even after a restart; jobs in progress continue
    Pause(Queues),
    /// Hands out jobs of paused queues again
    Resume(Queues),
    /// Pauses queues, and waits until none of their jobs is in progress
    Drain(Queues),
}

#[derive(Debug, Args)]
struct List {
    /// Jobs of this queue only
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Jobs in this state only [default: all jobs that are not dead]
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Maximum number of jobs to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u32>(1..=10_000))]
    count: u32,
    /// Sequence number at which the last list ended
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, value_parser = whole::<u64>(0..))]
    after: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// Can be claimed
    Ready,
    /// Cannot be claimed before a later time
    Delayed,
    /// Claimed by a worker
    Leased,
    /// Has used up its attempts
    Dead,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Leased => "leased",
            Self::Dead => "dead",
        }
    }
}

/// The dead jobs to act on.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
struct Dead {
    /// Job ids, as listed
    #[arg(value_name = "JOB", group = "which")]
    jobs: Vec<String>,
    /// Every dead job of this queue
    #[arg(long, value_name = "QUEUE", group = "which")]
    queue: Option<String>,
    /// Every dead job
    #[arg(long, group = "which")]
    all: bool,
}

impl Dead {
    fn body(&self) -> Value {
        if self.jobs.is_empty() { json!({ "queue": self.queue }) } else { json!({ "jobs": self.jobs }) }
    }
}

/// The queues to act on.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
struct Queues {
    /// These queues
    #[arg(value_name = "QUEUE", group = "which")]
    queues: Vec<String>,
    /// Every queue
    #[arg(long, group = "which")]
    all: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.server)?;
        runtime()?.block_on(unless_stopped(self.action.run(&client, self.json)))
    }
}

impl Action {
    async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        match self {
            Self::Stats => output::answer(&client.get("queue", &[], "queues").await?, json, table::stats),
            Self::List(list) => output::answer(&list.ask(client).await?, json, table::jobs),
            Self::Show { job } => {
                output::answer(&client.get("queue/job", &[("id", &job)], "job").await?, json, table::job)
            }
            Self::Retry(dead) => tell(client, "retry", &dead.body(), json).await,
            Self::Discard(dead) => tell(client, "discard", &dead.body(), json).await,
            Self::Pause(queues) => each(client, "pause", &queues, json).await,
            Self::Resume(queues) => each(client, "resume", &queues, json).await,
            Self::Drain(queues) => drain(client, &queues, json).await,
        }
    }
}

impl List {
    async fn ask(&self, client: &Client) -> Result<Value, Failure> {
        let (count, after) = (self.count.to_string(), self.after.to_string());
        let mut query = vec![("count", count.as_str()), ("after", after.as_str())];
        query.extend(self.queue.as_deref().map(|queue| ("queue", queue)));
        query.extend(self.state.map(|state| ("state", state.name())));
        client.get("queue/jobs", &query, "jobs").await
    }
}

/// Sends a request for `action`, and prints the number of affected jobs.
async fn tell(client: &Client, action: &str, body: &Value, json: bool) -> Result<(), Failure> {
    let answer = client.post(&format!("queue/{action}"), body, "jobs").await?;
    output::answer(&answer, json, |answer| format!("{} jobs\n", answer["jobs"].as_u64().unwrap_or(0)))
}

/// Requests `action` for each of the queues, and prints the state of all queues.
async fn each(client: &Client, action: &str, queues: &Queues, json: bool) -> Result<(), Failure> {
    for queue in names(client, queues).await? {
        client.post(&format!("queue/{action}"), &json!({ "queue": queue }), "jobs").await?;
    }
    output::answer(&client.get("queue", &[], "queues").await?, json, table::stats)
}

async fn names(client: &Client, queues: &Queues) -> Result<Vec<String>, Failure> {
    if !queues.all {
        return Ok(queues.queues.clone());
    }
    let stats = client.get("queue", &[], "queues").await?;
    Ok(stats["queues"].as_object().into_iter().flat_map(|queues| queues.keys().cloned()).collect())
}

async fn drain(client: &Client, queues: &Queues, json: bool) -> Result<(), Failure> {
    let names = names(client, queues).await?;
    for queue in &names {
        client.post("queue/pause", &json!({ "queue": queue }), "jobs").await?;
    }
    let mut progress = Progress::new();
    let mut most = 0;
    let stats = loop {
        let stats = client.get("queue", &[], "queues").await?;
        let held = |name: &String| stats["queues"][name]["leased"].as_u64().unwrap_or(0);
        let left: u64 = names.iter().map(held).sum();
        if left == 0 {
            break stats;
        }
        most = left.max(most);
        progress.show("waiting for jobs in progress", 1.0 - left as f64 / most as f64);
        tokio::time::sleep(LOOK).await;
    };
    progress.finish();
    output::answer(&stats, json, table::stats)
}

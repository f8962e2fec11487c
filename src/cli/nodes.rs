//! `entityd nodes`: lists and controls the nodes that have joined.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::columns::{age, aligned};
use super::context::runtime;
use super::interrupt::unless_stopped;
use super::ops_client::{Client, Options};
use super::{Failure, output, progress::Progress};

/// The interval at which the state of a draining worker is requested.
const LOOK: Duration = Duration::from_millis(500);

/// Lists the nodes of a service, and takes workers out of it
///
/// Calls the operations listener of an API node, which requires the admin token. The node knows the workers that it
/// has heard from since its start, and with PostgreSQL all nodes that use the database.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Options,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the nodes
    List,
    /// Assigns no more jobs to a worker, and waits until it has no job
    Drain {
        /// Node id, as listed, or its first characters
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Forgets a worker that has ended; a worker that is alive joins again
    Forget {
        /// Node id, as listed, or its first characters
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.server)?;
        runtime()?.block_on(unless_stopped(self.action.run(&client, self.json)))
    }
}

impl Action {
    async fn run(self, client: &Client, json: bool) -> Result<(), Failure> {
        let answer = match self {
            Self::List => list(client).await?,
            Self::Drain { node } => drain(client, &find(&list(client).await?, &node)?).await?,
            Self::Forget { node } => {
                let node = find(&list(client).await?, &node)?;
                client.post("nodes/forget", &json!({ "node": node }), "nodes").await?
            }
        };
        output::answer(&answer, json, table)
    }
}

async fn list(client: &Client) -> Result<Value, Failure> {
    client.get("nodes", &[], "nodes").await
}

fn nodes(answer: &Value) -> &[Value] {
    answer["nodes"].as_array().map_or(&[], Vec::as_slice)
}

/// Returns true if the id of the node begins with `start`.
fn is(node: &Value, start: &str) -> bool {
    node["node"].as_str().is_some_and(|id| id.starts_with(start))
}

/// Returns the id of the worker whose id begins with `start`. Fails if there is none or more than one.
fn find(answer: &Value, start: &str) -> Result<String, Failure> {
    let ids =
        nodes(answer).iter().filter(|node| node["role"] == "worker").filter_map(|node| node["node"].as_str());
    let mut found = ids.filter(|id| id.starts_with(start));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        (None, _) if nodes(answer).iter().any(|node| is(node, start)) => {
            let said = format!("{start} is a node that serves, and no worker: stop it with SIGTERM instead");
            Err(Failure::Input(said))
        }
        (None, _) => {
            Err(Failure::Input(format!("no worker {start} has joined; `entityd nodes list` lists all")))
        }
        (Some(_), Some(_)) => {
            Err(Failure::Input(format!("several worker ids begin with {start}; give more of the id")))
        }
    }
}

async fn drain(client: &Client, node: &str) -> Result<Value, Failure> {
    let mut answer = client.post("nodes/drain", &json!({ "node": node }), "nodes").await?;
    let mut progress = Progress::new();
    let mut most = 0;
    loop {
        let jobs = nodes(&answer)
            .iter()
            .find(|found| found["node"] == node)
            .and_then(|found| found["jobs"].as_u64());
        let left = jobs.unwrap_or(0);
        if left == 0 {
            progress.finish();
            return Ok(answer);
        }
        most = left.max(most);
        progress.show("waiting for jobs in progress", 1.0 - left as f64 / most as f64);
        tokio::time::sleep(LOOK).await;
        answer = list(client).await?;
    }
}

fn table(answer: &Value) -> String {
    let head = ["node", "name", "role", "state", "version", "threads", "jobs", "heard", "queues"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |node: &Value| {
        // For the answering node itself the time is 0, which is not shown.
        let heard = node["heard_ms"].as_u64().filter(|heard| node["role"] == "worker" || *heard > 0);
        vec![
            text(&node["node"]).chars().take(12).collect(),
            text(&node["name"]),
            text(&node["role"]),
            text(&node["state"]),
            text(&node["version"]),
            text(&node["threads"]),
            text(&node["jobs"]),
            heard.map_or_else(|| "-".to_owned(), age),
            text(&node["queues"]),
        ]
    };
    aligned(&head, nodes(answer).iter().map(row).collect())
}

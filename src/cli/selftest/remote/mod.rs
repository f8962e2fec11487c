//! `entityd selftest --server`: checks a running server with small projects, which are deleted afterwards.

mod people;
mod api;
mod external;
mod checks;

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::api::{Api, Wrong};
use self::checks::{Check, Passed};
use self::people::People;
use crate::cli::columns::aligned;
use crate::cli::interrupt::unless_stopped;
use crate::cli::number::seconds;
use crate::cli::progress::Progress;
use crate::cli::{Failure, ops_client, output};
use crate::http::admin::TOKEN_CHARS_MIN;
use crate::runtime::clock::Stopwatch;
use crate::system::secret;

/// The maximum number of people of each party: this program compares every pair too.
const PEOPLE_MAX: u32 = 10_000;
/// The default number of people of each party.
const PEOPLE: u32 = 64;
/// The time limit for deleting projects after an interruption.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// The server to check.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Check the server at this address instead of a private one: small projects of every result type, blocks, and
    /// uploads to its object store; deletes the projects that it created
    #[arg(long, value_name = "URL", conflicts_with = "chaos")]
    server: Option<String>,
    /// TLS certificate of the server, or of its CA; `tls/certificate.pem` in its data directory if it is
    /// self-signed
    #[arg(long, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
    /// File with the admin token, for a server that requires it to create projects [default: the token of
    /// `ENTITYD_ADMIN_TOKEN_FILE` or `ENTITYD_ADMIN_TOKEN`]
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Time limit for each run, in seconds or with a unit such as 10m
    #[arg(long, value_name = "TIME", default_value_t = 120, requires = "server", value_parser = seconds(1..=86_400))]
    timeout: u64,
}

/// One line of the report.
struct Line {
    name: &'static str,
    outcome: Result<Passed, Wrong>,
    seconds: f64,
}

impl Options {
    /// Returns true if a server was given.
    pub(super) const fn is_given(&self) -> bool {
        self.server.is_some()
    }

    /// Checks the server with `people` people of each party.
    pub(super) async fn run(&self, people: Option<u32>, as_json: bool) -> Result<(), Failure> {
        let people = people.unwrap_or(PEOPLE);
        if people > PEOPLE_MAX {
            return Err(Failure::Usage(format!("--people {people}: with --server at most {PEOPLE_MAX}")));
        }
        let url = self.server.as_deref().unwrap_or_default();
        let run_timeout = Duration::from_secs(self.timeout);
        let api = Api::new(url, self.ca.as_deref(), self.admin_token()?, run_timeout)?;
        let (watch, people) = (Stopwatch::start(), People::new(people));
        let (version, mut lines) = match unless_stopped(self.check(&api, &people)).await {
            Ok(checked) => checked,
            Err(failure) => {
                // An error here is ignored, since the interruption is reported.
                let _ = tokio::time::timeout(CLEAN_UP, api.delete_all()).await;
                return Err(failure);
            }
        };
        let deleting = Stopwatch::start();
        let deleted = api.delete_all().await.map(|count| Passed::Yes(format!("{count} projects deleted")));
        lines.push(Line { name: "deletion", outcome: deleted, seconds: deleting.seconds() });
        let failed = lines.iter().filter(|line| line.outcome.is_err()).count();
        output::print(&if as_json {
            format!("{}\n", report(api.base(), &version, &lines, failed == 0, watch.seconds()))
        } else {
            table(&lines)
        })?;
        if failed > 0 {
            let of = lines.len();
            return Err(Failure::Failed(format!("{failed} of {of} checks of {} failed", api.base())));
        }
        if !as_json {
            output::print(&format!("{} (version {version}) works\n", api.base()))?;
        }
        Ok(())
    }

    async fn check(&self, api: &Api, people: &People) -> Result<(String, Vec<Line>), Failure> {
        // If the server does not answer, no check can run.
        let version = checks::version(api).await.map_err(Failure::Failed)?;
        let mut progress = Progress::new();
        let mut lines = Vec::new();
        for (done, check) in Check::ALL.into_iter().enumerate() {
            progress.show("checking the server", done as f64 / Check::ALL.len() as f64);
            let watch = Stopwatch::start();
            let outcome = check.run(api, people, self.ca.as_deref()).await;
            lines.push(Line { name: check.name(), outcome, seconds: watch.seconds() });
        }
        progress.finish();
        Ok((version, lines))
    }

    fn admin_token(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let file = self.token_file.clone().or_else(|| env::var_os(ops_client::TOKEN_FILE).map(PathBuf::from));
        if let Some(file) = file {
            return secret::read_word(&file, TOKEN_CHARS_MIN).map_err(Failure::from).map(Some);
        }
        let token = env::var(ops_client::TOKEN).ok().map(|token| Zeroizing::new(token.trim().to_owned()));
        Ok(token.filter(|token| !token.is_empty()))
    }
}

impl Line {
    fn parts(&self) -> (&'static str, &str) {
        match &self.outcome {
            Ok(Passed::Yes(figure)) => ("passed", figure),
            Ok(Passed::NotOffered(why)) => ("not offered", why),
            Err(why) => ("failed", why),
        }
    }
}

fn table(lines: &[Line]) -> String {
    let row = |line: &Line| {
        let (outcome, detail) = line.parts();
        vec![line.name.to_owned(), outcome.to_owned(), format!("{:.2}", line.seconds), detail.to_owned()]
    };
    aligned(&["check", "outcome", "seconds", "detail"], lines.iter().map(row).collect())
}

fn report(server: &str, version: &str, lines: &[Line], passed: bool, seconds: f64) -> Value {
    let check = |line: &Line| {
        let (outcome, detail) = line.parts();
        json!({"check": line.name, "outcome": outcome, "seconds": line.seconds, "detail": detail})
    };
    let checks: Vec<Value> = lines.iter().map(check).collect();
    json!({"server": server, "version": version, "checks": checks, "seconds": seconds, "passed": passed})
}

//! `entityd demo`: links the records of invented people, from names to groups, and reports the quality.

mod bloom;
mod rng;
mod client;
mod folder;
mod names;
pub(super) mod people;
mod report;
mod ground_truth;
mod typos;

use std::path::PathBuf;

use clap::Args;
use linkage::similarity::Kernel;
use serde_json::json;

use self::client::{Client, Groups};
use self::folder::Folder;
use self::ground_truth::Score;
use self::people::Register;
use self::report::Report;
use super::exit::OrFail;
use super::progress::Progress;
use super::{Failure, output};
use crate::app;
use crate::cli::number::whole;
use crate::cli::{context, interrupt};
use crate::config::{self, Inputs, Settings};
use crate::model::Threshold;
use crate::runtime::clock::Stopwatch;
use crate::telemetry;

/// Links invented people, from names to groups, on a private server
///
/// Generates a dataset for each party. Half of its records are people known to every party, with different typing
/// errors in each dataset. Encodes the records as Bloom filters, uploads the encodings over HTTP to a private server,
/// links them, and compares the result with the ground truth.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Records in each party's dataset
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole::<usize>(1..=10_000_000))]
    records: usize,
    /// Number of parties
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole::<usize>(2..=100))]
    parties: usize,
    /// Minimum Dice coefficient of a candidate pair
    #[arg(long, value_name = "T", default_value = "0.8")]
    threshold: Threshold,
    /// Seed of the people; the same seed gives the same people
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(0..))]
    seed: u64,
    /// Comparison kernel: portable, popcnt, avx2, avx512, amx or neon [default: the fastest that runs here]
    #[arg(long, value_name = "NAME", value_parser = crate::cli::context::kernel)]
    kernel: Option<Kernel>,
    /// Keep the server's data and the generated files in this new or empty directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// The input of the parties.
struct Input {
    registers: Vec<Register>,
    /// The encodings of each party, as consecutive rows.
    rows: Vec<Vec<u8>>,
    seconds: f64,
}

/// The outcome of the linkage.
struct Outcome {
    groups: Groups,
    comparisons: u64,
    upload_seconds: f64,
    run_seconds: f64,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let mut progress = Progress::new();
        // An unusable directory is reported before the work. A signal during the work would leave a temporary one.
        let kept = self.keep.as_deref().map(Folder::keeping).transpose()?;
        let input = self.prepare(&mut progress);
        let folder = kept.map_or_else(Folder::temporary, Ok)?;
        folder.keep(&input.registers, &input.rows)?;
        let mut settings = private_settings(&folder)?;
        settings.kernel = self.kernel.map(Kernel::name);
        telemetry::log::start(&settings.log());
        let outcome =
            context::runtime()?.block_on(self.serve_and_link(settings, &input.rows, &mut progress))?;
        progress.finish();
        folder.write("groups.json", json!({ "groups": outcome.groups }).to_string().as_bytes())?;
        self.print(&self.report(&input, &outcome, watch.seconds()), &folder)
    }

    fn prepare(&self, progress: &mut Progress) -> Input {
        let watch = Stopwatch::start();
        let who = format!("{} x {} people", self.parties, report::thousands(self.records as u64));
        progress.show(&format!("making {who}"), 0.0);
        let registers = people::registers(self.parties, self.records, self.seed);
        progress.show("encoding them as Bloom filters", 0.0);
        let rows: Vec<_> = registers.iter().map(|register| bloom::encode(&register.people)).collect();
        Input { registers, rows, seconds: watch.seconds() }
    }

    async fn serve_and_link(
        &self,
        settings: Settings,
        rows: &[Vec<u8>],
        progress: &mut Progress,
    ) -> Result<Outcome, Failure> {
        let server = app::start(&settings).await.or_fail()?;
        let client = Client::new(format!("http://{}/api/v1", server.api()))?;
        // Returning, rather than exiting, removes the temporary directory.
        let outcome = interrupt::unless_stopped(self.link(&client, rows, progress)).await;
        server.stop().await;
        outcome
    }

    async fn link(
        &self,
        client: &Client,
        rows: &[Vec<u8>],
        progress: &mut Progress,
    ) -> Result<Outcome, Failure> {
        let watch = Stopwatch::start();
        let project = client.create_project(self.parties).await?;
        for (party, rows) in rows.iter().enumerate() {
            progress.show(&format!("uploading party {party}"), 0.0);
            client.upload(&project, party, rows.clone()).await?;
        }
        let (upload_seconds, watch) = (watch.seconds(), Stopwatch::start());
        let run = client.start_run(&project, self.threshold).await?;
        let comparisons = client.wait(&project, &run, |task, done| progress.show(task, done)).await?;
        let run_seconds = watch.seconds();
        let groups = client.groups(&project, &run).await?;
        Ok(Outcome { groups, comparisons, upload_seconds, run_seconds })
    }

    fn report(&self, input: &Input, outcome: &Outcome, seconds: f64) -> Report {
        Report {
            parties: self.parties,
            records: self.records,
            threshold: self.threshold,
            comparisons: outcome.comparisons,
            comparisons_per_second: outcome.comparisons as f64 / outcome.run_seconds,
            prepare_seconds: input.seconds,
            upload_seconds: outcome.upload_seconds,
            run_seconds: outcome.run_seconds,
            seconds,
            score: Score::of(&outcome.groups, &input.registers),
        }
    }

    fn print(&self, report: &Report, folder: &Folder) -> Result<(), Failure> {
        if self.json {
            let object = serde_json::to_string(report).expect("a report is numbers");
            return output::print(&format!("{object}\n"));
        }
        output::print(&format!("\n{}\n{}", report.table(), report.commands(folder.kept())))
    }
}

/// Returns the settings of a server that only this demo uses.
fn private_settings(folder: &Folder) -> Result<Settings, Failure> {
    let any_port = "127.0.0.1:0".to_owned();
    let flags = [
        ("listen", any_port.clone()),
        ("s3_listen", any_port.clone()),
        ("ops_listen", any_port),
        ("data_dir", folder.data().to_string_lossy().into_owned()),
        ("log", "warn".to_owned()),
    ];
    Ok(config::load(&Inputs { flags: flags.into(), ..Inputs::default() })?.settings)
}

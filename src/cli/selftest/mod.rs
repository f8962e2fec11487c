//! `entityd selftest`: runs a linkage with a known answer, undisturbed or with a server that is killed repeatedly.
//!
//! Without `--server`, the server is this program in another process, with a temporary data directory and loopback
//! addresses. The project's tests use this code too.

pub mod kill;
pub mod server;
pub mod scenario;
mod remote;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::json;

use super::context::runtime;
use super::exit::OrFail;
use super::interrupt::unless_stopped;
use super::progress::Progress;
use super::{Failure, output};
use crate::cli::number::whole;
use crate::runtime::clock::Stopwatch;
use crate::runtime::entropy::Entropy;
use kill::{Killed, STEPS, Scene, killed_in, recover, undisturbed};
use scenario::People;

/// The number of people of each party in an undisturbed linkage.
const PEOPLE_USUAL: u32 = 1_000;
/// The number of people of each party in a linkage with a kill.
const PEOPLE_KILLED: u32 = 400;
/// The delay added to the step in which the server is killed.
const SLOW: Duration = Duration::from_millis(60);

/// Checks that this installation works: links invented encodings with a known result
///
/// With --chaos, the server is killed with SIGKILL at random moments of every step, one kill in each linkage, and
/// started again on its data. Every result must be byte for byte that of an undisturbed linkage, no step may have
/// counted twice, and nothing may be left of the project once it is deleted. To repeat a failure, give its seed.
///
/// With --server, a running server is checked instead: its results for small projects must be the known ones, with
/// scores equal to the bit. Only access to the API is needed. The projects are deleted at the end, even on Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    remote: remote::Options,
    /// Kill the server repeatedly
    #[arg(long)]
    chaos: bool,
    /// Number of kills, divided among the steps
    #[arg(long, value_name = "N", default_value_t = 28, requires = "chaos", conflicts_with = "server", value_parser = whole::<u32>(1..=100_000))]
    kills: u32,
    /// Number of people of each party [default: 1000; 400 with --chaos; 64 with --server]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(10..=1_000_000))]
    people: Option<u32>,
    /// Seed of the kills [default: random]
    #[arg(long, value_name = "N", requires = "chaos", conflicts_with = "server", value_parser = whole::<u64>(0..))]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Returns the path of this program from the kernel, or from the command line if /proc is not mounted.
fn program() -> Result<PathBuf, Failure> {
    env::current_exe()
        .or_else(|error| {
            let called = env::args_os().next().map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
            let called = called.ok_or(error)?;
            // A name without a folder was found in PATH, and will be again.
            if called.components().count() > 1 { called.canonicalize() } else { Ok(called) }
        })
        .or_fail()
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = runtime()?;
        if self.remote.is_given() {
            return runtime.block_on(self.remote.run(self.people, self.json));
        }
        let program = program()?;
        let usual = if self.chaos { PEOPLE_KILLED } else { PEOPLE_USUAL };
        let people = People { count: self.people.unwrap_or(usual) };
        let scene = Scene { program, people, at_once: false, slow: SLOW, step_timeout: kill::STEP_TIMEOUT };
        // An interruption drops the server, which kills it and removes its data.
        runtime.block_on(unless_stopped(async {
            if self.chaos { self.chaos(&scene).await } else { self.quick(&scene).await }
        }))
    }

    async fn quick(&self, scene: &Scene) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let expected = undisturbed(scene).await.map_err(Failure::Failed)?;
        let (people, seconds) = (scene.people.count, watch.seconds());
        expected.is_the_known_answer(scene.people).map_err(Failure::Failed)?;
        output::print(&if self.json {
            format!("{}\n", json!({"people": people, "groups": people, "seconds": seconds, "passed": true}))
        } else {
            format!(
                "a server was started, two parties uploaded {people} encodings each, and the result is the known answer: \
                 {people} groups, in {seconds:.1} s\n"
            )
        })
    }

    async fn chaos(&self, scene: &Scene) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let seed = self.seed.unwrap_or_else(|| u64::from_le_bytes(Entropy::system().bytes()));
        let failed = |why: String| Failure::Failed(format!("{why} (--seed {seed})"));
        let expected = undisturbed(scene).await.map_err(failed)?;
        expected.is_the_known_answer(scene.people).map_err(failed)?;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut landed = BTreeMap::new();
        let mut progress = Progress::new();
        for kill in 0..self.kills {
            progress.show("killing", f64::from(kill) / f64::from(self.kills));
            let (step, moments) = STEPS[kill as usize % STEPS.len()];
            let moment = moments[rng.next_u32() as usize % moments.len()];
            let delay = scene.slow.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
            let Killed { folder, scenario } = killed_in(scene, moment, delay).await.map_err(failed)?;
            recover(scene, folder, scenario, &expected)
                .await
                .map_err(|why| failed(format!("kill {kill}, {delay:.1?} into {moment}: {why}")))?;
            *landed.entry(step).or_insert(0_u32) += 1;
        }
        progress.finish();
        output::print(&self.report(scene.people, seed, &landed, watch.seconds()))
    }

    fn report(&self, people: People, seed: u64, landed: &BTreeMap<&str, u32>, seconds: f64) -> String {
        if self.json {
            let said = json!({"kills": self.kills, "people": people.count, "seed": seed, "by_step": landed,
                              "seconds": seconds, "passed": true});
            return format!("{said}\n");
        }
        let mut table = String::from("step      kills\n");
        for (step, _) in STEPS {
            let _ = writeln!(table, "{step:<9} {}", landed.get(step).copied().unwrap_or(0));
        }
        let _ = writeln!(
            table,
            "{} kills in linkages of 2 x {} in {seconds:.0} s (seed {seed}): every result the same to the byte, nothing \
             lost, nothing counted twice, nothing left behind",
            self.kills, people.count
        );
        table
    }
}

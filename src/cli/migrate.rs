//! `entityd migrate`: shows and upgrades the versions of the databases, and copies all data to other engines.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::runtime;
use super::exit::OrFail;
use super::interrupt::unless_stopped;
use super::progress::Progress;
use super::{Failure, output};
use crate::app::transfer::{Transferred, transfer};
use crate::app::{self, Versions};
use crate::config::{self, Flags, Inputs, Loaded, Settings};
use crate::metadata::Location;
use crate::objects::Copied;
use crate::telemetry;

/// Shows the versions of the databases, and brings them up to date
///
/// Reads the settings of `serve` with the same flags, environment and file. `serve` brings the databases up to date by
/// itself unless it is started with `--migrate never`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the version of each database and the version that this program creates
    Status {
        #[command(flatten)]
        flags: Flags,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Prints what `apply` would do, and changes nothing
    Plan {
        #[command(flatten)]
        flags: Flags,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Brings the databases up to date; those in the data directory must not be in use
    ///
    /// First makes a snapshot of each database in the data directory. The migrations of a database are one transaction:
    /// an error leaves the database unchanged.
    Apply {
        #[command(flatten)]
        flags: Flags,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Copies everything to other engines: from a data directory to PostgreSQL and a bucket, or back
    ///
    /// Copies projects, runs, results, uploads, buckets, tokens and keys of a server that is stopped, and compares each
    /// copy with its source. The flags, the environment and the file of `serve` select the source, which is not changed; --to
    /// names the settings of the target, which needs a new data directory and an empty database. Objects stay where they are if
    /// both settings name the same bucket. The queue is not copied: the first start fills it from the metadata.
    ///
    /// After an interruption, the same command continues. No server starts from an incomplete copy. Never run servers on
    /// both source and target.
    Copy {
        #[command(flatten)]
        flags: Flags,
        /// Settings file of the target; the environment does not change these settings
        #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
        to: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Status { flags, json } => report((flags, json), app::versions, status),
            Action::Plan { flags, json } => report((flags, json), app::versions, plan),
            Action::Apply { flags, json } => report((flags, json), app::migrate, applied),
            Action::Copy { flags, to, json } => copy(flags, to, json),
        }
    }
}

/// Copies all data to other engines. A signal interrupts it.
fn copy(flags: Flags, to: String, json: bool) -> Result<(), Failure> {
    let from = load(flags)?.settings;
    let target = config::load(&Inputs { file: Some(to), ..Inputs::default() })?;
    target.check_secrecy().or_fail()?;
    let to = &target.settings;
    let mut progress = Progress::with_eta();
    let mut show = |share: f64| progress.show("copying objects", share);
    let copied =
        runtime()?.block_on(unless_stopped(async { transfer(&from, to, &mut show).await.or_fail() }));
    progress.finish();
    let Transferred { projects, objects: Copied { objects, bytes, present } } = copied?;
    let place = to.data_dir.display();
    let said = json!({
        "data_dir": to.data_dir, "projects": projects, "objects": objects, "bytes": bytes, "present": present,
    });
    output::answer(&said, json, |_| {
        format!(
            "{projects} projects and {objects} objects ({bytes} bytes) are in {place} and its engines; an earlier attempt had \
             copied {present} of the objects; start the server with the settings of the target\n"
        )
    })
}

/// Calls `find` for each database, and prints the results as JSON or with `show`.
fn report(
    (flags, json): (Flags, bool),
    find: impl AsyncFnOnce(&Settings) -> Result<Vec<Versions>, app::Error>,
    show: fn(&Versions) -> String,
) -> Result<(), Failure> {
    let settings = load(flags)?.settings;
    let data_dir = &settings.data_dir;
    if settings.database == Location::Embedded && !data_dir.is_dir() {
        return Err(Failure::Usage(format!("--data-dir {}: there is no such directory", data_dir.display())));
    }
    let found = runtime()?.block_on(find(&settings)).or_fail()?;
    let all: Vec<Value> = found.iter().map(as_json).collect();
    output::answer(&json!({ "databases": all }), json, |_| {
        found.iter().map(show).collect::<Vec<_>>().join("\n")
    })
}

fn load(flags: Flags) -> Result<Loaded, Failure> {
    let loaded = config::load(&flags.with_environment())?;
    telemetry::log::start(&loaded.settings.log());
    loaded.check_secrecy().or_fail()?;
    Ok(loaded)
}

fn head(versions: &Versions) -> String {
    let Versions { place, found, known, .. } = versions;
    format!("database  {place}\nversion   {found}\nknown     {known}\n")
}

fn status(versions: &Versions) -> String {
    let Versions { found, known, snapshots, .. } = versions;
    let verdict = match found.cmp(known) {
        Ordering::Less if *found == 0 => "there are no tables yet",
        Ordering::Less => {
            "behind; `entityd migrate plan` shows the changes, `entityd migrate apply` applies them"
        }
        Ordering::Equal => "up to date",
        Ordering::Greater => "created by a newer entityd",
    };
    let mut text = format!("{}state     {verdict}\n", head(versions));
    for snapshot in snapshots {
        let _ = writeln!(text, "snapshot  {}", snapshot.display());
    }
    text
}

fn plan(versions: &Versions) -> String {
    let Versions { place, found, known, steps, snapshot, .. } = versions;
    let mut text = head(versions);
    if found >= known {
        let state = if found == known { "nothing to do" } else { "created by a newer entityd; use that one" };
        let _ = writeln!(text, "plan      {state}");
        return text;
    }
    match snapshot {
        Some(snapshot) => {
            let bytes = fs::metadata(Path::new(place)).map_or(0, |found| found.len());
            let _ = writeln!(text, "snapshot  {}, at most {bytes} bytes", snapshot.display());
        }
        None if *found > 0 => text.push_str("snapshot  none; make a dump with pg_dump first\n"),
        None => {}
    }
    for step in steps {
        let _ = writeln!(text, "step {:>3}  {}", step.version, step.description);
    }
    text
}

fn applied(before: &Versions) -> String {
    let Versions { place, found, known, steps, snapshot, .. } = before;
    if *found == 0 && steps.is_empty() {
        return format!("{place}: there are no tables yet; the first start makes them\n");
    }
    if found >= known {
        return format!("{place}: nothing to do at version {found}\n");
    }
    match snapshot {
        Some(snapshot) => {
            format!(
                "{place}: upgraded from version {found} to {known}; snapshot of version {found}: {}\n",
                snapshot.display()
            )
        }
        None => format!("{place}: upgraded from version {found} to {known}\n"),
    }
}

fn as_json(versions: &Versions) -> Value {
    let Versions { place, found, known, steps, snapshot, snapshots } = versions;
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| json!({ "version": step.version, "description": step.description }))
        .collect();
    json!({
        "database": place,
        "version": found,
        "known": known,
        "steps": steps,
        "snapshot": snapshot,
        "snapshots": snapshots,
    })
}

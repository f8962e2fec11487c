//! The command line, with a module per command.

mod answer;
mod audit;
mod backup;
mod bench;
mod block;
mod check;
mod client;
mod columns;
mod completions;
mod config;
mod context;
mod debug;
mod demo;
mod describe;
mod destination;
mod encode;
mod exit;
mod generate;
mod interrupt;
mod join_token;
mod link;
mod manual;
mod migrate;
mod nodes;
mod number;
mod ops_client;
mod output;
mod own;
mod packed;
mod progress;
mod queue;
mod quoting;
mod record_blocks;
mod redact;
mod result_csv;
mod schema;
mod schema_file;
mod secret;
pub mod selftest;
mod serve;
mod table;
mod temporary;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use exit::Failure;

use crate::edge::tls;
use crate::system::{signals, threads};

/// The first steps, for `--help`.
const FIRST_STEPS: &str = "\
First steps:
  entityd demo                shows a whole linkage of invented people
  entityd generate people     writes CSVs of invented people, and a schema for them
  entityd schema --help       has an example of a schema for your own CSVs
  entityd link a.csv b.csv --schema schema.json --id id --threshold 0.85 -o linked.csv
                              links two CSVs on this machine, without a server
  entityd serve               starts a server; an analyst uses it with `project`, `run`
                              and `result`, and each party with `encode` and `upload`

";

/// Privacy-preserving record linkage in one binary
///
/// Parties hash their people locally into Bloom-filter encodings; entityd compares the encodings and reports
/// which records are the same person, without ever seeing a name.
#[derive(Debug, Parser)]
#[command(name = "entityd", version, after_help = exit::CODES, after_long_help = FIRST_STEPS.to_owned() + exit::CODES)]
#[command(arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Encode(encode::Arguments),
    Block(block::Arguments),
    Schema(schema::Arguments),
    Generate(generate::Arguments),
    Link(link::Arguments),
    Project(client::Project),
    Upload(client::Upload),
    Run(client::Run),
    Result(client::ResultArguments),
    Forecast(client::Forecast),
    Migrate(migrate::Arguments),
    Queue(queue::Arguments),
    Audit(audit::Arguments),
    Nodes(nodes::Arguments),
    JoinToken(join_token::Arguments),
    Backup(backup::Arguments),
    Restore(backup::restore::Arguments),
    Check(check::Arguments),
    Debug(debug::Arguments),
    Config(config::Arguments),
    Bench(bench::Arguments),
    Selftest(selftest::Arguments),
    Completions(completions::Arguments),
    Manual(manual::Arguments),
    /// Prints the version, as --version does
    Version,
}

impl Arguments {
    /// Parses the words of a command line.
    fn parsed<W: Into<OsString> + Clone>(words: impl IntoIterator<Item = W>) -> Result<Self, clap::Error> {
        let mut command = with_negative_numbers(Self::command());
        let matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// Accepts negative numbers as values of options, so that a parser names the range that it accepts.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command.allow_negative_numbers(true).mut_subcommands(with_negative_numbers)
}

/// Runs the command in the arguments of the process.
pub fn main() -> ExitCode {
    signals::set_mask();
    threads::with_enough_stack(parse_and_run).unwrap_or_else(|error| {
        exit::code(Err(Failure::Failed(format!(
            "cannot start a thread with a larger stack than the limit allows (ulimit -s): {error}"
        ))))
    })
}

fn parse_and_run() -> ExitCode {
    tls::install_provider();
    match Arguments::parsed(std::env::args_os()) {
        Ok(arguments) => exit::code(run(arguments.command)),
        Err(message) if message.use_stderr() && !help_for_want_of_arguments(&message) => {
            exit::code(Err(Failure::Usage(one_line(&message))))
        }
        Err(help) => {
            let code = ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(exit::USAGE));
            // If the reader has closed the pipe, that is not a failure.
            output::stdout()
                .and_then(|_| help.print().map_err(|error| Failure::output(&error)))
                .map_or_else(|failure| exit::code(Err(failure)), |()| code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    if matches!(
        command,
        Command::Demo(_)
            | Command::Link(_)
            | Command::Upload(_)
            | Command::Result(_)
            | Command::Backup(_)
            | Command::Bench(_)
            | Command::Selftest(_)
    ) {
        temporary::choose();
    }
    if !matches!(
        command,
        Command::Serve(_) | Command::Link(_) | Command::Result(_) | Command::Encode(_) | Command::Block(_)
    ) {
        // A closed output is reported before the work rather than after it.
        output::stdout()?;
    }
    match command {
        Command::Serve(arguments) => arguments.run(),
        Command::Demo(arguments) => arguments.run(),
        Command::Encode(arguments) => arguments.run(),
        Command::Block(arguments) => arguments.run(),
        Command::Schema(arguments) => arguments.run(),
        Command::Generate(arguments) => arguments.run(),
        Command::Link(arguments) => arguments.run(),
        Command::Project(arguments) => arguments.run(),
        Command::Upload(arguments) => arguments.run(),
        Command::Run(arguments) => arguments.run(),
        Command::Result(arguments) => arguments.run(),
        Command::Forecast(arguments) => arguments.run(),
        Command::Migrate(arguments) => arguments.run(),
        Command::Queue(arguments) => arguments.run(),
        Command::Audit(arguments) => arguments.run(),
        Command::Nodes(arguments) => arguments.run(),
        Command::JoinToken(arguments) => arguments.run(),
        Command::Backup(arguments) => arguments.run(),
        Command::Restore(arguments) => arguments.run(),
        Command::Check(arguments) => arguments.run(),
        Command::Debug(arguments) => arguments.run(),
        Command::Config(arguments) => arguments.run(),
        Command::Bench(arguments) => arguments.run(),
        Command::Selftest(arguments) => arguments.run(),
        Command::Completions(arguments) => arguments.run(&mut Arguments::command()),
        Command::Manual(arguments) => arguments.run(Arguments::command()),
        Command::Version => output::print(&format!("entityd {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

fn help_for_want_of_arguments(message: &clap::Error) -> bool {
    message.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Returns the message of clap, the argument parser, in one line and without usage.
fn one_line(message: &clap::Error) -> String {
    let text = message.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let part = |line: &str| match line.strip_prefix("tip: ") {
        Some(tip) => format!("({tip})"),
        None => line.trim_start_matches("error: ").to_owned(),
    };
    said.map(part).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;

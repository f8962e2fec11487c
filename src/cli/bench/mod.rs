//! `entityd bench`: benchmarks of this machine.

mod database;
mod fleet;
mod ingest;
mod objects;
mod people;
mod queue;
mod report;
mod similarity;
mod solve;

use super::Failure;

/// Measures how fast this machine is
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    Database(database::Arguments),
    Fleet(fleet::Arguments),
    Ingest(ingest::Arguments),
    Objects(objects::Arguments),
    Queue(queue::Arguments),
    Similarity(similarity::Arguments),
    Solve(solve::Arguments),
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.subject {
            Subject::Database(arguments) => arguments.run(),
            Subject::Fleet(arguments) => arguments.run(),
            Subject::Ingest(arguments) => arguments.run(),
            Subject::Objects(arguments) => arguments.run(),
            Subject::Queue(arguments) => arguments.run(),
            Subject::Similarity(arguments) => arguments.run(),
            Subject::Solve(arguments) => arguments.run(),
        }
    }
}

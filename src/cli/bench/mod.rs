//! `entityd bench`: how fast this machine is.

mod queue;

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
    Queue(queue::Arguments),
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.subject {
            Subject::Queue(arguments) => arguments.run(),
        }
    }
}

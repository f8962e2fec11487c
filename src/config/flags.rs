//! Makes a flag of every setting.

use clap::{Arg, ArgMatches, Command};

use super::settings::{KEYS, Key};
use super::value::SWITCH;
use super::values::Inputs;

/// The settings given on the command line, to be flattened into a command's arguments. Values remain text here, so that
/// an error in a flag has the same form as in other sources.
#[derive(Clone, Debug)]
pub struct Flags(Inputs);

impl Flags {
    /// Returns these flags, with the process's environment.
    pub fn with_environment(self) -> Inputs {
        self.0.with_environment()
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &Key| Some((key.name, matches.get_one::<String>(key.name)?.clone()));
        let flags = KEYS.iter().filter_map(given).collect();
        Ok(Self(Inputs {
            flags,
            file: matches.get_one::<String>("config").cloned(),
            environment: Vec::new(),
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("Settings file in TOML [environment: ENTITYD_CONFIG]");
        command.arg(file).args(KEYS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(key: &'static Key) -> Arg {
    let default = if key.default.is_empty() { "none" } else { key.default };
    let flag = Arg::new(key.name)
        .long(key.flag())
        .value_name(key.placeholder)
        .allow_negative_numbers(true)
        .help(format!("{} [default: {default}]", key.help.trim().trim_end_matches('.')));
    // Another name for the queues of a worker.
    let flag = if key.name == "queues" { flag.visible_alias("worker-queues") } else { flag };
    // A switch may be given without a value.
    if key.placeholder == SWITCH.placeholder {
        flag.num_args(0..=1).default_missing_value("true")
    } else {
        flag
    }
}

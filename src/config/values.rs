//! Collects the values of every setting from all sources.

use std::collections::BTreeMap;

use super::announced::is_announced;
use super::error::{Error, Given, unknown_key};
use super::file::{self, Entry};
use super::reference;
use super::settings::{KEYS, Key, ReadValue};
use super::source::Source;
use super::value::{SWITCH, SWITCHES_WITHOUT_EFFECT};
use crate::runtime::{failpoint, parent};

/// The sources of values outside the program.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Settings given as flags, by key.
    pub flags: BTreeMap<&'static str, String>,
    /// The settings file named by a flag.
    pub file: Option<String>,
    /// The environment variables.
    pub environment: Vec<(String, String)>,
}

impl Inputs {
    /// Adds the process's environment.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        self.environment = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        self
    }
}

/// The values of every setting with their sources, in order of precedence.
#[derive(Debug)]
pub(super) struct Values(BTreeMap<&'static str, Vec<Given>>);

/// The variable that names the settings file.
const FILE_VARIABLE: &str = "ENTITYD_CONFIG";
/// Environment variables of other commands, which a server ignores.
const COMMANDS_VARIABLES: [&str; 8] = [
    "ENTITYD_ADMIN_TOKEN",
    "ENTITYD_OPS_CA",
    "ENTITYD_OPS_SERVER",
    "ENTITYD_PROFILE",
    "ENTITYD_PROJECT",
    "ENTITYD_SERVER",
    "ENTITYD_TOKEN",
    "ENTITYD_TOKEN_FILE",
];

impl Values {
    /// Collects the values. Unknown names are errors.
    pub(super) fn gather(inputs: &Inputs) -> Result<Self, Error> {
        refuse_unknown_variables(&inputs.environment)?;
        check_switches_without_effect(&inputs.environment)?;
        let path = inputs.file.as_deref().or_else(|| lookup(&inputs.environment, FILE_VARIABLE));
        let entries = path.map(file::read).transpose()?.unwrap_or_default();
        let pick = |key: &'static Key| (key.name, all_given(key, inputs, &entries));
        Ok(Self(KEYS.iter().map(pick).collect()))
    }

    /// Returns the value of `key` that takes precedence.
    pub(super) fn given(&self, key: &'static str) -> &Given {
        self.all(key).0
    }

    fn all(&self, key: &'static str) -> (&Given, &[Given]) {
        let given = self.0.get(key).and_then(|all| all.split_first());
        given.expect("every key of the list has a value, the default at least")
    }
}

impl ReadValue for Values {
    type Error = Error;

    /// Returns the parsed value of `key` that takes precedence. The values of other sources must be valid, too, since
    /// one of them takes effect when the first source is removed.
    fn read<T>(&self, key: &'static str, read: fn(&str) -> Option<T>) -> Result<T, Error> {
        let value = |given: &Given| {
            read(given.value.trim()).ok_or_else(|| Error::BadValue {
                given: Box::new(given.clone()),
                remedy: KEYS
                    .iter()
                    .find(|candidate| candidate.name == key)
                    .map_or("another value", |key| key.remedy),
            })
        };
        let (wins, overridden) = self.all(key);
        let wins = value(wins)?;
        overridden.iter().try_for_each(|given| value(given).map(drop))?;
        Ok(wins)
    }
}

/// Returns all values of a setting, in order of precedence. The variable of the reference service and the default are
/// used only if no other source has a value, since the variable may be meant for another service.
fn all_given(key: &'static Key, inputs: &Inputs, entries: &[Entry]) -> Vec<Given> {
    let given = |value: &str, source| Given { key: key.name.to_owned(), value: value.to_owned(), source };
    let environment = |variable: &str| lookup(&inputs.environment, variable);
    let flag = inputs.flags.get(key.name).map(|value| given(value, Source::Flag(key.flag())));
    let variable =
        environment(&key.variable()).map(|value| given(value, Source::Environment(key.variable())));
    let entry = entries.iter().find(|entry| entry.key == key.name);
    let entry = entry.map(|entry| given(&entry.value, entry.source()));
    let mut all: Vec<_> = [flag, variable, entry].into_iter().flatten().collect();
    if all.is_empty() {
        // Compose files pass unset variables as empty ones.
        let set = |alias: &&'static str| {
            Some((*alias, environment(alias).filter(|value| !value.trim().is_empty())?))
        };
        let alias = key.aliases.iter().find_map(set);
        let together = || (key.name == "queue").then(|| reference::queue(&environment)).flatten();
        all.push(match alias {
            Some((alias, value)) => given(value, Source::Alias(alias)),
            None => match together() {
                Some((alias, value)) => given(&value, Source::Alias(alias)),
                None => given(key.default, Source::Default),
            },
        });
    }
    all
}

fn lookup<'a>(environment: &'a [(String, String)], variable: &str) -> Option<&'a str> {
    environment.iter().find(|(name, _)| name == variable).map(|(_, value)| value.as_str())
}

fn refuse_unknown_variables(environment: &[(String, String)]) -> Result<(), Error> {
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("ENTITYD_")) {
        let known = name == FILE_VARIABLE
            || COMMANDS_VARIABLES.contains(&name.as_str())
            || failpoint::VARIABLES.contains(&name.as_str())
            || name == parent::VARIABLE
            || KEYS.iter().any(|key| key.variable() == *name);
        if !known && !is_announced(name, value) {
            let names = KEYS.iter().map(Key::variable).chain([FILE_VARIABLE.to_owned()]);
            let source = Source::Environment(name.clone());
            return Err(unknown_key(name, value, source, names));
        }
    }
    Ok(())
}

fn check_switches_without_effect(environment: &[(String, String)]) -> Result<(), Error> {
    for name in SWITCHES_WITHOUT_EFFECT {
        let value = lookup(environment, name).unwrap_or_default();
        if !value.trim().is_empty() && (SWITCH.read)(value.trim()).is_none() {
            let source = Source::Environment(name.to_owned());
            let given = Given { key: name.to_owned(), value: value.to_owned(), source };
            return Err(Error::BadValue { given: Box::new(given), remedy: SWITCH.remedy });
        }
    }
    Ok(())
}

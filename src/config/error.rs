//! Errors in the settings, each in one line.

use std::fmt;

use super::settings::{KEYS, Key};
use super::source::Source;
use super::value::SECRET;
use crate::metadata::without_password;

/// A configured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The setting, in the spelling of its source.
    pub key: String,
    /// The text of the value.
    pub value: String,
    /// The source of the value.
    pub source: Source,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, source } = self;
        if is_secret(key) {
            write!(f, "{key} = *** from {source}")
        } else if value.contains("://") {
            write!(f, "{key} = {:?} from {source}", without_password(value))
        } else {
            write!(f, "{key} = {value:?} from {source}")
        }
    }
}

/// The words in the name of an unknown setting that make its value a secret.
const SECRET_WORDS: [&str; 5] = ["secret", "pass", "pwd", "token", "credential"];
/// The likeness, at most 1, from which one name counts as a misspelling of another.
const LIKENESS_MIN: f64 = 0.8;

/// Returns true if a setting of this name contains a secret, which prints as `***`. A setting for a file does not. For
/// an unknown setting, the words in its name decide, and the setting that was probably meant.
pub(super) fn is_secret(key: &str) -> bool {
    if let Some(known) = KEYS.iter().find(|known| known.name == key) {
        return holds_secret(known);
    }
    let key = key.to_ascii_lowercase();
    let key = key.strip_prefix("entityd_").unwrap_or(&key);
    let likeness = |known: &&Key| strsim::jaro_winkler(known.name, key);
    let meant = KEYS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = meant.filter(|known| likeness(known) > LIKENESS_MIN);
    !key.ends_with("_file")
        && (meant.is_some_and(holds_secret) || SECRET_WORDS.iter().any(|word| key.contains(word)))
}

fn holds_secret(key: &Key) -> bool {
    key.placeholder == SECRET.placeholder
}

/// A setting that cannot be used. Its text is one line: key, value, source, and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The value is not of the setting's type.
    #[error("{given}: give {remedy}")]
    BadValue {
        /// The rejected value.
        given: Box<Given>,
        /// The values that are accepted.
        remedy: &'static str,
    },
    /// No setting has this name.
    #[error("{given}: there is no such setting; {hint}")]
    UnknownKey {
        /// The rejected value.
        given: Box<Given>,
        /// A setting with a similar name, or the way to list all settings.
        hint: String,
    },
    /// Two values contradict each other.
    #[error("{given}: {problem} {other}")]
    Clash {
        /// The rejected value.
        given: Box<Given>,
        /// The conflict, with a remedy.
        problem: &'static str,
        /// The value with which this one conflicts.
        other: Box<Given>,
    },
    /// The value does not fit this machine.
    #[error("{given}: {problem}")]
    NotHere {
        /// The rejected value.
        given: Box<Given>,
        /// The reason, with a remedy.
        problem: String,
    },
    /// The settings file cannot be read, or is not TOML.
    #[error("settings file {place}: {problem}")]
    File {
        /// The file, with the line of the error.
        place: String,
        /// The problem.
        problem: String,
    },
}

/// Returns the error for an unknown setting, with the most similar of `names` as a hint.
pub(super) fn unknown_key(
    key: &str,
    value: &str,
    source: Source,
    names: impl Iterator<Item = String>,
) -> Error {
    // The prefix that all variables share would make any two of them alike.
    let bare = |name: &str| name.to_ascii_lowercase().trim_start_matches("entityd_").to_owned();
    let likeness = |name: &String| strsim::jaro_winkler(&bare(name), &bare(key));
    let nearest =
        names.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|name| likeness(name) > LIKENESS_MIN);
    let hint = nearest
        .map_or_else(|| "`entityd config show` lists all".to_owned(), |name| format!("did you mean {name}?"));
    Error::UnknownKey {
        given: Box::new(Given { key: key.to_owned(), value: value.to_owned(), source }),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (value, shown) in [
            ("redis://:s3cr:et@host/0", "redis://:***@host/0"),
            ("redis://user:s3cr@t@host/x", "redis://user:***@host/x"),
            ("redis://user@host", "redis://user@host"),
            ("host:1", "host:1"),
        ] {
            assert_eq!(without_password(value), shown);
        }
    }

    #[test]
    fn a_setting_is_a_secret_if_it_holds_one_and_a_misspelt_one_if_it_may() {
        for secret in [
            "s3_secret_key",
            "ENTITYD_S3_SECRET_KEYS",
            "admin_token",
            "pasword_password",
            "database_pasword",
            "ENTITYD_QUEUE_PASWORD",
            "db_passwd",
            "redis_pwd",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for open in
            ["require_admin_token", "admin_token_file", "s3_secret_key_file", "s3_access_key", "listen"]
        {
            assert!(!is_secret(open), "{open}");
        }
    }
}

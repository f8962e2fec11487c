//! The settings. A flag takes precedence over the environment, then follow the settings file, the variable of the
//! reference service, and the default.
//!
//! All settings are generated from one list in `settings.rs`. A setting has the same name in every source:
//! `--lease-ms`, `ENTITYD_LEASE_MS`, `lease_ms`. An error is one line with the key, the value, its source, and a
//! remedy. Settings are checked before any file or socket is opened.

mod announced;
mod check;
mod error;
mod file;
mod flags;
pub mod quantity;
mod reference;
mod role;
mod settings;
pub mod show;
mod source;
mod value;
mod values;

pub use error::{Error, Given};
pub use flags::Flags;
pub use role::{Role, WorkerListen};
pub use settings::{KEYS, Key, Settings};
pub use source::Source;
pub use values::Inputs;

use crate::queue::redis::QueueUrl;
use crate::system::secret;
use values::Values;

/// Checked settings with their sources.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The source of each value, in the order of [`KEYS`].
    pub sources: Vec<(&'static str, Source)>,
}

impl Loaded {
    /// If the settings file contains a secret, checks that no other user may write the file, and warns if others may
    /// read it.
    ///
    /// # Errors
    /// [`secret::Error`].
    pub fn check_secrecy(&self) -> Result<(), secret::Error> {
        let Settings { s3_secret_key, database, database_password, queue, queue_password, .. } =
            &self.settings;
        let secrets = [
            ("s3_secret_key", s3_secret_key.is_some()),
            ("database", database.has_password()),
            ("database_password", database_password.is_some()),
            ("queue", queue.as_ref().is_some_and(QueueUrl::has_password)),
            ("queue_password", queue_password.is_some()),
        ];
        let file = self.sources.iter().find_map(|(key, source)| match source {
            Source::File { path, .. } if secrets.contains(&(*key, true)) => Some(path),
            _ => None,
        });
        file.map_or(Ok(()), |path| secret::check_at(path))
    }
}

/// Reads and checks every setting.
///
/// # Errors
/// The first [`Error`] found.
pub fn load(inputs: &Inputs) -> Result<Loaded, Error> {
    let values = Values::gather(inputs)?;
    let settings = Settings::read(&values)?;
    check::consistent(&settings, &values)?;
    let sources = KEYS.iter().map(|key| (key.name, values.given(key.name).source.clone())).collect();
    Ok(Loaded { settings, sources })
}

#[cfg(test)]
mod tests;

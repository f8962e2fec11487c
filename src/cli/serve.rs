//! `entityd serve`: the server.

use clap::Args;

use super::Failure;
use super::exit::OrFail;
use crate::app;
use crate::config::{self, Flags};
use crate::runtime::parent;
use crate::telemetry;

/// Serves the API, and links the uploaded encodings
///
/// Settings may also come from the environment (`--lease-ms` is `ENTITYD_LEASE_MS`) or from a file (`lease_ms`). A
/// flag takes precedence over the environment, the environment over the file, the file over a variable of the
/// reference service, and that variable over the default. `entityd config show` shows the source of each. SIGTERM and
/// Ctrl-C let work in progress finish first.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        parent::follow().or_fail()?;
        let loaded = config::load(&self.flags.with_environment())?;
        telemetry::log::start(&loaded.settings.log());
        loaded.check_secrecy().or_fail()?;
        app::run(&loaded.settings).or_fail()
    }
}

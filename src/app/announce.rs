//! Logs the start of a server.

use rustix::process::{Resource, getrlimit};

use super::Server;
use crate::config::Settings;

impl Server {
    /// Logs the version, the addresses, the paths and the limits, which an operator may need later.
    pub(super) fn announce(&self, settings: &Settings) {
        let open_files = getrlimit(Resource::Nofile).current;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            process = std::process::id(),
            role = self.role.name(),
            api = %self.addresses.api,
            s3 = %self.addresses.s3,
            ops = %self.addresses.ops,
            workers = self.addresses.workers.map(|address| address.to_string()),
            tls = self.tls.is_some(),
            data_dir = %self.data_dir.path().display(),
            objects = %self.objects,
            worker_threads = self.threads,
            connections_max = settings.connections_max,
            uploads_max = settings.uploads_max,
            body_bytes_max = settings.body_bytes_max,
            run_pairs_max = settings.run_pairs_max,
            open_files,
            "started"
        );
    }
}

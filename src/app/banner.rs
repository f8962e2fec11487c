//! The text that a server prints when it has started.

use std::fmt;

use super::Server;
use super::listeners::address;
use crate::config::Role;
use crate::objects::Location;

/// The text that a server prints when it has started.
pub struct Banner<'a>(pub(super) &'a Server);

impl Server {
    /// Returns the text to print when the server has started.
    pub const fn banner(&self) -> Banner<'_> {
        Banner(self)
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server {
            addresses,
            tls,
            threads,
            memory,
            data_dir,
            database,
            queue,
            objects,
            admin_token,
            dashboard,
            role,
            ..
        } = self.0;
        let [api, s3, ops] =
            [addresses.api, addresses.s3, addresses.ops].map(|listener| address(tls.is_some(), listener));
        writeln!(f, "entityd {}", env!("CARGO_PKG_VERSION"))?;
        if *role != Role::All {
            writeln!(f, "  role            {}", role.name())?;
        }
        writeln!(f, "  API             {api}/api/v1/")?;
        writeln!(f, "  documentation   {api}/docs")?;
        if *dashboard {
            writeln!(f, "  dashboard       {api}/")?;
            writeln!(f, "  operator's page {ops}/")?;
        }
        let closed = if objects.is_s3() { " (not enabled: objects are in another store)" } else { "" };
        writeln!(f, "  S3              {s3}/{closed}")?;
        writeln!(f, "  health          {ops}/healthz")?;
        if let Some(workers) = addresses.workers {
            writeln!(f, "  workers         {} (entityd join-token)", address(tls.is_some(), workers))?;
        }
        if let Some(tls) = tls {
            writeln!(f, "  certificate     SHA-256 {}", tls.fingerprint())?;
        }
        writeln!(f, "  data directory  {}", data_dir.path().display())?;
        if !database.is_embedded() {
            writeln!(f, "  database        {database}")?;
        }
        if let Some(queue) = queue {
            writeln!(f, "  queue           {queue}")?;
        }
        match role {
            Role::Api => writeln!(f, "  worker threads  none: workers that join compute")?,
            _ => writeln!(f, "  worker threads  {threads}")?,
        }
        writeln!(f, "  memory          {memory}")?;
        if let Some(token) = admin_token {
            writeln!(f, "  admin token     {} (shown this once: keep it)", token.as_str())?;
        }
        let outside: Vec<String> = [
            (!database.is_embedded()).then(|| "the database".to_owned()),
            queue.is_some().then(|| "the queue".to_owned()),
            matches!(objects, Location::Bucket { .. }).then(|| objects.to_string()),
            self.0.reads_elsewhere.then(|| "the stores of --external-endpoints".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        match outside[..] {
            [] => writeln!(f, "  no telemetry, no outbound connections"),
            _ => writeln!(f, "  no telemetry, no outbound connections but to {}", outside.join(" and ")),
        }
    }
}

//! What a server says when it has started.

use std::fmt;

use super::{Addresses, Server};

/// What a server says when it has started.
pub struct Banner<'a>(pub(super) &'a Server);

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { addresses: Addresses { api, s3, ops }, threads, data_dir, admin_token, .. } = self.0;
        writeln!(f, "entityd {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  API             http://{api}/api/v1/")?;
        writeln!(f, "  documentation   http://{api}/docs")?;
        writeln!(f, "  S3              http://{s3}/")?;
        writeln!(f, "  health          http://{ops}/healthz")?;
        writeln!(f, "  data directory  {}", data_dir.path().display())?;
        writeln!(f, "  worker threads  {threads}")?;
        if let Some(token) = admin_token {
            writeln!(f, "  admin token     {} (shown this once: keep it)", token.as_str())?;
        }
        writeln!(f, "  no telemetry, no outbound connections")
    }
}

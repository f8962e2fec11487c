//! What a server says when it has started.

use std::fmt;

use super::Server;
use super::edge::address;

/// What a server says when it has started.
pub struct Banner<'a>(pub(super) &'a Server);

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { addresses, tls, threads, data_dir, admin_token, .. } = self.0;
        let [api, s3, ops] =
            [addresses.api, addresses.s3, addresses.ops].map(|door| address(tls.is_some(), door));
        writeln!(f, "entityd {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  API             {api}/api/v1/")?;
        writeln!(f, "  documentation   {api}/docs")?;
        writeln!(f, "  S3              {s3}/")?;
        writeln!(f, "  health          {ops}/healthz")?;
        if let Some(tls) = tls {
            writeln!(f, "  certificate     SHA-256 {}", tls.fingerprint())?;
        }
        writeln!(f, "  data directory  {}", data_dir.path().display())?;
        writeln!(f, "  worker threads  {threads}")?;
        if let Some(token) = admin_token {
            writeln!(f, "  admin token     {} (shown this once: keep it)", token.as_str())?;
        }
        writeln!(f, "  no telemetry, no outbound connections")
    }
}

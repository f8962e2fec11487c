//! The servers that a client trusts: by a certificate authority, or because they are on this machine.

use std::net::IpAddr;
use std::path::Path;

use reqwest::{Certificate, ClientBuilder, Url};

use super::Failure;
use crate::system::{outgoing, regular};

/// Returns the PEM file that `--ca` names.
pub(super) fn pem(path: &Path) -> Result<Vec<u8>, Failure> {
    regular::read(path).map_err(|error| failure(path, &error))
}

/// Returns true if `url` names this machine: `localhost`, or a loopback address.
pub(super) fn is_local(url: &str) -> bool {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Trusts the system's CAs, and `ca`.
pub(super) fn builder(ca: Option<&Path>) -> Result<ClientBuilder, Failure> {
    let Some(path) = ca else { return Ok(outgoing::client()) };
    let certificates = Certificate::from_pem_bundle(&pem(path)?).map_err(|error| failure(path, &error))?;
    Ok(outgoing::client().tls_certs_merge(certificates))
}

fn failure(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("--ca {}: {error}", path.display()))
}

//! The certificate authorities that a client of a server trusts.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder};

use super::Failure;
use crate::system::{outgoing, regular};

/// Returns the PEM file that `--ca` names.
pub(super) fn pem(path: &Path) -> Result<Vec<u8>, Failure> {
    regular::read(path).map_err(|error| failure(path, &error))
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

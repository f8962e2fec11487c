//! The client's side of TLS, for a node that calls another.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{CertificateError, ClientConfig, OtherError};
use sha2::{Digest, Sha256};
use x509_parser::parse_x509_certificate;

use super::{Error, pair};
use crate::system::outgoing::{Presented, RuleVerifier};

/// The servers that a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Trusts a server whose certificate has this SHA-256, under any host name.
    Pinned([u8; 32]),
    /// Trusts servers whose certificates are signed by the authorities in this PEM file.
    Authorities(PathBuf),
}

/// Returns the configuration of a client with that trust.
///
/// # Errors
/// [`Error`], if the file of authorities cannot be used.
pub fn client(trust: &Trust) -> Result<ClientConfig, Error> {
    let provider = Arc::new(default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need");
    let trusting = match trust {
        Trust::Authorities(path) => versions.with_root_certificates(pair::authorities(path)?),
        Trust::Pinned(sha256) => {
            let sha256 = *sha256;
            let verifier = RuleVerifier::new(provider, move |presented| check_pinned(sha256, presented));
            versions.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    Ok(trusting.with_no_client_auth())
}

/// The certificate is not the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("its SHA-256 is {found}, and the join token names {expected}")]
struct OtherCertificate {
    found: String,
    expected: String,
}

/// Accepts one certificate, while it is valid.
fn check_pinned(sha256: [u8; 32], presented: &Presented<'_>) -> Result<(), rustls::Error> {
    let found: [u8; 32] = Sha256::digest(presented.certificate).into();
    if found != sha256 {
        let other = OtherCertificate { found: hex::encode(found), expected: hex::encode(sha256) };
        return Err(CertificateError::Other(OtherError(Arc::new(other))).into());
    }
    let (_, parsed) =
        parse_x509_certificate(presented.certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = presented.now.as_secs().cast_signed();
    if now < parsed.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > parsed.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

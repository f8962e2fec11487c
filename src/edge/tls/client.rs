//! The client side of TLS, for a node that calls another node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, OtherError};
use sha2::{Digest, Sha256};
use x509_parser::parse_x509_certificate;

use super::{Error, pair};
use crate::runtime::clock::Timestamp;
use crate::system::outgoing::{Presented, RuleVerifier};

/// The servers that a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Trusts a server whose certificate has this SHA-256, under any host name.
    Pinned([u8; 32]),
    /// Trusts servers whose certificates are signed by the authorities in this PEM file.
    Authorities(PathBuf),
}

/// Returns the configuration of a client that trusts these servers.
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

/// A certificate with its private key, by which this program identifies itself to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The file of the certificate and its chain, in PEM.
    pub certificate: PathBuf,
    /// The file of the private key, in PEM.
    pub key: PathBuf,
}

impl ClientCertificate {
    /// Reads and checks both files: the certificate is valid `now`, and the key belongs to it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(&self, now: Timestamp) -> Result<CertifiedKey, Error> {
        Ok(pair::Pair::read(&self.certificate, &self.key, &default_provider(), now)?.certified)
    }
}

/// Checks that a file has certificates of authorities in PEM.
///
/// # Errors
/// [`Error`].
pub fn check_authorities(path: &Path) -> Result<(), Error> {
    pair::authorities(path).map(drop)
}

/// Explains the error of a handshake that a server ended because of the client's certificate; returns `None` for
/// any other error.
pub fn client_rejection(error: &str) -> Option<&'static str> {
    let (_, alert) = error.split_once("received fatal alert: ")?;
    match alert.split(|letter: char| !letter.is_ascii_alphanumeric()).next()? {
        "CertificateRequired" => Some("the server asks for a client certificate"),
        "UnknownCA" => Some("the server does not trust the CA of the client certificate"),
        "CertificateExpired" => Some("the client certificate has expired, by the clock of the server"),
        "CertificateRevoked" => Some("the client certificate has been revoked"),
        "BadCertificate"
        | "UnsupportedCertificate"
        | "CertificateUnknown"
        | "AccessDenied"
        | "DecryptError" => Some("the server rejects the client certificate"),
        _ => None,
    }
}

/// Explains the error of a connection to a server that does not speak the protocol of the URL, or whose certificate is
/// none of a server; returns `None` for any other error.
pub fn server_fault(error: &str) -> Option<&'static str> {
    if error.contains("InvalidContentType") {
        Some("it speaks no TLS: give its address with http://")
    } else if error.contains("invalid HTTP version parsed") {
        Some("its answer is not HTTP: give its address with https:// if it speaks TLS")
    } else if error.contains("CaUsedAsEndEntity") {
        Some(
            "its certificate is that of a CA, and no server's: give the server one with basicConstraints=CA:FALSE",
        )
    } else {
        None
    }
}

/// The error for a certificate that is not the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("its SHA-256 is {found}, and the join token names {expected}")]
struct OtherCertificate {
    found: String,
    expected: String,
}

/// Accepts only the pinned certificate, and only while it is valid.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_protocol_and_a_certificate_of_a_ca_are_explained() {
        let invalid = |error: CertificateError| rustls::Error::InvalidCertificate(error).to_string();
        let ca = "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))";
        assert!(server_fault(ca).unwrap().contains("CA:FALSE"));
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType).to_string();
        assert!(server_fault(&plain).unwrap().contains("http://"), "{plain}");
        assert_eq!(server_fault(&invalid(CertificateError::UnknownIssuer)), None);
    }

    #[test]
    fn an_alert_about_the_clients_certificate_is_explained() {
        let explained = |alert: rustls::AlertDescription| {
            client_rejection(&format!("error: {}; closed", rustls::Error::AlertReceived(alert)))
        };
        for (alert, words) in [
            (rustls::AlertDescription::CertificateRequired, "asks for"),
            (rustls::AlertDescription::UnknownCA, "the CA of"),
            (rustls::AlertDescription::CertificateExpired, "has expired"),
            (rustls::AlertDescription::BadCertificate, "rejects"),
        ] {
            assert!(explained(alert).is_some_and(|said| said.contains(words)), "{alert:?}");
        }
        assert_eq!(explained(rustls::AlertDescription::InternalError), None);
        assert_eq!(client_rejection("invalid peer certificate: UnknownIssuer"), None);
    }
}

//! The client's side of TLS, for a node that calls another.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::parse_x509_certificate;

use super::{Error, pair};

/// The servers that a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One whose certificate has this SHA-256, whatever its name.
    Pinned([u8; 32]),
    /// Those with certificates of the authorities in this file, in PEM.
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
            let verifier = PinnedCertificate { sha256: *sha256, provider };
            versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(trusting.with_no_client_auth())
}

/// Accepts one certificate, while it is valid.
#[derive(Debug)]
struct PinnedCertificate {
    sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
}

/// The certificate is not the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("its SHA-256 is {found}, and the join token names {expected}")]
struct OtherCertificate {
    found: String,
    expected: String,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: [u8; 32] = Sha256::digest(certificate).into();
        if found != self.sha256 {
            let other = OtherCertificate { found: hex::encode(found), expected: hex::encode(self.sha256) };
            return Err(CertificateError::Other(OtherError(Arc::new(other))).into());
        }
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let now = now.as_secs().cast_signed();
        if now < parsed.validity().not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > parsed.validity().not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

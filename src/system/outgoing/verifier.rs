//! A verifier of server certificates by a given rule. It verifies the signatures of the handshake in the usual way.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// A certificate that a server presents.
pub struct Presented<'a> {
    /// The certificate.
    pub certificate: &'a CertificateDer<'a>,
    /// The certificates between the server's certificate and a root.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The host name of the server.
    pub name: &'a ServerName<'a>,
    /// The stapled OCSP response, empty if there is none.
    pub ocsp: &'a [u8],
    /// The present time.
    pub now: UnixTime,
}

/// The rule: returns an error if a certificate is not accepted.
type Rule = dyn Fn(&Presented<'_>) -> Result<(), Error> + Send + Sync;

/// Verifies certificates by a rule.
pub struct RuleVerifier {
    rule: Box<Rule>,
    provider: Arc<CryptoProvider>,
}

impl RuleVerifier {
    /// Returns the verifier that accepts a certificate if `rule` does.
    pub fn new(
        provider: Arc<CryptoProvider>,
        rule: impl Fn(&Presented<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { rule: Box::new(rule), provider })
    }
}

impl fmt::Debug for RuleVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleVerifier").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for RuleVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.rule)(&Presented { certificate, intermediates, name, ocsp, now })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

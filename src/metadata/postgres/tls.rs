//! TLS for connections to PostgreSQL, with the modes of libpq: `require` encrypts, `verify-ca` also verifies the chain
//! of the certificate, and `verify-full` also its name.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::edge::tls::ClientCertificate;
use crate::metadata::location::Tls;
use crate::runtime::clock::Clock;
use crate::system::outgoing::{self, Presented, RuleVerifier};

/// Makes the TLS connector. `ca_file` has the trusted root certificates in PEM; `None` stands for those of the system.
/// `own` is the certificate for a server that requests a client certificate.
///
/// # Errors
/// A message, if there are no usable root certificates, or if the client certificate cannot be used.
pub(super) fn connector(
    tls: Tls,
    ca_file: Option<&Path>,
    own: Option<&ClientCertificate>,
) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // As in libpq, `require` verifies the chain if root certificates were given.
    let verifies = tls >= Tls::VerifyCa || (tls == Tls::Require && ca_file.is_some());
    let verifier: Arc<dyn ServerCertVerifier> = if verifies {
        let roots = Arc::new(roots(ca_file)?);
        let whole = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| format!("the root certificates cannot be used: {error}"))?;
        if tls == Tls::VerifyFull { whole } else { any_name(Arc::clone(&provider), whole) }
    } else {
        // The connection is encrypted, but the identity of the server is not verified.
        RuleVerifier::new(Arc::clone(&provider), |_| Ok(()))
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let certified = own.read(Clock::system().now()).map_err(|error| {
                format!("the client certificate cannot be used (--database-cert-file, --database-key-file): {error}")
            })?;
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// Returns a verifier that checks the chain of a certificate and accepts any name in it.
fn any_name(provider: Arc<CryptoProvider>, whole: Arc<WebPkiServerVerifier>) -> Arc<RuleVerifier> {
    RuleVerifier::new(provider, move |Presented { certificate, intermediates, name, ocsp, now }| {
        match whole.verify_server_cert(certificate, intermediates, name, ocsp, *now) {
            // The name is checked last, so the chain is valid.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            verdict => verdict.map(drop),
        }
    })
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let (added, _) = roots.add_parsable_certificates(outgoing::certificates());
        return if added > 0 {
            Ok(roots)
        } else {
            Err("the system has no root certificates; give --database-ca-file".to_owned())
        };
    };
    let wrong = |problem: String| {
        format!("the root certificates in {} cannot be used (--database-ca-file): {problem}", path.display())
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("there is no certificate in PEM in it".to_owned())) } else { Ok(roots) }
}

//! The trusted certificates of CAs, with a replacement for a machine that has none.

use std::env;
use std::sync::LazyLock;

use rustls::pki_types::CertificateDer;

/// Environment variables that name the system's certificates. If one is set, only its certificates are trusted.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The certificates to trust instead of the system's; `None` if the system has certificates.
static REPLACEMENT: LazyLock<Option<&[CertificateDer<'static>]>> = LazyLock::new(|| {
    let is_named = VARIABLES.iter().any(|variable| env::var_os(variable).is_some());
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return None;
    }
    Some(if is_named { &[] } else { webpki_root_certs::TLS_SERVER_ROOT_CERTS })
});

/// Returns the certificates to trust if the system has none, as in a minimal container image: Mozilla's list of CAs. If
/// `SSL_CERT_FILE` or `SSL_CERT_DIR` is set and cannot be read, returns an empty list. Returns `None` if the system has
/// certificates.
pub(super) fn replacement() -> Option<&'static [CertificateDer<'static>]> {
    *REPLACEMENT
}

/// Returns the certificates of CAs to trust: those of the system, or Mozilla's list if the system has none.
pub fn certificates() -> Vec<CertificateDer<'static>> {
    replacement().map_or_else(|| rustls_native_certs::load_native_certs().certs, <[_]>::to_vec)
}

//! The certificates of CAs on a machine that has none.

use std::env;
use std::sync::LazyLock;

use rustls::pki_types::CertificateDer;

/// Variables that name the system's certificates. Where one is set, its certificates alone are trusted.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The certificates to trust; `None` where the system has some.
static REPLACEMENT: LazyLock<Option<&[CertificateDer<'static>]>> = LazyLock::new(|| {
    let is_named = VARIABLES.iter().any(|variable| env::var_os(variable).is_some());
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return None;
    }
    Some(if is_named { &[] } else { webpki_root_certs::TLS_SERVER_ROOT_CERTS })
});

/// Returns the certificates to trust where the system has none, as in an image without files: Mozilla's list of CAs,
/// or no certificate if `SSL_CERT_FILE` or `SSL_CERT_DIR` names some that cannot be read. Returns `None` where the
/// system has certificates.
pub(super) fn replacement() -> Option<&'static [CertificateDer<'static>]> {
    *REPLACEMENT
}

/// Returns the certificates of CAs to trust: the system's certificates, or Mozilla's list where the system has none.
pub fn certificates() -> Vec<CertificateDer<'static>> {
    replacement().map_or_else(|| rustls_native_certs::load_native_certs().certs, <[_]>::to_vec)
}

//! The provider of cryptography.

/// Makes ring the source of cryptography of this process; every use of TLS needs it to have been called.
/// Calling it again changes nothing.
pub fn install_provider() {
    // Refused where there is one already: then it is this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

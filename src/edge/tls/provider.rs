//! Installs the provider of cryptography.

/// Makes ring the provider of cryptography of this process. Every use of TLS needs it. Calling it again
/// changes nothing.
pub fn install_provider() {
    // The call fails if the provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

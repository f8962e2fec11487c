//! Installs the provider of cryptography.

/// Installs ring as the cryptography provider of this process. Every use of TLS needs it. Further calls change
/// nothing.
pub fn install_provider() {
    // The call fails if the provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

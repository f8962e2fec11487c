//! TLS for listeners and for connections that go out.

mod provider;

pub use provider::install_provider;

//! Connections to other machines: name resolution, trusted certificates, and HTTP clients that use both.
//!
//! The resolver of the C library is not used, since in a static binary it does not work on every machine.

mod hosts;
mod names;
mod resolv_conf;
mod roots;
#[cfg(test)]
mod tests;
mod verifier;

use std::sync::Arc;

use object_store::ClientOptions;
use reqwest::{Client, ClientBuilder};

use names::Names;
pub use names::addresses;
pub use roots::certificates;
pub use verifier::{Presented, RuleVerifier};

/// Returns the builder of an HTTP client that resolves names with [`addresses`]. It trusts the CAs of the system, or
/// Mozilla's list of CAs if the system has none.
#[expect(clippy::disallowed_methods, reason = "this is the one place that makes clients")]
pub fn client() -> ClientBuilder {
    let builder = Client::builder().dns_resolver(Names);
    let Some(roots) = roots::replacement() else { return builder };
    builder.tls_certs_only(
        roots.iter().map(|root| {
            reqwest::Certificate::from_der(root).expect("each entry of the list is a certificate")
        }),
    )
}

/// Returns the options of a client of an object store that resolves names and trusts CAs like [`client`].
#[expect(clippy::disallowed_methods, reason = "this is the one place that makes options")]
pub fn store_options() -> ClientOptions {
    let options = ClientOptions::new().with_dns_resolver(Arc::new(Names));
    let Some(roots) = roots::replacement() else { return options };
    roots.iter().fold(options.with_no_system_certificates(true), |options, root| {
        let root =
            object_store::Certificate::from_der(root).expect("each entry of the list is a certificate");
        options.with_root_certificate(root)
    })
}

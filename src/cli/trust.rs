//! Parses the addresses of servers, and decides which servers a client trusts: those with a certificate of a trusted
//! authority, and those on this machine.

use std::net::IpAddr;
use std::path::Path;

use reqwest::{Certificate, ClientBuilder, Url};

use super::Failure;
use crate::edge::tls::server_fault;
use crate::system::{outgoing, regular};

/// The path of the API.
const API: &str = "/api/v1";

/// Returns the content of the PEM file that `--ca` names.
pub(super) fn pem(path: &Path) -> Result<Vec<u8>, Failure> {
    regular::read(path).map_err(|error| failure(path, &error))
}

/// Checks the address given with `--server`, and returns it without slashes at its end. An error message gives `usual`
/// as an example.
pub(super) fn address(given: &str, usual: &str) -> Result<String, Failure> {
    let server = given.trim().trim_end_matches('/');
    let refused = |problem: &str| Failure::Usage(format!("--server: {problem}"));
    let url = Url::parse(server).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let Some(url) = url.filter(Url::has_host) else {
        return Err(refused(&format!("give a URL such as {usual}")));
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.query().is_some() || url.fragment().is_some() {
        return Err(refused("give a URL without user, password, query and fragment"));
    }
    Ok(server.to_owned())
}

/// Returns the address of the API, ending in `/api/v1`, of the server given with `--server`. An error message gives
/// `usual` as an example.
pub(super) fn api_address(given: &str, usual: &str) -> Result<String, Failure> {
    let server = address(given, usual)?;
    let server = server.strip_suffix(API).unwrap_or(&server).trim_end_matches('/');
    Ok(format!("{server}{API}"))
}

/// Returns true if `url` names this machine: `localhost`, or a loopback address.
pub(super) fn is_local(url: &str) -> bool {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns the advice that follows the reason `why` a server gave no answer; `usual` if the reason is not about TLS.
pub(super) fn advice(why: &str, usual: &str) -> String {
    if let Some(fault) = server_fault(why) {
        format!("; {fault}")
    } else if why.contains("invalid peer certificate") {
        "; --ca names its certificate, or that of its CA".to_owned()
    } else {
        usual.to_owned()
    }
}

/// Returns a builder of HTTP clients that trust the system's CAs and those in the file `ca`.
pub(super) fn builder(ca: Option<&Path>) -> Result<ClientBuilder, Failure> {
    let Some(path) = ca else { return Ok(outgoing::client()) };
    let certificates = Certificate::from_pem_bundle(&pem(path)?).map_err(|error| failure(path, &error))?;
    if certificates.is_empty() {
        return Err(failure(path, &"it holds no certificate in PEM"));
    }
    Ok(outgoing::client().tls_certs_merge(certificates))
}

fn failure(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::unusable("--ca", path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in
            ["", "0123456789abcdef\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            std::fs::write(file.path(), content).unwrap();
            let Some(Failure::Usage(said)) = builder(Some(file.path())).err() else { panic!("{content}") };
            assert!(said.starts_with("--ca ") && said.ends_with("it holds no certificate in PEM"), "{said}");
        }
    }

    #[test]
    fn an_invalid_address_of_a_server_is_a_usage_error() {
        for (given, address_of) in [
            ("http://a:1", "http://a:1"),
            (" https://a/linkage// ", "https://a/linkage"),
            ("http://[::1]:8853/", "http://[::1]:8853"),
        ] {
            assert_eq!(address(given, "http://b").unwrap(), address_of);
        }
        for given in [
            "",
            "a:1",
            "ftp://a",
            "http://",
            "http://[::1",
            "http://a:x",
            "http://a b",
            "http://u:p@a",
            "http://a/?x=1",
            "http://a/#x",
        ] {
            let Err(Failure::Usage(said)) = address(given, "http://b") else { panic!("{given} is accepted") };
            assert!(said.starts_with("--server: give a URL"), "{said}");
        }
    }
}

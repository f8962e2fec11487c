//! Checks addresses, certificates, and the object store, database and queue outside the data directory.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use super::data;
use super::finding::Finding;
use crate::app::{self, inspect};
use crate::config::{Role, Settings};
use crate::edge::tls;
use crate::objects::Location;
use crate::runtime::clock::Clock;
use crate::system::engine;
use crate::telemetry::chain;

/// The number of days before the expiry of a certificate from which the check warns.
const DAYS_FEW: u64 = 21;
/// The number of seconds in a day.
const DAY_SECONDS: u64 = 86_400;

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = addresses(settings);
    findings.push(certificate(settings));
    findings.extend(client_authorities(settings));
    if settings.role == Role::Worker {
        findings.extend(api_nodes(settings).await);
        if matches!(settings.objects, Location::Bucket { .. }) {
            findings.push(objects(settings).await);
        }
        return findings;
    }
    findings.push(objects(settings).await);
    findings.extend(upload_bucket(settings).await);
    findings.extend(engine("database", inspect::database(settings).await));
    findings.extend(engine("queue", inspect::queue(settings).await));
    findings
}

/// Returns the findings about an object store, database or queue outside the data directory.
fn engine(name: &'static str, inspected: Result<Option<engine::Report>, app::Error>) -> Vec<Finding> {
    match inspected {
        Ok(None) => Vec::new(),
        Ok(Some(engine::Report { description, warnings })) => {
            let warnings = warnings.into_iter().map(|warning| Finding::warning(name, warning));
            std::iter::once(Finding::ok(name, description)).chain(warnings).collect()
        }
        Err(error) => vec![Finding::failed(name, chain(&error))],
    }
}

fn addresses(settings: &Settings) -> Vec<Finding> {
    let served = data::is_served(&settings.data_dir);
    let serves = settings.role != Role::Worker;
    let named = [
        ("listen", serves.then_some(settings.listen)),
        ("s3-listen", serves.then_some(settings.s3_listen)),
        ("ops-listen", Some(settings.ops_listen)),
        ("redirect-listen", settings.redirect_listen),
        ("worker-listen", settings.worker_listen.address(settings.role)),
    ];
    let named = named.into_iter().filter_map(|(name, address)| Some((name, address?)));
    named.map(|(name, address)| listened(name, address, served)).collect()
}

fn listened(name: &'static str, address: SocketAddr, served: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && served => {
            Finding::ok(name, format!("{address} is in use, and a server runs on this data directory"))
        }
        Err(error) => Finding::failed(name, format!("{address}: {error}; give another with --{name}")),
    }
}

/// Returns true if only this machine reaches the listeners that clients use.
fn listens_here(settings: &Settings) -> bool {
    let workers = settings.worker_listen.address(settings.role);
    let api = (settings.role != Role::Worker).then_some(settings.listen);
    [api, workers].into_iter().flatten().all(|address| address.ip().is_loopback())
}

fn certificate(settings: &Settings) -> Finding {
    let name = "certificate";
    let own = settings.data_dir.join("tls/self-signed.pem");
    let (certificate, key): (PathBuf, PathBuf) = match (settings.tls, &settings.tls_cert, &settings.tls_key) {
        (tls::Mode::Auto, Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (tls::Mode::SelfSigned, ..) if own.exists() => (own.clone(), own),
        (tls::Mode::SelfSigned, ..) => {
            return Finding::ok(name, "serve creates a self-signed one at the first start");
        }
        _ if listens_here(settings) => {
            return Finding::ok(name, "none: plain HTTP on this machine");
        }
        _ => {
            let why = format!(
                "none: tokens cross the network in clear text at {}; enable TLS, or put a proxy in front",
                settings.listen
            );
            return Finding::warning(name, why);
        }
    };
    let now = Clock::system().now();
    match tls::inspect(&certificate, &key, now) {
        Ok(found) => {
            let days = found.ends.since(now).as_secs() / DAY_SECONDS;
            let is_nameless = found.names.is_empty();
            let names = if is_nameless { "no host".to_owned() } else { found.names.join(", ") };
            let said = format!("{} for {names}, {days} days left", certificate.display());
            let faults = [
                (is_nameless, "it names no host, so clients refuse it; have one made with subjectAltName"),
                (
                    found.is_authority,
                    "it is that of a CA: clients that are strict, as workers and this program's commands, refuse it; have one \
                     made with basicConstraints=CA:FALSE",
                ),
            ];
            let faults: Vec<_> = faults.into_iter().filter(|(is, _)| *is).map(|(_, fault)| fault).collect();
            if !faults.is_empty() {
                return Finding::warning(name, format!("{said}; {}", faults.join("; ")));
            }
            if days < DAYS_FEW { Finding::warning(name, said) } else { Finding::ok(name, said) }
        }
        Err(error) => Finding::failed(name, chain(&error)),
    }
}

fn client_authorities(settings: &Settings) -> Option<Finding> {
    let (name, path) = ("client authorities", settings.tls_client_ca.as_deref()?);
    Some(match tls::check_authorities(path) {
        Ok(()) => Finding::ok(name, path.display().to_string()),
        Err(error) => Finding::failed(name, format!("--tls-client-ca: {}", chain(&error))),
    })
}

async fn objects(settings: &Settings) -> Finding {
    let name = "object store";
    let Location::Bucket { .. } = &settings.objects else {
        let place = match &settings.objects {
            Location::Directory(path) => format!("files at {}", path.display()),
            _ => "files in the data directory".to_owned(),
        };
        return Finding::ok(name, place);
    };
    let given = |value: &Option<String>, absent: &str| value.clone().unwrap_or_else(|| absent.to_owned());
    let keys = if settings.s3_access_key.is_some() { "from the settings" } else { "from the environment" };
    let said = format!(
        "{}, endpoint {}, region {}, keys {keys}",
        settings.objects,
        given(&settings.objects_endpoint, "of the provider"),
        given(&settings.objects_region, "by default"),
    );
    match inspect::object_store(settings).await {
        Ok(()) => Finding::ok(name, format!("{said}: it answers")),
        Err(error) => Finding::failed(name, format!("{said}: {}", chain(&error))),
    }
}

async fn api_nodes(settings: &Settings) -> Vec<Finding> {
    let name = "API node";
    match inspect::api_nodes(settings).await {
        Ok(greeted) => greeted
            .into_iter()
            .map(|(url, answer)| match answer {
                Ok(()) => Finding::ok(name, format!("{url} accepts the join token")),
                Err(why) => Finding::failed(name, format!("{url}: {why}")),
            })
            .collect(),
        Err(error) => vec![Finding::failed(name, chain(&error))],
    }
}

async fn upload_bucket(settings: &Settings) -> Option<Finding> {
    let (name, bucket) = ("upload bucket", &settings.upload_bucket);
    match inspect::upload_bucket(settings).await {
        Ok(false) => None,
        Ok(true) => Some(Finding::ok(name, format!("{bucket}: it answers"))),
        Err(error) => {
            let why = chain(&error);
            let remedy = "create it, name another with --upload-bucket, or give --external-uploads false";
            Some(Finding::failed(name, format!("{bucket}: {why}; {remedy}")))
        }
    }
}

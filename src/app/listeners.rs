//! Builds the configuration of each listener: TLS, limits on requests and connections, and trusted proxies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::Error;
use super::addresses::Addresses;
use super::resources::Files;
use crate::config::Settings;
use crate::edge::rate_limit::{self, Limits, Rate, RateLimit};
use crate::edge::tls::{self, Mode, Source, Tls};
use crate::edge::{ConnectionLimiter, ListenerConfig, ProxyHeader, Timeouts, TrustedProxies};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::DataDir;
use crate::{http, s3};

/// The interval at which limiters drop the state of inactive clients.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The configuration of each listener.
pub(super) struct Listeners {
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) api: ListenerConfig,
    pub(super) s3: ListenerConfig,
    pub(super) ops: ListenerConfig,
    pub(super) workers: ListenerConfig,
    /// The listener without TLS that redirects to the one with TLS.
    pub(super) redirect: ListenerConfig,
    limits: Vec<Arc<Limits>>,
}

impl Listeners {
    /// Reads or generates the certificate, and creates limiters without any client.
    pub(super) fn open(settings: &Settings, data_dir: &DataDir, files: Files) -> Result<Self, Error> {
        let tls = tls_settings(settings, data_dir)?.map(open_tls).transpose()?;
        let api = rate_limit::Settings {
            uploads: settings.rate_limit_uploads,
            results: settings.rate_limit_results,
            others: settings.rate_limit,
            failures: settings.rate_limit_failures,
            total: settings.rate_limit_total,
        };
        let limits = [api, alike(settings.rate_limit_s3), alike(settings.rate_limit_ops)];
        let [api, s3, ops] = limits.map(|settings| Arc::new(Limits::new(settings)));
        let status =
            StatusCode::from_u16(settings.rate_limit_status).expect("the setting is one of two statuses");
        let connection_limiter = connection_limiter(settings, files);
        let trusted_proxies =
            Arc::new(TrustedProxies::new(settings.trusted_proxies.clone(), settings.proxy_header));
        let timeouts = timeouts(settings);
        let entropy = Entropy::system();
        let redirect = ListenerConfig {
            tls: None,
            connection_limiter,
            trusted_proxies,
            rate_limit: None,
            timeouts,
            entropy,
            refuse: http::refuse,
        };
        Ok(Self {
            api: ListenerConfig {
                tls: tls.as_ref().map(Tls::asking),
                rate_limit: Some(http::limit_api(Arc::clone(&api), status, settings.cors_origins.clone())),
                ..redirect.clone()
            },
            s3: ListenerConfig {
                tls: tls.as_ref().map(Tls::asking),
                rate_limit: Some(RateLimit::new("s3", Arc::clone(&s3), status, s3::slow_down)),
                ..redirect.clone()
            },
            // Monitors connect without a proxy or a client certificate, and must be served even by an overloaded
            // server.
            ops: ListenerConfig {
                tls: tls.as_ref().map(Tls::open_to_all),
                rate_limit: Some(http::limit_ops(Arc::clone(&ops), status)),
                connection_limiter: ConnectionLimiter::new(
                    files.ops_connections,
                    settings.connections_per_address_max,
                ),
                trusted_proxies: Arc::new(TrustedProxies::new(Vec::new(), ProxyHeader::XForwardedFor)),
                ..redirect.clone()
            },
            // Workers authenticate with tokens, and have few addresses and connections.
            workers: ListenerConfig {
                tls: tls.as_ref().map(Tls::open_to_all),
                connection_limiter: ConnectionLimiter::new(files.connections, files.connections),
                trusted_proxies: Arc::new(TrustedProxies::new(Vec::new(), ProxyHeader::XForwardedFor)),
                ..redirect.clone()
            },
            redirect,
            tls,
            limits: vec![api, s3, ops],
        })
    }

    /// Returns the SHA-256 of the certificate, if it is self-signed. Join tokens contain it, so that workers trust the
    /// certificate.
    pub(super) fn pin(&self, settings: &Settings) -> Option<[u8; 32]> {
        let tls = self.tls.as_ref().filter(|_| settings.tls == Mode::SelfSigned)?;
        let mut pin = [0; 32];
        hex::decode_to_slice(tls.fingerprint().replace(':', ""), &mut pin).ok().map(|()| pin)
    }

    /// Warns about listeners without TLS that other machines can reach.
    pub(super) fn warn(&self, addresses: &Addresses) {
        if self.tls.is_some() {
            return;
        }
        let listeners = [("API", addresses.api), ("S3", addresses.s3), ("operations", addresses.ops)];
        let workers = addresses.workers.map(|address| ("workers", address));
        for (name, address) in
            listeners.into_iter().chain(workers).filter(|(_, address)| !address.ip().is_loopback())
        {
            tracing::warn!(
                "{name} at {address} without TLS: anyone on the network path can read and change tokens, encodings and \
                 results; give --tls-cert and --tls-key, or --tls self-signed, unless a proxy adds TLS",
            );
        }
    }

    /// Starts the tasks that reload the certificate and drop the state of inactive clients. They run until the process
    /// ends.
    pub(super) fn keep(&self) -> std::io::Result<()> {
        let hangup = signal(SignalKind::hangup())?;
        match &self.tls {
            Some(tls) => tokio::spawn(Arc::clone(tls).follow(hangup)),
            None => tokio::spawn(nothing_to_read(hangup)),
        };
        let limits = self.limits.clone();
        tokio::spawn(async move {
            loop {
                sleep(SWEEP_EVERY).await;
                limits.iter().for_each(|limits| limits.sweep());
            }
        });
        Ok(())
    }
}

/// Logs and ignores SIGHUP if there are no files to reload.
async fn nothing_to_read(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: no TLS certificate to reload");
    }
}

/// Returns the TLS settings, if TLS is enabled.
fn tls_settings(settings: &Settings, data_dir: &DataDir) -> Result<Option<tls::Settings>, Error> {
    let source = match (settings.tls, &settings.tls_cert, &settings.tls_key) {
        (Mode::Auto, Some(certificate), Some(key)) => {
            Source::Files { certificate: certificate.clone(), key: key.clone() }
        }
        (Mode::SelfSigned, ..) => {
            let mut listened = [settings.listen, settings.s3_listen, settings.ops_listen]
                .map(|address| address.ip())
                .to_vec();
            listened.extend(settings.worker_listen.address(settings.role).map(|address| address.ip()));
            Source::SelfSigned { folder: data_dir.folder("tls")?, names: names(&listened) }
        }
        _ => return Ok(None),
    };
    Ok(Some(tls::Settings { source, client_authorities: settings.tls_client_ca.clone() }))
}

/// Reads the certificate, or generates it. The error names the setting with the file.
fn open_tls(settings: tls::Settings) -> Result<Arc<Tls>, Error> {
    let is_given = matches!(settings.source, Source::Files { .. });
    Tls::open(settings, Clock::system()).map_err(|error| match error {
        tls::Error::ClientAuthorities(error) => Error::ClientAuthorities(*error),
        error if is_given => Error::Certificate(error),
        error => Error::Tls(error),
    })
}

/// Returns the names and addresses that clients may use for this machine.
fn names(listened: &[IpAddr]) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let addresses = listened.iter().filter(|address| !address.is_unspecified()).map(IpAddr::to_string);
    for name in std::iter::once(machine).chain(addresses) {
        if !name.is_empty() && name.is_ascii() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn alike(rate: Rate) -> rate_limit::Settings {
    rate_limit::Settings { uploads: rate, results: rate, others: rate, failures: Rate::Off, total: Rate::Off }
}

/// Returns the limiter of client connections. Warns if the limit on open files allows fewer than the settings.
fn connection_limiter(settings: &Settings, files: Files) -> Arc<ConnectionLimiter> {
    let all_max = files.connections;
    if all_max < settings.connections_max {
        tracing::warn!(
            "the limit on open files (ulimit -n) leaves {all_max} connections of --connections-max {}",
            settings.connections_max
        );
    }
    ConnectionLimiter::new(all_max, settings.connections_per_address_max)
}

fn timeouts(settings: &Settings) -> Timeouts {
    Timeouts {
        header: Duration::from_millis(settings.header_timeout_ms),
        idle: Duration::from_millis(settings.idle_timeout_ms),
        transfer: Duration::from_millis(settings.transfer_timeout_ms),
        rate_min: settings.body_rate_min,
    }
}

/// Returns the URL of an address, with `https` if `tls` is set.
pub(super) fn address(tls: bool, address: SocketAddr) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}

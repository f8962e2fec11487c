//! Checks for values that are valid but contradict each other or this machine.

use std::net::SocketAddr;

use linkage::similarity::Kernel;

use super::error::Error;
use super::role::Role;
use super::settings::Settings;
use super::source::Source;
use super::values::Values;
use crate::edge::ProxyHeader;
use crate::edge::tls::Mode;
use crate::queue::redis::QueueUrl;

/// Returns an error if settings contradict each other or the processor.
pub(super) fn consistent(settings: &Settings, values: &Values) -> Result<(), Error> {
    let clash = |key, problem, other| Error::Clash {
        given: Box::new(values.given(key).clone()),
        problem,
        other: Box::new(values.given(other).clone()),
    };
    let redirect = settings.redirect_listen.map(|address| ("redirect_listen", address));
    let listeners =
        [("listen", settings.listen), ("s3_listen", settings.s3_listen), ("ops_listen", settings.ops_listen)];
    let workers = settings.worker_listen.address(settings.role).map(|address| ("worker_listen", address));
    let is_open = |listener: &(&str, SocketAddr)| settings.role != Role::Worker || listener.0 == "ops_listen";
    let listeners: Vec<_> = listeners.into_iter().chain(redirect).chain(workers).filter(is_open).collect();
    for (index, (key, address)) in listeners.iter().enumerate() {
        for (other, other_address) in &listeners[..index] {
            if collide(*address, *other_address) {
                return Err(clash(*key, "give another port, this one is taken by", *other));
            }
        }
    }
    if let Some((key, problem, other)) = role_clash(settings) {
        return Err(clash(key, problem, other));
    }
    if settings.role == Role::Worker
        && let Some((key, problem)) = unused_by_a_worker(values)
    {
        return Err(clash(key, problem, "role"));
    }
    if let Some((key, problem, other)) = tls_clash(settings) {
        return Err(clash(key, problem, other));
    }
    let has_password = settings.queue.as_ref().is_some_and(QueueUrl::has_password);
    for (key, is_secret, remedy) in [
        (
            "s3_secret_key",
            true,
            "--s3-secret-key-file, or the environment: everyone on this machine can see flags",
        ),
        (
            "queue_password",
            true,
            "--queue-password-file, or the environment: everyone on this machine can see flags",
        ),
        (
            "queue",
            has_password,
            "--queue-password-file for the password: everyone on this machine can see flags",
        ),
    ] {
        let given = values.given(key);
        if is_secret && matches!(given.source, Source::Flag(_)) {
            return Err(Error::BadValue { given: Box::new(given.clone()), remedy });
        }
    }
    if let Some((key, problem, other)) = queue_clash(settings) {
        return Err(clash(key, problem, other));
    }
    database(settings, values)?;
    if settings.proxy_header != ProxyHeader::XForwardedFor && settings.trusted_proxies.is_empty() {
        return Err(clash("proxy_header", "name the proxies that send it as well:", "trusted_proxies"));
    }
    if settings.upload_bucket == settings.download_bucket {
        return Err(clash("upload_bucket", "give another bucket, results lie in that of", "download_bucket"));
    }
    if settings.min_encoding_bytes > settings.max_encoding_bytes {
        return Err(clash("min_encoding_bytes", "give a number that is not more than", "max_encoding_bytes"));
    }
    if let Some(Err(missing)) = settings.kernel.map(Kernel::named) {
        let given = Box::new(values.given("kernel").clone());
        return Err(Error::NotHere { given, problem: missing.to_string() });
    }
    Ok(())
}

/// Returns an error for a password on the command line, and for a database in PostgreSQL without a host.
fn database(settings: &Settings, values: &Values) -> Result<(), Error> {
    let refuse = |key, remedy| Err(Error::BadValue { given: Box::new(values.given(key).clone()), remedy });
    let is_flag = |key| matches!(values.given(key).source, Source::Flag(_));
    let file = "--database-password-file, or the environment: everyone on this machine can see flags";
    if is_flag("database") && settings.database.has_password() {
        return refuse("database", file);
    }
    if is_flag("database_password") {
        return refuse("database_password", file);
    }
    if settings.database.lacks_host() && settings.database_server.is_none() {
        return refuse("database", "the host in it as well: postgres://USER@HOST/NAME");
    }
    Ok(())
}

/// Finds a setting that contradicts the role: the setting at fault, the problem, and the other setting.
fn role_clash(settings: &Settings) -> Option<(&'static str, &'static str, &'static str)> {
    let is_worker = settings.role == Role::Worker;
    if is_worker && settings.join.is_empty() {
        Some(("join", "give the worker listeners of the API nodes, as a worker needs:", "role"))
    } else if is_worker && settings.join_token_file.is_none() {
        Some(("join_token_file", "give the file with the join token, as a worker needs:", "role"))
    } else if is_worker && settings.worker_listen.address(settings.role).is_some() {
        Some(("worker_listen", "leave it out, no other worker joins a node with", "role"))
    } else if is_worker && settings.redirect_listen.is_some() {
        Some(("redirect_listen", "leave it out, there is no API on a node with", "role"))
    } else if is_worker && settings.queues.only(|queue| settings.role.does(queue)).is_none() {
        Some(("queues", "name a queue other than maintenance, as a worker needs:", "role"))
    } else if !is_worker && !settings.join.is_empty() {
        Some(("join", "give the role worker as well:", "role"))
    } else if !is_worker && settings.join_ca.is_some() {
        Some(("join_ca", "leave it out, it is for a worker alone:", "role"))
    } else {
        None
    }
}

/// Finds a setting that was given to this worker alone, and that a worker does not use. The environment may be that of
/// several nodes.
fn unused_by_a_worker(values: &Values) -> Option<(&'static str, &'static str)> {
    const UNUSED: [(&str, &str); 4] = [
        ("listen", "leave it out, there is no API on a node with"),
        ("s3_listen", "leave it out, there is no S3 on a node with"),
        ("database", "leave it out, only API nodes use a database, no node with"),
        ("queue", "leave it out, only API nodes use a queue, no node with"),
    ];
    let is_own = |key| matches!(values.given(key).source, Source::Flag(_) | Source::File { .. });
    UNUSED.into_iter().find(|(key, _)| is_own(key))
}

/// Finds a setting that contradicts the TLS settings: the setting at fault, the problem, and the other
/// setting.
fn tls_clash(settings: &Settings) -> Option<(&'static str, &'static str, &'static str)> {
    let Settings { tls, tls_cert, tls_key, tls_client_ca, redirect_listen, .. } = settings;
    let on = *tls == Mode::SelfSigned || (*tls == Mode::Auto && tls_cert.is_some());
    if *tls != Mode::Auto && tls_cert.is_some() {
        Some(("tls_cert", "leave it out, since it is not used with", "tls"))
    } else if tls_cert.is_some() && tls_key.is_none() {
        Some(("tls_cert", "give its private key as well:", "tls_key"))
    } else if tls_key.is_some() && tls_cert.is_none() {
        Some(("tls_key", "give its certificate as well:", "tls_cert"))
    } else if tls_client_ca.is_some() && !on {
        Some(("tls_client_ca", "give a certificate of the server's own as well:", "tls_cert"))
    } else if redirect_listen.is_some() && !on {
        Some(("redirect_listen", "there is no TLS to redirect to; give a certificate as well:", "tls_cert"))
    } else {
        None
    }
}

/// Finds a setting that contradicts the settings of a queue in Redis.
fn queue_clash(settings: &Settings) -> Option<(&'static str, &'static str, &'static str)> {
    let Settings { queue, queue_password, queue_password_file, queue_ca, queue_cert, queue_key, .. } =
        settings;
    let has_tls = queue.as_ref().is_some_and(QueueUrl::has_tls);
    let files = [("queue_ca", queue_ca), ("queue_cert", queue_cert), ("queue_key", queue_key)];
    let unused = files.into_iter().find(|(_, file)| file.is_some() && !has_tls);
    if let Some((key, _)) = unused {
        Some((key, "it is for a queue with TLS; give rediss:// or rediss-sentinel:// in", "queue"))
    } else if queue_cert.is_some() && queue_key.is_none() {
        Some(("queue_cert", "give its private key as well:", "queue_key"))
    } else if queue_key.is_some() && queue_cert.is_none() {
        Some(("queue_key", "give its certificate as well:", "queue_cert"))
    } else if queue_password.is_some() && queue_password_file.is_some() {
        Some(("queue_password", "leave one of them out; there is also", "queue_password_file"))
    } else if queue_password_file.is_some() && queue.is_none() {
        Some(("queue_password_file", "give the Redis that it is for:", "queue"))
    } else {
        None
    }
}

/// Returns true if the two addresses cannot both be bound. Port 0 means any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_address
}

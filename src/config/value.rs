//! The types of values: the parser and the accepted values of each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use axum::http::HeaderName;
use ipnet::IpNet;
use linkage::similarity::KernelName;

use super::quantity::{bytes, days, hours, milliseconds, seconds, whole};
use super::role::{Role, WorkerListen};
use crate::edge::BasePath;
use crate::edge::ProxyHeader;
use crate::edge::rate_limit::Rate;
use crate::edge::tls;
use crate::external::ExternalEndpoints;
use crate::http::Compress;
use crate::http::Origins;
use crate::http::RESERVED_PATHS;
use crate::metadata;
use crate::objects::Location;
use crate::queue::redis::QueueUrl;
use crate::queue::sled::OnDamage;
use crate::system::identity::Identity;
use crate::system::secret::Hidden;
use crate::system::sqlite::Losses;
use crate::telemetry::log;
use crate::worker::QueueSlots;

/// The syntax of a value of type `T`.
pub(super) struct ValueType<T> {
    /// The placeholder of the value in `--help`.
    pub(super) placeholder: &'static str,
    /// The accepted values, as a phrase after the word "give".
    pub(super) remedy: &'static str,
    /// Parses the text.
    pub(super) read: fn(&str) -> Option<T>,
}

/// An address to listen on.
pub(super) const ADDRESS: ValueType<SocketAddr> = ValueType {
    placeholder: "ADDRESS:PORT",
    remedy: "an address and a port, such as 127.0.0.1:8851 or [::]:8851, :8851 for every address, or 8851 for this \
             machine alone",
    read: address,
};

/// An address to listen on, or none.
pub(super) const ADDRESS_OR_NONE: ValueType<Option<SocketAddr>> = ValueType {
    placeholder: "ADDRESS:PORT",
    remedy: "an address and a port, such as 127.0.0.1:8080 or [::]:80, :80 for every address, or 8080 for this machine \
             alone",
    read: |text| if text.is_empty() { Some(None) } else { address(text).map(Some) },
};

/// The role of a node.
pub(super) const ROLE: ValueType<Role> = ValueType {
    placeholder: "all|api|worker",
    remedy: "all, api or worker",
    read: |text| [Role::All, Role::Api, Role::Worker].into_iter().find(|role| role.name() == text),
};

/// The address of the worker listener.
pub(super) const WORKER_LISTEN: ValueType<WorkerListen> = ValueType {
    placeholder: "ADDRESS:PORT|auto|off",
    remedy: "an address and a port, such as 10.0.0.5:8854, :8854 for every address, auto or off",
    read: |text| match text {
        "auto" => Some(WorkerListen::Auto),
        "off" => Some(WorkerListen::Off),
        text => address(text).map(WorkerListen::At),
    },
};

/// The worker listeners of API nodes.
pub(super) const JOIN_URLS: ValueType<Vec<String>> = ValueType {
    placeholder: "URL,URL",
    remedy: "addresses of worker listeners, separated by commas, such as https://api.example.org:8854",
    read: |text| listed(text).map(service).collect(),
};

/// The TLS mode.
pub(super) const TLS_MODE: ValueType<tls::Mode> = ValueType {
    placeholder: "auto|self-signed|off",
    remedy: "auto, self-signed or off",
    read: |text| match text {
        "auto" => Some(tls::Mode::Auto),
        "self-signed" => Some(tls::Mode::SelfSigned),
        "off" => Some(tls::Mode::Off),
        _ => None,
    },
};

/// Networks, or single addresses.
pub(super) const NETWORKS: ValueType<Vec<IpNet>> = ValueType {
    placeholder: "NETWORKS",
    remedy: "networks or addresses separated by commas, such as 10.0.0.0/8,fd00::/8,192.0.2.1",
    read: |text| listed(text).map(network).collect(),
};

/// The header with which a proxy reports the client.
pub(super) const PROXY_HEADER: ValueType<ProxyHeader> = ValueType {
    placeholder: "x-forwarded-for|forwarded|proxy-protocol",
    remedy: "x-forwarded-for, forwarded or proxy-protocol",
    read: |text| match text {
        "x-forwarded-for" => Some(ProxyHeader::XForwardedFor),
        "forwarded" => Some(ProxyHeader::Forwarded),
        "proxy-protocol" => Some(ProxyHeader::ProxyProtocol),
        _ => None,
    },
};

/// The path prefix of a proxy.
pub(super) const BASE_PATH: ValueType<BasePath> = ValueType {
    placeholder: "PATH",
    remedy: "a path of letters, digits and -._~ such as /pprl, not below /api or /docs",
    read: |text| BasePath::parse(text).filter(|base| !base.begins_with_one_of(&RESERVED_PATHS)),
};

/// A rate limit.
pub(super) const RATE: ValueType<Rate> = ValueType {
    placeholder: "RATE:BURST|off",
    remedy: "requests a second and requests at once, such as 200:50, or off",
    read: |text| text.parse().ok(),
};

/// The status for rate-limited requests.
pub(super) const REFUSAL_STATUS: ValueType<u16> = ValueType {
    placeholder: "503|429",
    remedy: "503 or 429",
    read: |text| text.parse().ok().filter(|status| [503, 429].contains(status)),
};

/// A number of connections.
pub(super) const CONNECTIONS: ValueType<usize> = ValueType {
    placeholder: "N",
    remedy: "a whole number from 1 to 1_000_000",
    read: |text| whole(text, 1, 1_000_000).map(|connections| connections as usize),
};

/// A timeout.
pub(super) const TIMEOUT: ValueType<u64> = ValueType {
    placeholder: "MS",
    remedy: "milliseconds from 100 to 86_400_000, such as 60_000, or a time such as 60s",
    read: |text| milliseconds(text, 100, 86_400_000),
};

/// A minimum transfer rate.
pub(super) const RATE_MIN: ValueType<u64> = ValueType {
    placeholder: "BYTES",
    remedy: "bytes a second, such as 1_024 or 1KiB, or 0 for any",
    read: |text| bytes(text, 0),
};

/// A directory, which need not exist.
pub(super) const DIRECTORY: ValueType<PathBuf> = ValueType {
    placeholder: "DIR",
    remedy: "the path of a directory",
    read: |text| (!text.is_empty()).then(|| PathBuf::from(text)),
};

/// A file; `None` if empty.
pub(super) const FILE_OR_NONE: ValueType<Option<PathBuf>> = ValueType {
    placeholder: "FILE",
    remedy: "the path of a file",
    read: |text| Some((!text.is_empty()).then(|| PathBuf::from(text))),
};

/// A word; `None` if empty.
pub(super) const WORD_OR_NONE: ValueType<Option<String>> = ValueType {
    placeholder: "WORD",
    remedy: "one word of visible ASCII characters",
    read: |text| match text {
        "" => Some(None),
        text => text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Some(text.to_owned())),
    },
};

/// A secret; `None` if empty. Flags must not contain it, since every user of the machine can see them.
pub(super) const SECRET: ValueType<Option<Hidden>> = ValueType {
    placeholder: "SECRET",
    remedy: "the secret in the environment, or the path of a file that holds it",
    read: |text| Some((!text.is_empty()).then(|| Hidden::new(text))),
};

/// The database of projects and runs.
pub(super) const DATABASE: ValueType<metadata::Location> = ValueType {
    placeholder: "URL",
    remedy: "postgres://USER@HOST:PORT/NAME?sslmode=verify-full, with several hosts separated by commas, postgres: if other \
             settings name all that, or sqlite: for the data directory",
    read: metadata::Location::parse,
};

/// Any text on one line; `None` if empty.
pub(super) const LINE_OR_NONE: ValueType<Option<String>> = ValueType {
    placeholder: "TEXT",
    remedy: "text on one line",
    read: |text| match text {
        "" => Some(None),
        text => (!text.contains(char::is_control)).then(|| Some(text.to_owned())),
    },
};

/// A number of connections to a database. One is not enough, since a transaction may wait for another.
pub(super) const DATABASE_CONNECTIONS: ValueType<usize> = ValueType {
    placeholder: "N",
    remedy: "a whole number from 2 to 1000",
    read: |text| whole(text, 2, 1_000).map(|connections| connections as usize),
};

/// The treatment of an older schema at the start.
pub(super) const MIGRATE: ValueType<metadata::Migrate> = ValueType {
    placeholder: "auto|never",
    remedy: "auto or never",
    read: |text| match text {
        "auto" => Some(metadata::Migrate::Auto),
        "never" => Some(metadata::Migrate::Never),
        _ => None,
    },
};

/// The losses that the operator accepts.
pub(super) const LOSSES: ValueType<Losses> = ValueType {
    placeholder: "FILE:COMMIT",
    remedy: "the loss of metadata.db, buckets.db or postgresql as the error at start names it, such as metadata.db:1234",
    read: |text| {
        let stores = ["metadata.db", "buckets.db", metadata::postgres::NAME];
        Losses::parse(text).filter(|losses| losses.are_of(&stores))
    },
};

/// The identity of a data directory, or none.
pub(super) const IDENTITY_OR_NONE: ValueType<Option<Identity>> = ValueType {
    placeholder: "IDENTITY",
    remedy: "the 32 hexadecimal digits that the error at start names",
    read: |text| if text.is_empty() { Some(None) } else { Identity::parse(text).map(Some) },
};

/// A percentage.
pub(super) const PERCENT: ValueType<u8> = ValueType {
    placeholder: "PERCENT",
    remedy: "a whole number from 0 to 100",
    read: |text| whole(text, 0, 100).and_then(|percent| u8::try_from(percent).ok()),
};

/// The location of objects.
pub(super) const LOCATION: ValueType<Location> = ValueType {
    placeholder: "URL",
    remedy: "file:///DIR, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or gs://BUCKET/PREFIX",
    read: Location::parse,
};

/// The URL of a service; `None` if empty.
pub(super) const URL_OR_NONE: ValueType<Option<String>> = ValueType {
    placeholder: "URL",
    remedy: "an address such as https://s3.example.org:9000, without a path",
    read: |text| match text {
        "" => Some(None),
        text => service(text).map(Some),
    },
};

/// A host and port for clients, or auto.
pub(super) const ENDPOINT_OR_AUTO: ValueType<Option<String>> = ValueType {
    placeholder: "HOST:PORT",
    remedy: "a host and a port as clients reach them, such as s3.example.org:8852, or auto",
    read: |text| match text {
        "" | "auto" => Some(None),
        text => authority(text).then(|| Some(text.to_ascii_lowercase())),
    },
};

/// External object stores.
pub(super) const FOREIGN_ENDPOINTS: ValueType<ExternalEndpoints> = ValueType {
    placeholder: "ENDPOINTS",
    remedy: "hosts, with the port unless it is 443 (TLS) or 80, and networks, separated by commas, such as \
             s3.example.org,minio.lan:9000,10.1.0.0/16",
    read: ExternalEndpoints::parse,
};

/// The name of a bucket.
pub(super) const BUCKET: ValueType<String> = ValueType {
    placeholder: "BUCKET",
    remedy: "a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens, such as uploads",
    read: |text| {
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
        let ends =
            |text: &str| !text.starts_with(['.', '-']) && !text.ends_with(['.', '-']) && !text.contains("..");
        let named = (3..=63).contains(&text.len()) && text.bytes().all(inner) && ends(text);
        named.then(|| text.to_owned())
    },
};

/// Yes or no.
pub(super) const SWITCH: ValueType<bool> =
    ValueType { placeholder: "true|false", remedy: "true or false", read: switch };

/// Boolean variables of the reference service without effect here, since their features are built in. Their values are
/// checked nevertheless.
pub(super) const SWITCHES_WITHOUT_EFFECT: [&str; 2] = ["MINIO_SECURE", "DOWNLOAD_OBJECT_STORE_ENABLED"];

/// Yes, no, or automatic.
pub(super) const SWITCH_OR_AUTO: ValueType<Option<bool>> = ValueType {
    placeholder: "auto|true|false",
    remedy: "true, false or auto",
    read: |text| if text.eq_ignore_ascii_case("auto") { Some(None) } else { switch(text).map(Some) },
};

/// The lifetime of temporary credentials.
pub(super) const CREDENTIALS_S: ValueType<u64> = ValueType {
    placeholder: "S",
    remedy: "seconds from 900 to 604_800, such as 43_200, or a time such as 12h",
    read: |text| seconds(text, 900, 604_800),
};

/// A number of threads; 0 stands for one for each core.
pub(super) const THREADS: ValueType<usize> = ValueType {
    placeholder: "N",
    remedy: "a number of threads from 1 to 1024, or 0 for one on each core",
    read: |text| whole(text, 0, 1024).map(|threads| threads as usize),
};

/// The size of an encoding.
pub(super) const ENCODING_BYTES: ValueType<u32> = ValueType {
    placeholder: "BYTES",
    remedy: "bytes from 1 to 4096, such as 128",
    read: |text| whole(text, 1, 4096).and_then(|bytes| u32::try_from(bytes).ok()),
};

/// A size in bytes.
pub(super) const BYTES: ValueType<u64> = ValueType {
    placeholder: "BYTES",
    remedy: "bytes, at least 1, such as 4_000_000_000 or 4GB",
    read: |text| bytes(text, 1),
};

/// A size in bytes, or zero for none.
pub(super) const BYTES_OR_NONE: ValueType<u64> = ValueType {
    placeholder: "BYTES",
    remedy: "bytes, such as 10_737_418_240 or 10GiB, or 0 for none",
    read: |text| bytes(text, 0),
};

/// A number of uploads, each of which takes a thread.
pub(super) const UPLOADS: ValueType<usize> = ValueType {
    placeholder: "N",
    remedy: "a whole number from 1 to 4096",
    read: |text| whole(text, 1, 4096).map(|uploads| uploads as usize),
};

/// A number of partial uploads.
pub(super) const PARTIAL_UPLOADS: ValueType<usize> = ValueType {
    placeholder: "N",
    remedy: "a whole number from 1 to 100_000",
    read: |text| whole(text, 1, 100_000).map(|uploads| uploads as usize),
};

/// The origins whose pages may use the API.
pub(super) const ORIGINS: ValueType<Origins> = ValueType {
    placeholder: "ORIGINS",
    remedy: "origins such as https://study.example separated by commas, or * for all",
    read: |text| text.parse().ok(),
};

/// The compression of results.
pub(super) const COMPRESS: ValueType<Compress> = ValueType {
    placeholder: "auto|always|off",
    remedy: "auto, always or off",
    read: |text| match text {
        "auto" => Some(Compress::Auto),
        "always" => Some(Compress::Always),
        "off" => Some(Compress::Off),
        _ => None,
    },
};

/// The URL of a queue in Redis, or none.
pub(super) const QUEUE_URL: ValueType<Option<QueueUrl>> = ValueType {
    placeholder: "URL",
    remedy: "redis://[user@]host[:port][/database], rediss:// for TLS, or \
             redis-sentinel://host[:port],host[:port]/name[/database]",
    read: |text| if text.is_empty() { Some(None) } else { QueueUrl::parse(text).map(Some) },
};

/// The handling of a damaged queue.
pub(super) const ON_DAMAGE: ValueType<OnDamage> = ValueType {
    placeholder: "rebuild|refuse",
    remedy: "rebuild or refuse",
    read: |text| match text {
        "rebuild" => Some(OnDamage::Rebuild),
        "refuse" => Some(OnDamage::Refuse),
        _ => None,
    },
};

/// A count, at least one.
pub(super) const COUNT: ValueType<u64> =
    ValueType { placeholder: "N", remedy: "a whole number, at least 1, such as 300_000_000", read: positive };

/// A count, or `auto`.
pub(super) const COUNT_OR_AUTO: ValueType<Option<u64>> = ValueType {
    placeholder: "N|auto",
    remedy: "a whole number, at least 1, such as 300_000_000, or `auto`",
    read: |text| if text == "auto" { Some(None) } else { positive(text).map(Some) },
};

/// A comparison kernel, or `auto`.
pub(super) const KERNEL: ValueType<Option<KernelName>> = ValueType {
    placeholder: "NAME|auto",
    remedy: "auto, portable, popcnt, avx2, avx512, amx or neon",
    read: |text| if text == "auto" { Some(None) } else { text.parse().ok().map(Some) },
};

/// A size in bytes, or `auto`.
pub(super) const BYTES_OR_AUTO: ValueType<Option<u64>> = ValueType {
    placeholder: "BYTES|auto",
    remedy: "bytes, at least 1, such as 4_000_000_000 or 4GB, or `auto`",
    read: |text| if text == "auto" { Some(None) } else { bytes(text, 1).map(Some) },
};

/// The queues to serve.
pub(super) const QUEUE_SLOTS: ValueType<QueueSlots> = ValueType {
    placeholder: "QUEUES",
    remedy: "some of ingest, compute, highmemory and maintenance, such as compute=3,highmemory=1",
    read: |text| text.parse().ok(),
};

/// A number of days, or `off`.
pub(super) const DAYS_OR_OFF: ValueType<Option<u64>> = ValueType {
    placeholder: "DAYS|off",
    remedy: "days from 1 to 36_500, such as 30 or 30d, or `off`",
    read: |text| if text == "off" { Some(None) } else { days(text, 1, 36_500).map(Some) },
};

/// An interval.
pub(super) const PERIOD: ValueType<u64> = ValueType {
    placeholder: "MS",
    remedy: "milliseconds from 1_000 to 604_800_000, such as 3_600_000, or a time such as 1h",
    read: |text| milliseconds(text, 1_000, 604_800_000),
};

/// The time limit of a job.
pub(super) const DEADLINE: ValueType<u64> = ValueType {
    placeholder: "MS",
    remedy: "milliseconds from 100 to 2_592_000_000, such as 21_600_000, or a time such as 6h",
    read: |text| milliseconds(text, 100, 2_592_000_000),
};

/// The length of a lease, which must be long enough for heartbeats.
pub(super) const LEASE: ValueType<u64> = ValueType {
    placeholder: "MS",
    remedy: "milliseconds from 100 to 86_400_000, such as 30_000, or a time such as 30s",
    read: |text| milliseconds(text, 100, 86_400_000),
};

/// A waiting time; 0 means no waiting.
pub(super) const WAIT: ValueType<u64> = ValueType {
    placeholder: "MS",
    remedy: "milliseconds from 0 to 86_400_000, such as 25_000, or a time such as 25s",
    read: |text| milliseconds(text, 0, 86_400_000),
};

/// A retention time in hours.
pub(super) const HOURS: ValueType<u64> = ValueType {
    placeholder: "H",
    remedy: "hours from 1 to 87_600, such as 168, or a time such as 7d",
    read: |text| hours(text, 1, 87_600),
};

/// A domain, or `None` if it is empty.
pub(super) const DOMAIN_OR_NONE: ValueType<Option<String>> = ValueType {
    placeholder: "DOMAIN",
    remedy: "a domain without a port, such as s3.example.org",
    read: |text| if text.is_empty() { Some(None) } else { domain(text).map(Some) },
};

/// The events to log.
pub(super) const LOG_FILTER: ValueType<log::Filter> = ValueType {
    placeholder: "FILTER",
    remedy: "error, warn, info, debug, trace or off, or levels by module such as info,entityd::queue=debug",
    read: |text| text.parse().ok(),
};

/// The format of log lines.
pub(super) const LOG_FORMAT: ValueType<log::Format> = ValueType {
    placeholder: "auto|text|json",
    remedy: "auto, text or json",
    read: |text| match text {
        "auto" => Some(log::Format::Auto),
        "text" => Some(log::Format::Text),
        "json" => Some(log::Format::Json),
        _ => None,
    },
};

/// Request headers that may be logged.
pub(super) const HEADER_NAMES: ValueType<Vec<String>> = ValueType {
    placeholder: "NAMES",
    remedy: "names of request headers separated by commas, none of them carrying a secret as authorization does",
    read: |text| listed(text).map(loggable_header).collect(),
};

/// Words in the names of headers with secrets, such as `x-amz-security-token`. Such headers are never logged.
const SECRET_WORDS: [&str; 9] = [
    "authorization",
    "cookie",
    "credential",
    "password",
    "secret",
    "signature",
    "token",
    "api-key",
    "customer-key",
];

/// Returns the header's name in lower case, if it is valid and its values may be logged.
fn loggable_header(name: &str) -> Option<String> {
    let name = name.parse::<HeaderName>().ok()?;
    let secret = SECRET_WORDS.iter().any(|word| name.as_str().contains(word));
    (!secret).then(|| name.to_string())
}

/// Returns the domain in lower case, if it is valid: it consists of labels of letters, digits and hyphens.
fn domain(text: &str) -> Option<String> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(inner);
    (text.len() <= 253 && text.split('.').all(is_label)).then(|| text.to_ascii_lowercase())
}

/// Parses a network, or the address of one host.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Parses an address to listen on. Only a port, or a port after `localhost`, means the loopback address. A port after a
/// colon means every address, IPv4 and IPv6.
fn address(text: &str) -> Option<SocketAddr> {
    let port =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let (host, number) = text.rsplit_once(':').unwrap_or(("localhost", text));
    match (host.to_ascii_lowercase().as_str(), port(number)?) {
        ("localhost", port) => Some((Ipv4Addr::LOCALHOST, port).into()),
        ("", port) => Some((Ipv6Addr::UNSPECIFIED, port).into()),
        _ => text.parse().ok(),
    }
}

/// Returns true if the text is a host, with or without a port.
fn authority(text: &str) -> bool {
    let parsed = text.parse::<axum::http::uri::Authority>();
    parsed.is_ok_and(|authority| {
        // A port that is no number, or too large, is none for the parser.
        let is_whole = authority.port().is_some() || authority.host() == authority.as_str();
        !authority.host().is_empty() && !text.contains('@') && is_whole
    })
}

/// Parses the address of a service, without a trailing slash.
fn service(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    (["http", "https"].contains(&scheme) && authority(rest)).then(|| format!("{scheme}://{rest}"))
}

/// Splits a list at its commas and leaves out empty items.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn positive(text: &str) -> Option<u64> {
    whole(text, 1, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_labels_and_no_port() {
        let read = DOMAIN_OR_NONE.read;
        assert_eq!(read("S3.Example.org"), Some(Some("s3.example.org".to_owned())));
        assert_eq!(read(""), Some(None));
        for wrong in [".", "a..b", "a:80", "http://a", "a b", "*.a"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn endpoints_buckets_and_switches_are_checked() {
        assert_eq!((URL_OR_NONE.read)("http://Store:9000/"), Some(Some("http://Store:9000".to_owned())));
        for wrong in [
            "store:9000",
            "ftp://store",
            "http://",
            "http://a/b",
            "http://user@a",
            "http://a:99999",
            "http://a:",
        ] {
            assert_eq!((URL_OR_NONE.read)(wrong), None, "{wrong}");
        }
        assert_eq!((ENDPOINT_OR_AUTO.read)("S3.example.org:1"), Some(Some("s3.example.org:1".to_owned())));
        assert_eq!((ENDPOINT_OR_AUTO.read)("http://a"), None);
        assert!((BUCKET.read)("uploads").is_some() && (BUCKET.read)("a-b.c").is_some());
        for wrong in ["", "ab", "Uploads", "a/b", "-ab", "a..b", "a_b"] {
            assert_eq!((BUCKET.read)(wrong), None, "{wrong}");
        }
        for (written, read) in
            [("TRUE", true), ("Yes", true), ("on", true), ("1", true), ("OFF", false), ("no", false)]
        {
            assert_eq!((SWITCH.read)(written), Some(read), "{written}");
            assert_eq!((SWITCH_OR_AUTO.read)(written), Some(Some(read)), "{written}");
        }
        assert_eq!((SWITCH_OR_AUTO.read)("Auto"), Some(None));
        for wrong in ["", "maybe", "2", "auto", "y", "true false"] {
            assert_eq!((SWITCH.read)(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_port_is_an_address_and_so_is_localhost() {
        for (written, read) in [
            ("localhost:8851", "127.0.0.1:8851"),
            ("LocalHost:0", "127.0.0.1:0"),
            ("8851", "127.0.0.1:8851"),
            (":8851", "[::]:8851"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!((ADDRESS.read)(written), read.parse().ok(), "{written}");
            assert_eq!((ADDRESS_OR_NONE.read)(written), Some(read.parse().ok()), "{written}");
        }
        for wrong in
            ["", ":", "localhost", "localhost:", "here:1", "::1", "::1:80", "+1", ":+1", "65536", "1.2.3.4"]
        {
            assert_eq!((ADDRESS.read)(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn headers_with_secrets_are_never_logged() {
        let read = HEADER_NAMES.read;
        assert_eq!(
            read(" X-Request-Id, User-Agent,"),
            Some(vec!["x-request-id".into(), "user-agent".into()])
        );
        assert_eq!(read(""), Some(vec![]));
        for wrong in [
            "Authorization",
            "Proxy-Authorization",
            "x-request-id,cookie",
            "X-Amz-Security-Token",
            "x-amz-copy-source-server-side-encryption-customer-key",
            "X-Api-Key",
            "a header",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

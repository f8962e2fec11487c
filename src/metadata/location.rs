//! The location of the metadata: in the data directory, or in PostgreSQL.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// The location of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The metadata is in the file `metadata.db` of the data directory.
    Embedded,
    /// The metadata is in PostgreSQL.
    Postgres(Box<Address>),
}

/// The treatment of a store with an older schema when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Migrate {
    /// The store is migrated to the present schema.
    Auto,
    /// The store is rejected.
    Never,
}

/// The URL of a database in PostgreSQL. It prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The settings of the URL, except the verification of certificates.
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) ca_file: Option<PathBuf>,
    /// The files of the client certificate and of its key.
    pub(super) certificate: (Option<PathBuf>, Option<PathBuf>),
    shown: String,
}

/// The use of TLS: the values of libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tls {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "disable" => Some(Self::Disable),
            "allow" | "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }
}

impl Location {
    /// Parses an empty text, `sqlite:`, or a URL such as `postgres://user@host:5432,host2/name?sslmode=verify-full`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "sqlite:" => Some(Self::Embedded),
            _ => Address::parse(text).map(|address| Self::Postgres(Box::new(address))),
        }
    }

    /// Returns true if the URL contains a password.
    pub fn has_password(&self) -> bool {
        matches!(self, Self::Postgres(address) if address.config.get_password().is_some())
    }

    /// Returns true if the metadata is in PostgreSQL and the URL names no host.
    pub fn lacks_host(&self) -> bool {
        matches!(self, Self::Postgres(address) if address.config.get_hosts().is_empty())
    }

    /// Returns true if the metadata is in the data directory.
    pub const fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => Ok(()),
            Self::Postgres(address) => f.write_str(&address.shown),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("postgresql:").or_else(|| text.strip_prefix("postgres:"))?;
        let rest = if rest.is_empty() { "//" } else { rest };
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut tls, mut ca_file, mut certificate, mut others) =
            (Tls::Prefer, None, (None, None), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("sslmode", mode) => tls = Tls::parse(mode)?,
                ("sslrootcert", path) => ca_file = Some(decoded(path)?),
                ("sslcert", path) => certificate.0 = Some(decoded(path)?),
                ("sslkey", path) => certificate.1 = Some(decoded(path)?),
                // A connection pooler would lose settings made by `options`. This program itself resolves names, and
                // tries hosts in order.
                ("options" | "hostaddr" | "load_balance_hosts", _) => return None,
                _ => others.push(pair),
            }
        }
        let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        let mut config: Config = format!("postgres:{base}{query}").parse().ok()?;
        config.ssl_mode(match tls {
            Tls::Disable => SslMode::Disable,
            Tls::Prefer => SslMode::Prefer,
            Tls::Require | Tls::VerifyCa | Tls::VerifyFull => SslMode::Require,
        });
        // With several hosts, only the primary accepts writes.
        if config.get_hosts().len() > 1 && !query.contains("target_session_attrs") {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Some(Self { config, tls, ca_file, certificate, shown: without_password(text) })
    }

    /// Returns the hosts with their ports.
    pub(super) fn hosts(config: &Config) -> Vec<(Host, u16)> {
        let ports = config.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        config.get_hosts().iter().enumerate().map(|(index, host)| (host.clone(), port(index))).collect()
    }

    /// Returns the hosts with their ports, for messages.
    pub(super) fn place(config: &Config) -> String {
        let host = |(host, port): &(Host, u16)| match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => path.display().to_string(),
        };
        Self::hosts(config).iter().map(host).collect::<Vec<_>>().join(",")
    }
}

/// Returns a URL for messages: without its password, wherever the password is in it.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (base, query) = rest.split_once('?').map_or((rest, None), |(base, query)| (base, Some(query)));
    let base = match base.rsplit_once('@') {
        Some((credentials, place)) => match credentials.split_once(':') {
            Some((user, _)) => format!("{user}:***@{place}"),
            None => base.to_owned(),
        },
        None => base.to_owned(),
    };
    let parameter = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if key.contains("password") => format!("{key}=***"),
        _ => pair.to_owned(),
    };
    match query {
        Some(query) => {
            let query: Vec<_> = query.split('&').map(parameter).collect();
            format!("{scheme}://{base}?{}", query.join("&"))
        }
        None => format!("{scheme}://{base}"),
    }
}

/// Decodes a path in a parameter of a URL.
fn decoded(text: &str) -> Option<PathBuf> {
    // In a path, `+` does not stand for a space.
    let pair = format!("path={}", text.replace('+', "%2B"));
    let (_, path) = form_urlencoded::parse(pair.as_bytes()).find(|(key, _)| key == "path")?;
    (!path.is_empty()).then(|| PathBuf::from(path.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        match Location::parse(text) {
            Some(Location::Postgres(address)) => *address,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_url_names_hosts_user_database_and_tls() {
        let whole =
            address("postgres://me:s3cr%40t@a:1,b:2/linkage?sslmode=verify-full&sslrootcert=/etc/ca%20x.pem");
        assert_eq!(Address::place(&whole.config), "a:1,b:2");
        assert_eq!(whole.config.get_user(), Some("me"));
        assert_eq!(whole.config.get_dbname(), Some("linkage"));
        assert_eq!(whole.config.get_password(), Some(b"s3cr@t".as_slice()));
        assert_eq!(whole.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!((whole.tls, whole.ca_file), (Tls::VerifyFull, Some("/etc/ca x.pem".into())));
        let identified =
            address("postgres://me@a/linkage?sslcert=/etc/me.pem&sslmode=require&sslkey=/etc/me%20.key");
        assert_eq!(identified.certificate, (Some("/etc/me.pem".into()), Some("/etc/me .key".into())));
        let bare = address("postgres:");
        assert!(bare.config.get_hosts().is_empty() && bare.tls == Tls::Prefer);
        assert_eq!(address("postgresql://h").config.get_target_session_attrs(), TargetSessionAttrs::Any);
        assert_eq!(Location::parse(""), Some(Location::Embedded));
        assert_eq!(Location::parse("sqlite:"), Some(Location::Embedded));
        for wrong in [
            "postgres",
            "mysql://a",
            "postgres://a/b?sslmode=maybe",
            "postgres://a/b?what=1",
            "postgres://a/b?options=-cx",
            "postgres://a/b?hostaddr=127.0.0.1",
            "postgres://a:b:c/d",
            "sqlite:/x",
        ] {
            assert_eq!(Location::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_form_of_it_shows_the_password() {
        for url in [
            "postgres://me:hush@host/db",
            "postgres://me:hu@sh@host/db?x=1",
            "postgres://host/db?user=me&password=hush",
            "broken://me:hush@host",
        ] {
            let shown = without_password(url);
            assert!(!shown.contains("hush") && !shown.contains("sh@"), "{shown}");
            if let Some(location) = Location::parse(url) {
                let shown = format!("{location} {location:?} {}", serde_json::to_string(&location).unwrap());
                assert!(!shown.contains("hush"), "{shown}");
                assert!(location.has_password());
            }
        }
    }
}

//! The URL of a queue, and access to its servers.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates,
};
use serde::{Serialize, Serializer};

use super::checks::{FULL, LONELY, UNWRITABLE};
use crate::edge::tls::client_rejection;
use crate::system::outgoing;
use crate::system::secret::Hidden;

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(2);
/// The time without an answer after which a connection counts as lost.
const RESPONSE: Duration = Duration::from_secs(3);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    fn parse(text: &str, port: u16) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if rest.is_empty() => port,
            None => return None,
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        let good = !host.is_empty() && host.bytes().all(is_host);
        good.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The way to find the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A server, which must be a master.
    Server(Address),
    /// Sentinels that know the master of this name.
    Sentinels { addresses: Vec<Address>, name: String },
}

/// The URL of a queue in Redis. It prints without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrl {
    tls: bool,
    pub(super) target: Target,
    user: Option<String>,
    password: Option<Hidden>,
    pub(super) database: u32,
}

impl QueueUrl {
    /// Parses `redis://[user[:password]@]host[:port][/database]`, the same with `rediss` for TLS, or
    /// `redis-sentinel://[user[:password]@]host[:port],…/name[/database]`, with `rediss-sentinel` for TLS.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (tls, watched) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis-sentinel" => (false, true),
            "rediss-sentinel" => (true, true),
            _ => return None,
        };
        let (user, password, rest) = credentials(rest)?;
        let mut parts = rest.split('/');
        let port = if watched { 26_379 } else { 6_379 };
        let addresses: Option<Vec<_>> =
            parts.next()?.split(',').map(|text| Address::parse(text, port)).collect();
        let addresses = addresses?;
        let target = if watched {
            let name = parts.next().filter(|name| is_word(name))?.to_owned();
            Target::Sentinels { addresses, name }
        } else {
            Target::Server(<[Address; 1]>::try_from(addresses).ok()?.into_iter().next()?)
        };
        let database = match parts.next() {
            None | Some("") => 0,
            Some(number) => number.parse().ok()?,
        };
        parts.next().is_none().then_some(Self { tls, target, user, password, database })
    }

    /// Returns true if the connections use TLS.
    pub fn has_tls(&self) -> bool {
        self.tls
    }

    /// Returns true if the URL contains a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// The user, the password, and the rest of the URL.
type Credentials<'a> = (Option<String>, Option<Hidden>, &'a str);

fn credentials(rest: &str) -> Option<Credentials<'_>> {
    let Some((credentials, rest)) = rest.rsplit_once('@') else { return Some((None, None, rest)) };
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(Hidden::new(&unescaped(password)?))),
        None => (credentials, None),
    };
    let user = unescaped(user)?;
    Some(((!user.is_empty()).then_some(user), password, rest))
}

/// Decodes percent-encoded characters such as `%40`.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let mut decoded = [0];
            hex::decode_to_slice(after.get(..2)?, &mut decoded).ok()?;
            bytes.push(decoded[0]);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().map_or(String::new(), |user| format!("{user}@"));
        let (s, database) = (if self.tls { "s" } else { "" }, self.database);
        match &self.target {
            Target::Server(address) => write!(f, "redis{s}://{user}{address}/{database}"),
            Target::Sentinels { addresses, name } => {
                let addresses: Vec<_> = addresses.iter().map(Address::to_string).collect();
                write!(f, "redis{s}-sentinel://{user}{}/{name}/{database}", addresses.join(","))
            }
        }
    }
}

impl Serialize for QueueUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Certificates for TLS, each in PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The certificates of the trusted authorities; `None` stands for those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The certificate of this client.
    pub certificate: Option<Vec<u8>>,
    /// The file with the key of the certificate.
    pub key: Option<Hidden>,
}

/// Everything that a connection needs.
#[derive(Clone, Debug)]
pub struct Access {
    url: QueueUrl,
    password: Option<Hidden>,
    tls: TlsFiles,
}

impl Access {
    /// Returns the access to `url`. `password` overrides the password in the URL.
    pub fn new(url: QueueUrl, password: Option<Hidden>, tls: TlsFiles) -> Self {
        let password = password.or_else(|| url.password.clone());
        Self { url, password, tls }
    }

    pub(super) fn url(&self) -> &QueueUrl {
        &self.url
    }

    /// Returns a client of the server at an address.
    pub(super) fn server(&self, address: &Address) -> Result<Client, RedisError> {
        self.client(address, self.login().set_db(i64::from(self.url.database)))
    }

    /// Returns a client of a Sentinel. If `login` is true, it uses the password of the server.
    pub(super) fn sentinel(&self, address: &Address, login: bool) -> Result<Client, RedisError> {
        self.client(address, if login { self.login() } else { anonymous() })
    }

    /// Returns true if connections use TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.url.tls
    }

    /// Returns true if there is a password.
    pub(super) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut login = anonymous();
        if let Some(password) = &self.password {
            login = login.set_password(password.reveal().as_str());
            if let Some(user) = &self.url.user {
                login = login.set_username(user);
            }
        }
        login
    }

    fn client(&self, address: &Address, login: RedisConnectionInfo) -> Result<Client, RedisError> {
        let (host, port) = (address.host.clone(), address.port);
        let info = |address: ConnectionAddr| -> Result<ConnectionInfo, RedisError> {
            let info = address.into_connection_info()?.set_redis_settings(login.set_skip_set_lib_name());
            let tcp = info.tcp_settings().clone().set_nodelay(true);
            Ok(info.set_tcp_settings(tcp))
        };
        if !self.url.tls {
            return Client::open(info(ConnectionAddr::Tcp(host, port))?);
        }
        let client_tls = self.tls.certificate.as_ref().zip(self.tls.key.as_ref());
        let client_tls = client_tls.map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone(),
            client_key: key.reveal().as_bytes().to_vec(),
        });
        let certificates = TlsCertificates { client_tls, root_cert: self.tls.authorities.clone() };
        let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
        Client::build_with_tls(info(address)?, certificates)
    }
}

/// Explains an error in the certificate of the server or of this client, with the settings to check; returns `None`
/// for any other error.
pub(super) fn certificate_fault(error: &RedisError) -> Option<String> {
    let said = error.to_string();
    if let Some(rejection) = client_rejection(&said) {
        return Some(format!("{rejection}; check --queue-cert and --queue-key ({said})"));
    }
    said.contains("invalid peer certificate").then(|| format!("{said}; check the host name, and --queue-ca"))
}

/// Returns the text of an error, with what the operator can do about it.
pub(super) fn explained(error: &RedisError) -> String {
    let said = error.to_string();
    // A script reports the error of its command in its own text.
    let is = |code: &str| error.code() == Some(code) || error.code().is_some() && said.contains(code);
    if let Some(fault) = certificate_fault(error) {
        fault
    } else if is("WRONGPASS") {
        "it rejects the user or the password; check the user in --queue, and --queue-password-file".to_owned()
    } else if is("NOAUTH") {
        "it asks for a password; give --queue-password-file or ENTITYD_QUEUE_PASSWORD".to_owned()
    } else if is("OOM") {
        FULL.to_owned()
    } else if is("NOREPLICAS") {
        LONELY.to_owned()
    } else if is("MISCONF") {
        UNWRITABLE.to_owned()
    } else if said.contains("unknown command 'SENTINEL'") {
        "it is no Sentinel; give redis://, or the addresses of the Sentinels".to_owned()
    } else {
        said
    }
}

/// Returns the settings of a connection without a password. RESP3 delivers notifications on the same connection as
/// answers.
fn anonymous() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3)
}

/// Returns the time limits of a connection, and its name resolution.
pub(super) fn limits() -> AsyncConnectionConfig {
    let limits = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT));
    limits.set_response_timeout(Some(RESPONSE)).set_dns_resolver(Names)
}

/// Resolves host names in the same way as all other connections of this process.
struct Names;

impl AsyncDNSResolver for Names {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        async move {
            let addresses = outgoing::addresses(host).await?;
            let addresses = addresses.into_iter().map(move |address| SocketAddr::new(address, port));
            Ok(Box::new(addresses) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_print_as_they_are_read_without_their_passwords() {
        for (text, printed) in [
            ("redis://host", "redis://host:6379/0"),
            ("redis://host:1/", "redis://host:1/0"),
            ("rediss://worker@host:6380/3", "rediss://worker@host:6380/3"),
            ("redis://:s%40cret@[::1]:7/0", "redis://[::1]:7/0"),
            ("redis-sentinel://a,b:1,c/mymaster/2", "redis-sentinel://a:26379,b:1,c:26379/mymaster/2"),
            ("rediss-sentinel://u:p@a/m", "rediss-sentinel://u@a:26379/m/0"),
        ] {
            let url = QueueUrl::parse(text).expect(text);
            assert_eq!(url.to_string(), printed);
            assert!(!format!("{url:?}").contains("cret"), "{url:?}");
        }
        let url = QueueUrl::parse("redis://:s%40cret@host").unwrap();
        assert_eq!(url.password.unwrap().reveal().as_str(), "s@cret");
    }

    #[test]
    fn an_invalid_url_is_refused() {
        for text in [
            "",
            "host",
            "http://host",
            "redis://",
            "redis://a,b",
            "redis://host:0",
            "redis://host:x",
            "redis://host/x",
            "redis://host/1/2",
            "redis://host/0?a=b",
            "redis-sentinel://a",
            "redis-sentinel://a/",
            "redis://u:%4@host",
            "redis://ho st",
        ] {
            assert_eq!(QueueUrl::parse(text), None, "{text}");
        }
    }
}

//! The connections to PostgreSQL.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, Row};
use zeroize::Zeroizing;

use super::connect::Connector;
use super::error::{Fault, Kind};
use super::statement::{Statement, run_all};
use super::tls;
use crate::edge::tls::ClientCertificate;
use crate::metadata::location::{Address, Tls};

/// The idle time of a connection after which the system probes it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// The interval of the probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// The settings of the connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL.
    pub address: Address,
    /// The host, with its port unless that is 5432; used if the URL names no host.
    pub server: Option<String>,
    /// The name of the database; used if the URL names none.
    pub name: Option<String>,
    /// The user; used if the URL names none.
    pub user: Option<String>,
    /// The password, which overrides that in the URL.
    pub password: Option<Zeroizing<String>>,
    /// The file with root certificates in PEM.
    pub ca_file: Option<PathBuf>,
    /// The file of the client certificate in PEM, which overrides the one in the URL.
    pub cert_file: Option<PathBuf>,
    /// The file of its private key in PEM, which overrides the one in the URL.
    pub key_file: Option<PathBuf>,
    /// The maximum number of concurrent connections.
    pub connections_max: usize,
    /// The time limit of a connection attempt, and of a transaction.
    pub timeout: Duration,
}

impl Settings {
    /// Adds the parts that the URL lacks.
    ///
    /// # Errors
    /// A message about a missing or invalid part.
    fn complete(&self) -> Result<Config, String> {
        let mut config = self.address.config.clone();
        if config.get_hosts().is_empty() {
            let server = self.server.as_deref().ok_or(
                "--database names no host; write postgres://user@host/name, or give --database-server",
            )?;
            let (host, port) = match server.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.starts_with('[') => {
                    let port = port.parse().map_err(|_| format!("--database-server {server}: no port"))?;
                    (host, port)
                }
                _ => (server, 5432),
            };
            config.host(host.trim_matches(['[', ']'])).port(port);
        }
        if let Some(user) = self.user.as_deref().filter(|_| config.get_user().is_none()) {
            config.user(user);
        }
        if let Some(name) = self.name.as_deref().filter(|_| config.get_dbname().is_none()) {
            config.dbname(name);
        }
        if let Some(password) = &self.password {
            config.password(password.as_bytes());
        }
        if config.get_application_name().is_none() {
            config.application_name("entityd");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.timeout);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(self.timeout.saturating_mul(2));
        }
        if config.get_keepalives_interval().is_none() {
            config
                .keepalives_idle(KEEPALIVE_IDLE)
                .keepalives_interval(KEEPALIVE_INTERVAL)
                .keepalives_retries(KEEPALIVE_RETRIES);
        }
        Ok(config)
    }

    /// Returns the files of the client certificate and of its key, if there is one.
    ///
    /// # Errors
    /// A message, if one of them is missing, or if TLS is off.
    fn certificate(&self) -> Result<Option<ClientCertificate>, String> {
        let (certificate, key) = &self.address.certificate;
        let certificate = self.cert_file.as_ref().or(certificate.as_ref());
        match (certificate, self.key_file.as_ref().or(key.as_ref())) {
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err("a client certificate needs its private key; give --database-key-file".to_owned())
            }
            (None, Some(_)) => {
                Err("the key of a client certificate needs the certificate; give --database-cert-file"
                    .to_owned())
            }
            (Some(_), Some(_)) if self.address.tls == Tls::Disable => {
                Err("a client certificate needs TLS; give sslmode=verify-full in --database".to_owned())
            }
            (Some(certificate), Some(key)) => {
                Ok(Some(ClientCertificate { certificate: certificate.clone(), key: key.clone() }))
            }
        }
    }
}

/// The pool of connections.
#[derive(Debug)]
pub(super) struct Link {
    pool: Pool,
    /// The hosts and ports, for messages.
    place: String,
    /// The host of the latest connection.
    in_use: Arc<Mutex<Option<String>>>,
    /// The latest number of a change that the database has confirmed to this process; 0 before the first.
    confirmed: Arc<AtomicU64>,
    timeout: Duration,
    /// The statement that begins a transaction with writes.
    begin: String,
    /// True if the server is on another machine, and its certificate is not verified.
    is_unverified: bool,
}

impl Link {
    /// Prepares connections; opens none.
    pub(super) fn new(settings: &Settings) -> Result<Self, Fault> {
        let refused = |problem: String| Fault::new(Kind::Refused, problem);
        let config = settings.complete().map_err(refused)?;
        let place = Address::place(&config);
        let ca_file = settings.ca_file.as_deref().or(settings.address.ca_file.as_deref());
        let own = settings.certificate().map_err(refused)?;
        let connector = tls::connector(settings.address.tls, ca_file, own.as_ref()).map_err(refused)?;
        let is_unverified = settings.address.tls < Tls::VerifyCa && !is_local(&config);
        let (in_use, confirmed) = (Arc::default(), Arc::default());
        let manager = Manager::from_connect(
            config,
            Connector { tls: connector, in_use: Arc::clone(&in_use), confirmed: Arc::clone(&confirmed) },
            ManagerConfig { recycling_method: RecyclingMethod::Verified },
        );
        let pool = Pool::builder(manager)
            .max_size(settings.connections_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.timeout))
            .create_timeout(Some(settings.timeout))
            .recycle_timeout(Some(settings.timeout / 2))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let millis = settings.timeout.as_millis();
        // `SET LOCAL`: with a pooler, the next transaction on a connection may be that of another client.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {millis}; \
             SET LOCAL statement_timeout = {millis}; SET LOCAL idle_in_transaction_session_timeout = {millis}; \
             SET LOCAL synchronous_commit = on"
        );
        Ok(Self { pool, place, in_use, confirmed, timeout: settings.timeout, begin, is_unverified })
    }

    /// Returns a warning, if the identity of the server is not verified.
    pub(super) fn unverified(&self) -> Option<String> {
        self.is_unverified.then(|| {
            format!(
                "the identity of PostgreSQL at {} is not verified; give sslmode=verify-full in --database",
                self.place
            )
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Returns the host of the latest connection; all hosts if there was none.
    pub(super) fn in_use(&self) -> String {
        self.in_use.lock().clone().unwrap_or_else(|| self.place.clone())
    }

    /// Records the number of a change that was confirmed.
    pub(super) fn confirm(&self, number: u64) {
        self.confirmed.fetch_max(number, Ordering::AcqRel);
    }

    /// Returns the latest number that was confirmed.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the statements that begin a transaction with writes.
    pub(super) fn begin(&self) -> &str {
        &self.begin
    }

    /// Returns a connection from the pool.
    pub(super) async fn connection(&self) -> Result<Connection, Fault> {
        let found = timeout(self.timeout, self.pool.get()).await.map_err(|_| self.silent())?;
        found.map(|object| Connection(Some(object))).map_err(|error| Fault::from(error).at(&self.place))
    }

    /// Runs statements that only read, in one snapshot. Returns the rows of each statement.
    pub(super) async fn read(&self, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Fault> {
        let repeated = async {
            match self.read_once(statements).await {
                // The connection may have been cut while it was idle. Reads may be repeated.
                Err(fault) if fault.kind == Kind::Unavailable => self.read_once(statements).await,
                done => done,
            }
        };
        timeout(self.timeout, repeated).await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn read_once(&self, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Fault> {
        let connection = self.connection().await?;
        let rows = if statements.len() == 1 {
            run_all(&connection, statements).await
        } else {
            let begin = connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            let (begun, rows, ended) = tokio::join!(biased; begin, run_all(&connection, statements), connection.batch_execute("COMMIT"));
            begun.and(rows).and_then(|rows| ended.map(|()| rows))
        };
        let rows = rows.map_err(|error| self.explain(error))?;
        connection.keep();
        Ok(rows)
    }

    /// Runs statements in one transaction that may be repeated without harm.
    pub(super) async fn write(&self, statements: &[Statement]) -> Result<(), Fault> {
        self.write_and_read(statements).await.map(drop)
    }

    /// Like [`write`](Self::write), and returns the rows of each statement.
    pub(super) async fn write_and_read(&self, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Fault> {
        let repeated = async {
            match self.write_once(statements).await {
                Err(fault) if matches!(fault.kind, Kind::Unavailable | Kind::Conflict) => {
                    self.write_once(statements).await
                }
                done => done,
            }
        };
        timeout(self.timeout, repeated).await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn write_once(&self, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Fault> {
        let connection = self.connection().await?;
        let begin = connection.batch_execute(&self.begin);
        let (begun, written, committed) =
            tokio::join!(biased; begin, run_all(&connection, statements), connection.batch_execute("COMMIT"));
        let rows = begun.and(written).and_then(|rows| committed.map(|()| rows));
        let rows = rows.map_err(|error| self.explain(error))?;
        connection.keep();
        Ok(rows)
    }

    pub(super) fn explain(&self, error: tokio_postgres::Error) -> Fault {
        Fault::from(error).at(&self.place)
    }

    /// Returns the fault for a server that does not answer.
    pub(super) fn silent(&self) -> Fault {
        let message = format!("no answer for {:.1} s (--database-timeout-ms)", self.timeout.as_secs_f64());
        Fault::new(Kind::Unavailable, message).at(&self.place)
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// Returns true if every host is on this machine.
fn is_local(config: &Config) -> bool {
    use tokio_postgres::config::Host;
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

/// A connection. Dropping it closes it, since a transaction may be open, unless [`keep`](Self::keep) is called.
pub(super) struct Connection(Option<Object>);

impl Connection {
    /// Returns the connection to the pool. It must have no open transaction.
    pub(super) fn keep(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0.as_ref().expect("a connection is open until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

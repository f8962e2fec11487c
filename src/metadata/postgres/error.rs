//! The errors of PostgreSQL, with remedies.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, SqlState};

use crate::edge::tls::client_rejection;
use crate::metadata::store::Error;
use crate::telemetry::chain;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server did not answer. A retry may help.
    Unavailable,
    /// All connections are in use, or another transaction holds a lock for too long. A retry may help.
    Busy,
    /// The disk of the server is full.
    Full,
    /// The server rejects this program. A retry does not help until an operator acts.
    Refused,
    /// The stored data is invalid.
    Damaged,
    /// The transaction was rolled back because of a conflict with another one. It may be repeated at once.
    Conflict,
}

/// A failure with its message.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Adds the server to the message.
    pub(super) fn at(mut self, place: &str) -> Self {
        self.message = format!("PostgreSQL at {place}: {}", self.message);
        self
    }

    /// Returns true if the operation may succeed later without an operator.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Busy | Kind::Conflict)
    }

    /// Returns the error for the start of a server, where a rejection is final.
    pub(super) fn at_start(self) -> Error {
        if self.kind == Kind::Refused { Error::Unfit(self.message) } else { self.into() }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Unavailable | Kind::Refused | Kind::Conflict => Self::Unavailable(fault.message.into()),
            Kind::Busy => {
                tracing::debug!("{}", fault.message);
                Self::Busy
            }
            Kind::Full => Self::Full(fault.message.into()),
            Kind::Damaged => Self::Damaged(fault.message),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        error.as_db_error().map_or_else(|| without_answer(&error), of_server)
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(TimeoutType::Wait) => {
                Self::new(Kind::Busy, "all connections are in use (--database-connections-max)")
            }
            PoolError::Timeout(_) => {
                Self::new(Kind::Unavailable, "no connection within the time limit (--database-timeout-ms)")
            }
            error => Self::new(Kind::Unavailable, chain(&error)),
        }
    }
}

/// Returns the failure of a connection.
fn without_answer(error: &tokio_postgres::Error) -> Fault {
    let said = chain(error);
    if let Some(rejection) = client_rejection(&said) {
        let advice = "check --database-cert-file and --database-key-file";
        return Fault::new(Kind::Refused, format!("{rejection}; {advice} ({said})"));
    }
    let advice = [
        ("password missing", "it asks for a password; give one with --database-password-file"),
        (
            "does not support TLS",
            "the server has no TLS; turn it on there, or give sslmode=disable in --database",
        ),
        ("does not allow writes", "only servers that refuse to write answer; name the primary in --database"),
        ("certificate", "check sslmode, the host name, and the root certificates in --database-ca-file"),
    ];
    let Some((_, advice)) = advice.iter().find(|(sign, _)| said.contains(sign)) else {
        return Fault::new(Kind::Unavailable, said);
    };
    let kind = if said.contains("does not allow writes") { Kind::Unavailable } else { Kind::Refused };
    Fault::new(kind, format!("{said}; {advice}"))
}

/// Returns the failure that the server reports, without its details, which may quote values.
fn of_server(error: &DbError) -> Fault {
    let said = error.message();
    let code = error.code();
    let with = |kind, advice: &str| Fault::new(kind, format!("{said}; {advice}"));
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
        Fault::new(Kind::Conflict, said)
    } else if [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED].contains(code) {
        Fault::new(Kind::Busy, said)
    } else if *code == SqlState::DISK_FULL {
        with(Kind::Full, "make room on the disk of the database server")
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        with(
            Kind::Unavailable,
            "lower --database-connections-max on the nodes, or raise max_connections and the limits of the user and the \
             database",
        )
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        with(
            Kind::Unavailable,
            "the server is a standby or was made read-only; name the primary in --database, or several hosts",
        )
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION && said.contains("certificate") {
        with(
            Kind::Refused,
            "give --database-cert-file and --database-key-file, with the user in --database as the CN of the certificate, \
             and check pg_hba.conf",
        )
    } else if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code) {
        with(Kind::Refused, "check the user in --database, --database-password-file, and pg_hba.conf")
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        with(Kind::Refused, "create it: CREATE DATABASE name OWNER user ENCODING 'UTF8' TEMPLATE template0")
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        with(
            Kind::Refused,
            "make the user the owner of the database, or create the schema for it: CREATE SCHEMA entityd AUTHORIZATION user",
        )
    } else if ["42P01", "42703", "3F000"].contains(&code.code()) {
        with(
            Kind::Damaged,
            "the tables of entityd are not as it made them; restore the database from a backup",
        )
    } else if is_passing(code) {
        Fault::new(Kind::Unavailable, said)
    } else {
        Fault::new(Kind::Damaged, format!("{said} (SQLSTATE {})", code.code()))
    }
}

/// Returns true if the SQLSTATE is in one of these classes: connection exceptions, insufficient resources, operator
/// intervention, system errors.
fn is_passing(code: &SqlState) -> bool {
    ["08", "53", "57", "58", "25"].iter().any(|class| code.code().starts_with(class))
}

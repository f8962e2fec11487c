//! Connects to the master, and takes over its queue.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, RedisError, Role};

use super::access::{Access, Address, Target, certificate_fault, explained, limits};
use super::checks::{Info, warnings};
use super::event::Event;
use super::link::{Link, ROOT, Session, Trouble, evaluate};
use super::{scripts, sentinel};
use crate::queue::Error;
use crate::system::engine;

/// The number of keys examined at a time when the keys of lost queues are removed.
const SWEEP: usize = 1_000;

/// The reason why connecting gave no session.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Redis is unavailable; a later attempt may succeed.
    Absent(String),
    /// Redis answers, but cannot be used before its settings are changed.
    Unusable(String),
    /// Another process has taken over the queue.
    Taken,
}

impl Refusal {
    /// Adds the address of the server.
    fn at(self, address: &Address) -> Self {
        match self {
            Self::Absent(reason) => Self::Absent(format!("Redis at {address}: {reason}")),
            Self::Unusable(reason) => Self::Unusable(format!("Redis at {address}: {reason}")),
            Self::Taken => Self::Taken,
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Absent(reason) | Self::Unusable(reason) => reason.clone(),
            Self::Taken => {
                "another process has taken over the queue in Redis; only one may use it".to_owned()
            }
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Unusable(error.reason())
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(reason) | Trouble::Lost(reason) => Self::Absent(reason),
            Trouble::Failed(error) => Self::Absent(error.reason()),
        }
    }
}

impl From<RedisError> for Refusal {
    fn from(error: RedisError) -> Self {
        let is_permanent =
            matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig)
                || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
                || certificate_fault(&error).is_some();
        let reason = explained(&error);
        if is_permanent { Self::Unusable(reason) } else { Self::Absent(reason) }
    }
}

impl Link {
    /// Finds the master, checks it, and takes over the queue.
    pub(super) async fn connect(&self) -> Result<Arc<Session>, Refusal> {
        let address = master(&self.settings.access).await.map_err(Refusal::Absent)?;
        self.enter(address.clone()).await.map_err(|refusal| refusal.at(&address))
    }

    async fn enter(&self, address: Address) -> Result<Arc<Session>, Refusal> {
        let number = self.sessions.fetch_add(1, Ordering::AcqRel) + 1;
        let limits = limits().set_push_sender(self.ears(number));
        let mut connection = connected(&self.settings.access, &address, &limits).await?;
        let info = check(&connection).await?;
        self.warn(&connection, &info).await;
        connection.subscribe(format!("{ROOT}wake")).await?;
        let standing = self.attach(&connection, number).await?;
        let session = Session { number, address, connection, standing };
        if !self.attached.load(Ordering::Acquire) {
            let shares = u8::from(self.settings.shared.is_some());
            self.run(&session, &scripts::TAKE_OVER, None, |command| _ = command.arg(shares)).await?;
            self.attached.store(true, Ordering::Release);
            sweep(&session);
        }
        let orphans = self.orphans.lock().clone();
        if !orphans.is_empty() {
            let adopt = self.run(&session, &scripts::ORPHANS, None, |command| {
                orphans.iter().for_each(|token| _ = command.arg(*token));
            });
            adopt.await?;
            self.orphans.lock().retain(|token| !orphans.contains(token));
        }
        Ok(Arc::new(session))
    }

    async fn warn(&self, connection: &MultiplexedConnection, info: &Info) {
        for warning in warnings(connection, info).await {
            let is_new = {
                let mut told = self.told.lock();
                let is_new = !told.contains(&warning);
                told.extend(is_new.then(|| warning.clone()));
                is_new
            };
            if is_new {
                tracing::warn!("the queue in Redis may lose jobs: {warning}");
            }
        }
    }

    /// Returns a function that handles the notifications of a connection: new jobs, and the end of the connection.
    fn ears(&self, session: u64) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync + 'static {
        let (events, news) = (self.events.clone(), Arc::clone(&self.wake));
        move |told| {
            match told.kind {
                PushKind::Message => news.notify_waiters(),
                PushKind::Disconnection => {
                    let reason = "the connection was closed".to_owned();
                    // The receiver exists until the queue is closed.
                    let _ = events.send(Event::Lost { session, reason });
                }
                _ => {}
            }
            Ok(())
        }
    }
}

/// Returns the address of the master.
pub(super) async fn master(access: &Access) -> Result<Address, String> {
    match &access.url().target {
        Target::Server(address) => Ok(address.clone()),
        Target::Sentinels { addresses, name } => sentinel::master(access, addresses, name).await,
    }
}

/// Connects to a server. If it answers in another protocol than that of the URL, the error says so.
async fn connected(
    access: &Access,
    address: &Address,
    limits: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Refusal> {
    let client = access.server(address)?;
    client.get_multiplexed_async_connection_with_config(limits).await.map_err(|error| {
        let hint = if access.has_tls() && error.is_timeout() {
            "; if it has no TLS, give redis:// or redis-sentinel://"
        } else if !access.has_tls() && error.is_connection_dropped() {
            "; if it has TLS, give rediss:// or rediss-sentinel://"
        } else {
            ""
        };
        match Refusal::from(error) {
            Refusal::Absent(reason) => Refusal::Absent(format!("{reason}{hint}")),
            refusal => refusal,
        }
    })
}

/// Connects to the master once, and reports on it. Changes nothing.
pub(super) async fn inspect(access: &Access) -> Result<engine::Report, Refusal> {
    let address = master(access).await.map_err(Refusal::Absent)?;
    let inspect = async {
        let connection = connected(access, &address, &limits()).await?;
        let info = check(&connection).await?;
        let description = format!("{} at {address}", info.described());
        Ok(engine::Report { description, warnings: warnings(&connection, &info).await })
    };
    inspect.await.map_err(|refusal: Refusal| refusal.at(&address))
}

/// Checks that a server is a master with settings that keep jobs.
async fn check(connection: &MultiplexedConnection) -> Result<Info, Refusal> {
    match role(connection).await? {
        Role::Primary { .. } => {}
        Role::Sentinel { .. } => {
            let reason = "it is a Sentinel; give redis-sentinel://, with the name of the master";
            return Err(Refusal::Unusable(reason.to_owned()));
        }
        _ => return Err(Refusal::Absent("it is a replica; give the master, or the Sentinels".to_owned())),
    }
    let info = Info::of(connection).await?;
    info.refusal().map_or(Ok(info), |reason| Err(Refusal::Unusable(reason)))
}

/// Returns true if the server is a master.
pub(super) async fn is_master(connection: &MultiplexedConnection) -> Result<bool, RedisError> {
    Ok(matches!(role(connection).await?, Role::Primary { .. }))
}

async fn role(connection: &MultiplexedConnection) -> Result<Role, RedisError> {
    redis::cmd("ROLE").query_async(&mut connection.clone()).await
}

/// Removes the keys of lost queues, in the background.
pub(super) fn sweep(session: &Session) {
    let (mut connection, generation) = (session.connection.clone(), session.standing.generation.clone());
    tokio::spawn(async move {
        let kept = [format!("{ROOT}meta"), format!("{ROOT}paused")];
        let ours = format!("{ROOT}{generation}:");
        let mut cursor = 0_u64;
        loop {
            let scan: Result<(u64, Vec<Vec<u8>>), _> = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{ROOT}*"))
                .arg("COUNT")
                .arg(SWEEP)
                .query_async(&mut connection)
                .await;
            let Ok((next, keys)) = scan else { return };
            let is_old = |key: &&Vec<u8>| {
                !key.starts_with(ours.as_bytes()) && kept.iter().all(|kept| kept.as_bytes() != key.as_slice())
            };
            let old: Vec<_> = keys.iter().filter(is_old).collect();
            if !old.is_empty() {
                // The script keeps the keys of a new generation, which another node may have created in the meantime.
                let mut command = redis::cmd("EVALSHA");
                command.arg(scripts::SWEEP.get_hash()).arg(1).arg(ROOT).arg(&generation).arg(old);
                let removed = evaluate(&connection, &scripts::SWEEP, &command).await;
                if !matches!(removed, Ok(redis::Value::Int(0..))) {
                    return;
                }
            }
            cursor = next;
            if cursor == 0 {
                return;
            }
        }
    });
}

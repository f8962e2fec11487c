//! Statistics and lists from a replica, so that they do not take time of the master.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Role};
use tokio::time::timeout;

use super::access::{Access, Address, Target, limits};
use super::link::{Link, Replica, Session, Trouble};
use super::reply::Reply;
use super::scripts::Reading;
use super::sentinel;
use crate::queue::Error;
use crate::runtime::clock::{Stopwatch, Timestamp};

/// The time limit for an answer of a replica. The master is called after it.
const ANSWER: Duration = Duration::from_millis(500);
/// The time after a failed search or call in which no replica is looked for.
const PAUSE: Duration = Duration::from_secs(5);

impl Link {
    /// Runs a script that only reads. If `may_lag` is true and Sentinels watch the queue, a replica is called, provided
    /// that it has every change that this process has seen. Otherwise the master is called.
    pub(super) async fn read(
        &self,
        script: &Reading,
        may_lag: bool,
        now: Timestamp,
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Reply, Error> {
        let replica = if may_lag { self.replica().await } else { None };
        if let Some(replica) = replica {
            let answer = self.run(&replica, script.on_replica, Some(now), &arguments);
            match timeout(ANSWER, answer).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(Trouble::Refused(reason))) => {
                    tracing::debug!(server = %replica.address, "a replica cannot answer: {reason}");
                }
                Ok(Err(_)) | Err(_) => self.give_up(&replica).await,
            }
        }
        self.call(script.on_master, now, arguments).await
    }

    /// Returns the address of the replica that is called, if there is one.
    pub(super) async fn reads_from(&self) -> Option<Address> {
        self.replica().await.map(|replica| replica.address.clone())
    }

    /// Returns a session with a replica of the current master; looks for one if there is none.
    async fn replica(&self) -> Option<Arc<Session>> {
        let Target::Sentinels { addresses, name } = &self.settings.access.url().target else { return None };
        let master = self.session().await.ok()?;
        let mut replica = self.replica.lock().await;
        if let Some(session) = replica.session.as_ref().filter(|session| session.number == master.number) {
            return Some(Arc::clone(session));
        }
        if replica.failed.as_ref().is_some_and(|watch| watch.elapsed() < PAUSE) {
            return None;
        }
        for address in sentinel::replicas(&self.settings.access, addresses, name).await {
            if let Ok(Ok(connection)) = timeout(ANSWER, connect(&self.settings.access, &address)).await {
                tracing::debug!(server = %address, "statistics and lists of the queue come from a replica");
                let standing = Arc::clone(&master.standing);
                let session = Arc::new(Session { number: master.number, address, connection, standing });
                *replica = Replica { session: Some(Arc::clone(&session)), failed: None };
                return Some(session);
            }
        }
        *replica = Replica { session: None, failed: Some(Stopwatch::start()) };
        None
    }

    async fn give_up(&self, lost: &Arc<Session>) {
        let mut replica = self.replica.lock().await;
        if replica.session.as_ref().is_some_and(|session| Arc::ptr_eq(session, lost)) {
            *replica = Replica { session: None, failed: Some(Stopwatch::start()) };
        }
    }
}

/// Connects to a replica.
async fn connect(access: &Access, address: &Address) -> Result<MultiplexedConnection, RedisError> {
    let client = access.server(address)?;
    let connection = client.get_multiplexed_async_connection_with_config(&limits()).await?;
    let role: Role = redis::cmd("ROLE").query_async(&mut connection.clone()).await?;
    match role {
        Role::Replica { .. } => Ok(connection),
        _ => Err((redis::ErrorKind::UnexpectedReturnType, "it is not a replica").into()),
    }
}

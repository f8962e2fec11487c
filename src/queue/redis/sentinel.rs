//! Asks the Sentinels for the master and its replicas.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use redis::{FromRedisValue, Msg, PushKind, RedisError};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::access::{Access, Address, explained, limits};
use super::event::Event;

/// The time limit for the answer of a Sentinel.
const ANSWER: Duration = Duration::from_secs(1);
/// The time limit for the answer of a Sentinel when the queue is described.
const DETAIL: Duration = Duration::from_millis(500);
/// The pause before a Sentinel that does not answer is called again.
const AGAIN: Duration = Duration::from_secs(1);

/// Returns the master that a majority of all Sentinels names.
pub(super) async fn master(access: &Access, addresses: &[Address], name: &str) -> Result<Address, String> {
    let answers = addresses.iter().map(|address| timeout(ANSWER, ask(access, address, name)));
    let answers = futures::future::join_all(answers).await;
    let mut votes: BTreeMap<Address, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for (address, answer) in addresses.iter().zip(answers) {
        match answer {
            Ok(Ok(Some(master))) => *votes.entry(master).or_default() += 1,
            Ok(Ok(None)) => faults.push(format!("{address} knows no master called {name}")),
            Ok(Err(error)) => {
                faults.push(format!("{address}: {}", explained(&error)));
            }
            Err(_) => faults.push(format!("{address} does not answer")),
        }
    }
    let all = addresses.len();
    if let Some((master, _)) = votes.iter().find(|(_, votes)| 2 * **votes > all) {
        return Ok(master.clone());
    }
    for (master, votes) in votes {
        faults.push(format!("{votes} of {all} name {master}"));
    }
    Err(format!("no majority of the Sentinels names a master: {}", faults.join("; ")))
}

/// Returns the number of Sentinels that name this master.
pub(super) async fn agreeing(access: &Access, addresses: &[Address], name: &str, master: &Address) -> usize {
    let answers = addresses.iter().map(|address| timeout(DETAIL, ask(access, address, name)));
    let answers = futures::future::join_all(answers).await;
    answers.into_iter().filter(|answer| matches!(answer, Ok(Ok(Some(named))) if named == master)).count()
}

async fn ask(access: &Access, address: &Address, name: &str) -> Result<Option<Address>, RedisError> {
    let found: Option<(String, u16)> = query(access, address, "get-master-addr-by-name", name).await?;
    Ok(found.map(|(host, port)| Address { host, port }))
}

/// Returns the replicas of a master that are connected to it, from the first Sentinel that answers.
pub(super) async fn replicas(access: &Access, addresses: &[Address], name: &str) -> Vec<Address> {
    let usable = |replica: HashMap<String, String>| {
        let is = |member: &str, value: &str| replica.get(member).is_some_and(|found| found == value);
        let (host, port) = (replica.get("ip")?, replica.get("port")?.parse().ok()?);
        // Other flags say that the replica is down or disconnected.
        let good = is("flags", "slave") && is("master-link-status", "ok");
        good.then(|| Address { host: host.clone(), port })
    };
    for address in addresses {
        let answer = timeout(DETAIL, query::<Vec<_>>(access, address, "replicas", name)).await;
        if let Ok(Ok(found)) = answer {
            return found.into_iter().filter_map(usable).collect();
        }
    }
    Vec::new()
}

/// Sends a Sentinel a command about the master `name`, with the password of the server if it requires one.
async fn query<T: FromRedisValue>(
    access: &Access,
    address: &Address,
    command: &str,
    name: &str,
) -> Result<T, RedisError> {
    let query = async |login: bool| {
        let client = access.sentinel(address, login)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&limits()).await?;
        redis::cmd("SENTINEL").arg(command).arg(name).query_async(&mut connection).await
    };
    match query(false).await {
        Err(error) if access.has_password() && !error.is_io_error() => query(true).await,
        answer => answer,
    }
}

/// Reports when a Sentinel announces another master, until the queue is closed.
pub(super) async fn listen(
    access: Access,
    address: Address,
    name: String,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut login = false;
    while !events.is_closed() {
        if let Err(error) = hear(&access, &address, &name, login, &events).await {
            tracing::debug!(sentinel = %address, "cannot listen: {error}");
            login = access.has_password() && !login && !error.is_io_error();
        }
        sleep(AGAIN).await;
    }
}

async fn hear(
    access: &Access,
    address: &Address,
    name: &str,
    login: bool,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(), RedisError> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let client = access.sentinel(address, login)?;
    let limits = limits().set_push_sender(tell);
    let mut connection = client.get_multiplexed_async_connection_with_config(&limits).await?;
    connection.subscribe("+switch-master").await?;
    // Announcements before this subscription are lost, so the master is checked now.
    let _ = events.send(Event::Recheck);
    while let Some(push) = told.recv().await {
        if push.kind == PushKind::Disconnection {
            break;
        }
        let Some(announced) = Msg::from_push_info(push) else { continue };
        let text: String = announced.get_payload().unwrap_or_default();
        if text.split(' ').next() == Some(name) {
            tracing::info!(sentinel = %address, "a Sentinel announces another master of the queue: {text}");
            // The receiver exists until the queue is closed.
            let _ = events.send(Event::Recheck);
        }
    }
    Ok(())
}

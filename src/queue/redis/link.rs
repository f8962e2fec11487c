//! The link to the master. All calls use it, and it is restored after a fail-over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Script, Value};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::access::{Address, explained};
use super::event::Event;
use super::reply::{List, Reply};
use super::scripts;
use super::settings::{RECONNECT_WAIT, Settings};
use super::standing::Standing;
use crate::queue::Error;
use crate::runtime::clock::{Stopwatch, Timestamp};
use crate::runtime::entropy::Entropy;

/// The prefix of all keys. The braces keep them on one node of a cluster.
pub(super) const ROOT: &str = "{entityd}:";
/// The maximum number of attempts of a call that had no effect because its session was lost.
const TRIES: usize = 3;

/// The state of the link.
#[derive(Clone, Debug)]
pub(super) enum State {
    Up(Arc<Session>),
    Down(Arc<str>),
    /// The link has ended for this reason; only a restart helps.
    Ended(Arc<str>),
    Closed,
}

/// A connection to a master that has accepted this process.
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) address: Address,
    pub(super) connection: MultiplexedConnection,
    pub(super) standing: Arc<Standing>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "session {} with {}", self.number, self.address)
    }
}

/// The replica that answers statistics and lists.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// A session with the number and the standing of the master's session.
    pub(super) session: Option<Arc<Session>>,
    /// Set while no replica is looked for.
    pub(super) failed: Option<Stopwatch>,
}

/// An error of a script.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The script had no effect, and another session is needed.
    Refused(String),
    /// The script may have had an effect, and another session is needed.
    Lost(String),
    /// The script had no effect.
    Failed(Error),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        const LOST: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS"];
        let (text, code) = (error.to_string(), error.code());
        if LOST.iter().any(|lost| code == Some(lost) || code.is_some() && text.contains(lost)) {
            Self::Refused(explained(&error))
        } else if code.is_some() {
            Self::Failed(Error::Storage(explained(&error).into()))
        } else {
            Self::Lost(text)
        }
    }
}

/// The link to the master.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) settings: Settings,
    pub(super) entropy: Entropy,
    /// The name of this process in Redis.
    pub(super) node: String,
    pub(super) state: watch::Sender<State>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// Notifies claims that there may be ready jobs.
    pub(super) wake: Arc<Notify>,
    pub(super) renewals: watch::Sender<u64>,
    pub(super) standing: Mutex<Option<Arc<Standing>>>,
    pub(super) replica: tokio::sync::Mutex<Replica>,
    /// The tokens of claims that have not been answered.
    pub(super) orphans: Mutex<Vec<u64>>,
    pub(super) sessions: AtomicU64,
    /// True once the jobs of earlier processes have been taken over.
    pub(super) attached: AtomicBool,
    /// True once stored delays were shortened to at most the requested length, as the contract requires.
    bounded: AtomicBool,
    /// The warnings that were logged.
    pub(super) told: Mutex<Vec<String>>,
}

impl Link {
    pub(super) fn new(
        settings: Settings,
        entropy: Entropy,
        events: mpsc::UnboundedSender<Event>,
        standing: Option<Standing>,
    ) -> Self {
        let state = watch::Sender::new(State::Down("it is not connected yet".into()));
        let node = settings.shared.as_ref().map(|shared| shared.node.clone());
        Self {
            settings,
            node: node.unwrap_or_else(|| hex::encode(entropy.bytes::<8>())),
            entropy,
            state,
            events,
            wake: Arc::new(Notify::new()),
            renewals: watch::Sender::new(0),
            standing: Mutex::new(standing.map(Arc::new)),
            replica: tokio::sync::Mutex::default(),
            orphans: Mutex::default(),
            sessions: AtomicU64::new(0),
            attached: AtomicBool::new(false),
            bounded: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// Returns the session. If the master is lost, waits up to [`RECONNECT_WAIT`] for the next.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Error> {
        if let State::Up(session) = &*self.state.borrow() {
            return Ok(Arc::clone(session));
        }
        let mut state = self.state.subscribe();
        let waited = timeout(RECONNECT_WAIT, state.wait_for(|state| !matches!(state, State::Down(_)))).await;
        // The channel cannot be closed: `self` has the sender.
        let state = waited.ok().and_then(Result::ok).map(|state| state.clone());
        match state.unwrap_or_else(|| self.state.borrow().clone()) {
            State::Up(session) => Ok(session),
            State::Down(reason) | State::Ended(reason) => Err(Error::Storage(reason.to_string().into())),
            State::Closed => Err(Error::Closed),
        }
    }

    /// Runs a script; `arguments` adds the arguments after the common ones. If the session is lost before the script
    /// has an effect, runs it again in the next session.
    pub(super) async fn call(
        &self,
        script: &Script,
        now: Timestamp,
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Reply, Error> {
        let mut reason = String::new();
        for _ in 0..TRIES {
            let session = self.session().await?;
            let run = async {
                if !self.bounded.swap(true, Ordering::AcqRel) {
                    let bounded = self.run(&session, &scripts::BOUND, Some(now), |_| {}).await;
                    bounded.inspect_err(|_| self.bounded.store(false, Ordering::Release))?;
                }
                self.run(&session, script, Some(now), &arguments).await
            };
            match run.await {
                Ok(reply) => return Ok(reply),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Lost(reason)) => {
                    self.lose(&session, &reason);
                    return Err(Error::Storage(reason.into()));
                }
                Err(Trouble::Refused(refusal)) => {
                    self.lose(&session, &refusal);
                    reason = refusal;
                }
            }
        }
        Err(Error::Storage(reason.into()))
    }

    /// Runs a script in a session.
    pub(super) async fn run(
        &self,
        session: &Session,
        script: &Script,
        now: Option<Timestamp>,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Reply, Trouble> {
        let standing = &session.standing;
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(1).arg(ROOT);
        command.arg(&self.node).arg(session.number).arg(&standing.generation).arg(standing.changes());
        match now.filter(|_| self.settings.time_of_callers) {
            Some(now) => command.arg(now.as_micros()),
            None => command.arg(""),
        };
        arguments(&mut command);
        let answer = evaluate(&session.connection, script, &command).await?;
        read(session, answer)
    }

    /// Marks the session as unusable.
    pub(super) fn lose(&self, session: &Session, reason: &str) {
        self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(current) if current.number == session.number);
            if is_it {
                *state = State::Down(reason.into());
            }
            is_it
        });
        // The receiver exists until the queue is closed.
        let _ = self.events.send(Event::Lost { session: session.number, reason: reason.to_owned() });
    }
}

/// Runs a script; loads it first if the server does not have it.
pub(super) async fn evaluate(
    connection: &MultiplexedConnection,
    script: &Script,
    command: &Cmd,
) -> Result<Value, RedisError> {
    let mut connection = connection.clone();
    match command.query_async(&mut connection).await {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            let _: String = script.prepare_invoke().load_async(&mut connection).await?;
            command.query_async(&mut connection).await
        }
        answer => answer,
    }
}

/// Parses the answer of a script, and records the number of changes.
fn read(session: &Session, answer: Value) -> Result<Reply, Trouble> {
    let mut list = List::of(&answer).map_err(Trouble::Failed)?;
    match list.text().map_err(Trouble::Failed)? {
        "ok" => {}
        "generation" => {
            return Err(Trouble::Refused("the queue in Redis is missing, or another one".to_owned()));
        }
        "back" => return Err(Trouble::Refused("the queue in Redis went back to an older state".to_owned())),
        _ => return Err(Trouble::Refused("the queue in Redis knows another session".to_owned())),
    }
    let read = (|| Ok((list.number()?, list.moment()?)))();
    let (changes, now) = read.map_err(Trouble::Failed)?;
    session.standing.see(changes);
    let Value::Array(mut parts) = answer else { unreachable!("it was read as a list") };
    Ok(Reply { now, result: parts.pop().unwrap_or_default() })
}

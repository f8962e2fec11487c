//! Keeps the link connected: detects that the master is lost, and finds the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::access::Target;
use super::checks::Info;
use super::connect::{Refusal, is_master, master, sweep};
use super::event::Event;
use super::link::{Link, Session, State};
use super::scripts;
use super::settings::START;
use crate::queue::Error;
use crate::runtime::clock::Stopwatch;

/// The interval between probes. A probe checks the role of the master and stores the observed state of the queue.
const PROBE: Duration = Duration::from_secs(1);
/// One probe in this many also checks the settings of the server and the answers of the Sentinels.
const LOOK: u32 = 5;
/// The first and the longest pause before another attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Connects for the first time, and waits a while for a server that does not answer.
pub(super) async fn start(link: &Link) -> Result<Arc<Session>, Error> {
    let (watch, mut pause) = (Stopwatch::start(), PAUSES.0);
    loop {
        match link.connect().await {
            Ok(session) => return Ok(session),
            Err(Refusal::Absent(reason)) if watch.elapsed() < START => {
                tracing::info!("waiting for the queue: {reason}");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            Err(refusal) => return Err(Error::Storage(refusal.reason().into())),
        }
    }
}

/// Keeps the link connected until it is closed.
pub(super) async fn keep(
    link: Arc<Link>,
    mut session: Arc<Session>,
    mut events: mpsc::UnboundedReceiver<Event>,
) {
    loop {
        let reason = watch(&link, &session, &mut events).await;
        link.lose(&session, &reason);
        tracing::warn!(server = %session.address, "the master of the queue is lost: {reason}");
        drop(session);
        session = match again(&link).await {
            Some(next) => next,
            None => return,
        };
        tracing::info!(server = %session.address, "the queue has a master again");
    }
}

/// Connects again, however long it takes; returns `None` if another process has taken over the queue.
async fn again(link: &Link) -> Option<Arc<Session>> {
    let mut pause = PAUSES.0;
    let mut told = String::new();
    loop {
        let renewals = *link.renewals.borrow();
        match link.connect().await {
            Ok(session) => {
                if *link.renewals.borrow() > renewals {
                    sweep(&session);
                }
                publish(link, &session);
                return Some(session);
            }
            Err(refusal) => {
                let reason = refusal.reason();
                if reason != told {
                    tracing::warn!("the queue is unavailable: {reason}");
                    told.clone_from(&reason);
                }
                if matches!(refusal, Refusal::Taken) {
                    link.state.send_replace(State::Ended(reason.into()));
                    return None;
                }
                link.state.send_replace(State::Down(reason.into()));
            }
        }
        sleep(pause.mul_f64(jitter(link))).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Returns a random factor from one half to 1.
fn jitter(link: &Link) -> f64 {
    0.5 + f64::from(link.entropy.bytes::<1>()[0]) / 512.0
}

/// Makes a session available to calls, and wakes claims that wait for jobs.
pub(super) fn publish(link: &Link, session: &Arc<Session>) {
    link.state.send_replace(State::Up(Arc::clone(session)));
    link.wake.notify_waiters();
}

/// Watches a session; returns the reason why it is lost.
async fn watch(link: &Link, session: &Arc<Session>, events: &mut mpsc::UnboundedReceiver<Event>) -> String {
    let (mut probes, mut written) = (0_u32, 0);
    let mut next = Instant::now() + PROBE;
    loop {
        let verdict = tokio::select! {
            event = events.recv() => match event {
                Some(Event::Lost { session: lost, reason }) if lost == session.number => Some(reason),
                Some(Event::Recheck) => other_master(link, session).await,
                _ => None,
            },
            () = sleep_until(next) => {
                next = Instant::now() + PROBE;
                probes += 1;
                if link.settings.shared.is_some() {
                    // A failure of this call is left to the probe.
                    let _ = link.run(session, &scripts::SEEN, None, |_| {}).await;
                }
                if session.standing.changes() != written {
                    match link.remember(&session.standing).await {
                        Ok(changes) => written = changes,
                        Err(reason) => tracing::error!("{reason}"),
                    }
                }
                probe(link, session, probes.is_multiple_of(LOOK)).await
            }
        };
        if let Some(reason) = verdict {
            return reason;
        }
    }
}

async fn probe(link: &Link, session: &Session, looks: bool) -> Option<String> {
    match is_master(&session.connection).await {
        Ok(true) => {}
        Ok(false) => return Some("it is a replica now".to_owned()),
        Err(error) => return Some(error.to_string()),
    }
    if !looks {
        return None;
    }
    match Info::of(&session.connection).await {
        Ok(info) => info.refusal().or(other_master(link, session).await),
        Err(error) => Some(error.to_string()),
    }
}

/// Returns the reason to reconnect if a majority of the Sentinels names another master. Without a majority the current
/// master is kept.
async fn other_master(link: &Link, session: &Session) -> Option<String> {
    if matches!(link.settings.access.url().target, Target::Server(_)) {
        return None;
    }
    let named = master(&link.settings.access).await.ok()?;
    (named != session.address).then(|| format!("the Sentinels name {named}"))
}

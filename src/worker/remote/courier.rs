//! Sends the heartbeats, outcomes, failures and releases of all jobs to an API node together.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::error::CallError;
use super::nodes::Nodes;
use crate::queue::Pulse;
use crate::worker::protocol::{Beat, Failure, OutcomeReport, Receipt, Ticket, Turn, TurnAnswer};

/// The maximum number of items in a call.
const ITEMS_MAX: usize = 128;
/// The maximum number of concurrent calls.
const CALLS: usize = 4;
/// The time for which a call collects items while another is in progress.
const GATHER: Duration = Duration::from_millis(50);

/// An item to send, and the channel for its answer.
enum Item {
    Beats(Vec<Beat>, oneshot::Sender<Result<Vec<Pulse>, CallError>>),
    Report(OutcomeReport, oneshot::Sender<Result<Receipt, CallError>>),
    Failure(Failure, oneshot::Sender<Result<Receipt, CallError>>),
    Release(Ticket, oneshot::Sender<Result<Receipt, CallError>>),
}

/// Sends the items of all jobs together. Cheap to clone.
#[derive(Clone)]
pub(super) struct Courier(Arc<Inner>);

struct Inner {
    nodes: Nodes,
    waiting: Mutex<Vec<Item>>,
    added: Notify,
}

impl Courier {
    /// Starts the task that sends items, which ends with the last clone.
    pub(super) fn start(nodes: Nodes) -> Self {
        let inner = Arc::new(Inner { nodes, waiting: Mutex::default(), added: Notify::new() });
        tokio::spawn(run(Arc::downgrade(&inner)));
        Self(inner)
    }

    pub(super) async fn beat(&self, beats: Vec<Beat>) -> Result<Vec<Pulse>, CallError> {
        self.say(|answer| Item::Beats(beats, answer)).await
    }

    pub(super) async fn report(&self, report: OutcomeReport) -> Result<Receipt, CallError> {
        self.say(|answer| Item::Report(report, answer)).await
    }

    pub(super) async fn fail(&self, failure: Failure) -> Result<Receipt, CallError> {
        self.say(|answer| Item::Failure(failure, answer)).await
    }

    pub(super) async fn release(&self, ticket: Ticket) -> Result<Receipt, CallError> {
        self.say(|answer| Item::Release(ticket, answer)).await
    }

    async fn say<T>(
        &self,
        item: impl FnOnce(oneshot::Sender<Result<T, CallError>>) -> Item,
    ) -> Result<T, CallError> {
        let (sender, answer) = oneshot::channel();
        self.0.waiting.lock().push(item(sender));
        self.0.added.notify_one();
        answer.await.unwrap_or_else(|_| Err(CallError::Unreachable("the worker stops".to_owned())))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.added.notify_one();
    }
}

/// Sends items as they come. A slow call does not delay the next one.
async fn run(inner: std::sync::Weak<Inner>) {
    let calls = Arc::new(Semaphore::new(CALLS));
    loop {
        let Some(courier) = inner.upgrade() else { return };
        let items = {
            let mut waiting = courier.waiting.lock();
            let count = waiting.len().min(ITEMS_MAX);
            waiting.drain(..count).collect::<Vec<_>>()
        };
        if items.is_empty() {
            let added = Arc::clone(&courier);
            drop(courier);
            // Wakes up every second to check whether the last clone was dropped.
            let _ = tokio::time::timeout(Duration::from_secs(1), added.added.notified()).await;
            continue;
        }
        let Ok(permit) = Arc::clone(&calls).acquire_owned().await else { return };
        let nodes = courier.nodes.clone();
        let mut call = tokio::spawn(async move {
            carry(&nodes, items).await;
            drop(permit);
        });
        let _ = tokio::time::timeout(GATHER, &mut call).await;
    }
}

async fn carry(nodes: &Nodes, items: Vec<Item>) {
    let mut turn = Turn::default();
    let (mut beats, mut reports, mut failures, mut releases) = (vec![], vec![], vec![], vec![]);
    for item in items {
        match item {
            Item::Beats(more, answer) => {
                beats.push((more.len(), answer));
                turn.beats.extend(more);
            }
            Item::Report(report, answer) => {
                turn.reports.push(report);
                reports.push(answer);
            }
            Item::Failure(failure, answer) => {
                turn.failures.push(failure);
                failures.push(answer);
            }
            Item::Release(ticket, answer) => {
                turn.releases.push(ticket);
                releases.push(answer);
            }
        }
    }
    let answered: Result<TurnAnswer, CallError> =
        nodes.call("turn", &turn, Duration::ZERO, Duration::ZERO).await;
    let answered = answered.and_then(|answer| whole(answer, &turn));
    let mut pulses = answered.as_ref().map(|answer| answer.pulses.iter());
    for (count, waiting) in beats {
        // The caller may no longer wait.
        let _ = waiting.send(match &mut pulses {
            Ok(pulses) => Ok(pulses.by_ref().take(count).copied().collect()),
            Err(error) => Err(error.clone()),
        });
    }
    tell(reports, answered.as_ref().map(|answer| &answer.reports));
    tell(failures, answered.as_ref().map(|answer| &answer.failures));
    tell(releases, answered.as_ref().map(|answer| &answer.releases));
}

/// Fails unless the answer has an entry for each item.
fn whole(answer: TurnAnswer, turn: &Turn) -> Result<TurnAnswer, CallError> {
    let counts = |answer: &TurnAnswer| {
        [answer.pulses.len(), answer.reports.len(), answer.failures.len(), answer.releases.len()]
    };
    let asked = [turn.beats.len(), turn.reports.len(), turn.failures.len(), turn.releases.len()];
    if counts(&answer) == asked {
        Ok(answer)
    } else {
        Err(CallError::Unreachable("an API node has not answered every item of a call".to_owned()))
    }
}

fn tell(
    waiting: Vec<oneshot::Sender<Result<Receipt, CallError>>>,
    receipts: Result<&Vec<Receipt>, &CallError>,
) {
    for (place, waiting) in waiting.into_iter().enumerate() {
        let _ = waiting.send(receipts.map(|receipts| receipts[place].clone()).map_err(CallError::clone));
    }
}

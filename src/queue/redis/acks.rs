//! Combines the acks of concurrent callers in one script call.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::claim::read;
use super::link::Link;
use super::reply::{List, int};
use super::scripts;
use crate::queue::{Acked, Error, LeaseId};
use crate::runtime::clock::Timestamp;

/// The maximum number of leases in one script call; a single caller may have more.
const LEASES_MAX: usize = 1_000;

/// The acks of one caller.
#[derive(Debug)]
struct Waiting {
    leases: Vec<LeaseId>,
    answer: oneshot::Sender<Result<Vec<Acked>, Error>>,
}

/// The callers that wait while a script runs. The next call of the script serves all of them.
#[derive(Debug, Default)]
pub(super) struct Acks(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    waiting: Vec<Waiting>,
    is_served: bool,
}

/// Removes finished jobs and answers each, in order.
pub(super) async fn ack(
    acks: &Arc<Acks>,
    link: &Arc<Link>,
    leases: &[LeaseId],
    now: Timestamp,
) -> Result<Vec<Acked>, Error> {
    let (answer, acked) = oneshot::channel();
    let is_served = {
        let mut line = acks.0.lock();
        line.waiting.push(Waiting { leases: leases.to_vec(), answer });
        std::mem::replace(&mut line.is_served, true)
    };
    if !is_served {
        let (acks, link) = (Arc::clone(acks), Arc::clone(link));
        tokio::spawn(async move { serve(&acks, &link, now).await });
    }
    acked.await.map_err(|_| Error::Storage("the runtime is stopping".into()))?
}

/// Serves the waiting callers until there are none.
async fn serve(acks: &Acks, link: &Link, now: Timestamp) {
    while let Some(callers) = acks.next() {
        let leases: Vec<&LeaseId> = callers.iter().flat_map(|caller| &caller.leases).collect();
        let mut answer = run(link, &leases, now).await;
        for caller in callers {
            let theirs = match &mut answer {
                Ok(answers) => Ok(answers.drain(..caller.leases.len()).collect()),
                Err(error) => Err(copy(error)),
            };
            // A caller that no longer waits needs no answer.
            let _ = caller.answer.send(theirs);
        }
    }
}

impl Acks {
    /// Returns the waiting callers for the next call of the script; `None` if no caller waits.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut line = self.0.lock();
        let mut leases = 0;
        let fit = |caller: &Waiting| {
            leases += caller.leases.len();
            leases <= LEASES_MAX
        };
        let count = line.waiting.iter().map(fit).take_while(|fits| *fits).count();
        let count = count.max(1).min(line.waiting.len());
        let next: Vec<_> = line.waiting.drain(..count).collect();
        line.is_served = !next.is_empty();
        line.is_served.then_some(next)
    }
}

async fn run(link: &Link, leases: &[&LeaseId], now: Timestamp) -> Result<Vec<Acked>, Error> {
    let call = link.call(&scripts::ACK, now, |command| {
        for lease in leases {
            let (sequence, token) = read(lease.fence);
            command.arg(lease.job.as_str()).arg(sequence).arg(token);
        }
    });
    let reply = call.await?;
    let acked = |answer| Ok(if int(answer)? == 1 { Acked::Done } else { Acked::Lost });
    let answers: Vec<_> = List::of(&reply.result)?.map(acked).collect::<Result<_, Error>>()?;
    if answers.len() == leases.len() { Ok(answers) } else { Err(Error::damaged("an ack has no answer")) }
}

/// Returns the same error for another caller.
fn copy(error: &Error) -> Error {
    match error {
        Error::Closed => Error::Closed,
        Error::Damaged(_) => Error::Damaged(error.reason().into()),
        _ => Error::Storage(error.reason().into()),
    }
}

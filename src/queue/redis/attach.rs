//! Attaches to the queue of a master, or creates a new one.
//!
//! A process that alone uses the queue decides by its own observations whether the queue was lost. Several nodes decide
//! by the shared value `queue` in the database, which has the form `generation changes`. A node that finds the queue
//! lost stores a new generation there, and only the node whose value was stored creates the queue in Redis.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::aio::MultiplexedConnection;
use tokio::task::spawn_blocking;

use super::connect::Refusal;
use super::link::{Link, ROOT, evaluate};
use super::reply::List;
use super::scripts;
use super::settings::Shared;
use super::standing::Standing;
use crate::metadata::commons::SILENCE_MAX;
use crate::telemetry::chain;

/// The version of the layout of the keys.
const LAYOUT: u32 = 1;
/// The name of the shared value with the generation of the queue.
const WORD: &str = "queue";
/// The text in place of a generation if there is no queue.
const NOTHING: &str = "-";
/// The maximum number of attempts to agree with other nodes on a generation.
const TRIES: usize = 10;

/// The expected generation, and the one that may replace it.
struct Wish<'a> {
    generation: &'a str,
    changes: u64,
    /// The name of a new generation.
    new: &'a str,
    /// With several nodes: the generation that may be replaced, `-` if the server must have none, or empty to replace
    /// nothing.
    replaces: &'a str,
}

/// The answer of a server.
enum Answer {
    /// The queue exists.
    There {
        /// The reason why the queue was lost; `None` if it was kept or created.
        lost: Option<&'static str>,
        was_made: bool,
        generation: String,
        changes: u64,
    },
    /// The queue was lost, and was not replaced.
    Lost { reason: &'static str, found: String },
}

/// Returns the description of the loss that an outcome stands for; `None` for any other outcome.
fn loss(outcome: &str) -> Option<&'static str> {
    match outcome {
        "gone" => Some("its keys are missing"),
        "back" => Some("it went back to an older state"),
        "another" => Some("it is not the one that was known"),
        _ => None,
    }
}

impl Link {
    /// Checks that the queue belongs to this data directory and has the expected generation; replaces a lost queue with
    /// a new one.
    pub(super) async fn attach(
        &self,
        connection: &MultiplexedConnection,
        number: u64,
    ) -> Result<Arc<Standing>, Refusal> {
        match &self.settings.shared {
            Some(shared) => self.attach_together(connection, number, shared).await,
            None => self.attach_alone(connection, number).await,
        }
    }

    async fn attach_alone(
        &self,
        connection: &MultiplexedConnection,
        number: u64,
    ) -> Result<Arc<Standing>, Refusal> {
        let known = self.standing.lock().clone();
        let (generation, changes) =
            known.as_ref().map_or(("", 0), |known| (known.generation.as_str(), known.changes()));
        let new = self.new_generation();
        let wish = Wish { generation, changes, new: &new, replaces: "" };
        match self.ask(connection, number, &wish).await? {
            Answer::There { lost, was_made, generation, changes } => {
                self.settle(known, lost, was_made, generation, changes).await
            }
            Answer::Lost { reason, .. } => Err(Refusal::Absent(reason.to_owned())),
        }
    }

    async fn attach_together(
        &self,
        connection: &MultiplexedConnection,
        number: u64,
        shared: &Shared,
    ) -> Result<Arc<Standing>, Refusal> {
        for _ in 0..TRIES {
            let known = self.standing.lock().clone();
            let word = word(shared).await?;
            let Some((generation, noted)) = word.as_deref().map(parse) else {
                // The queue was never made.
                let new = self.new_generation();
                let wish = Wish { generation: &new, changes: 0, new: &new, replaces: NOTHING };
                if swap(shared, None, &spelled(&new, 0)).await?
                    && let Answer::There { generation, changes, .. } =
                        self.ask(connection, number, &wish).await?
                {
                    return self.settle(None, None, true, generation, changes).await;
                }
                continue;
            };
            // The observed state of another generation is ignored.
            let known = known.filter(|known| known.generation == generation);
            let changes = known.as_ref().map_or(noted, |known| known.changes().max(noted));
            let wish = Wish { generation, changes, new: generation, replaces: "" };
            let (reason, found) = match self.ask(connection, number, &wish).await? {
                Answer::There { generation, changes, .. } => {
                    return self.settle(known, None, false, generation, changes).await;
                }
                Answer::Lost { reason, found } => (reason, found),
            };
            let new = self.new_generation();
            if !swap(shared, word.as_deref(), &spelled(&new, 0)).await? {
                continue;
            }
            let wish = Wish { generation: &new, changes: 0, new: &new, replaces: &found };
            if let Answer::There { generation, changes, .. } = self.ask(connection, number, &wish).await? {
                return self.settle(None, Some(reason), true, generation, changes).await;
            }
        }
        Err(Refusal::Absent("the nodes do not agree on a generation of the queue".to_owned()))
    }

    fn new_generation(&self) -> String {
        hex::encode(self.entropy.bytes::<16>())
    }

    async fn ask(
        &self,
        connection: &MultiplexedConnection,
        number: u64,
        wish: &Wish<'_>,
    ) -> Result<Answer, Refusal> {
        let is_first = !self.attached.load(Ordering::Acquire);
        let shared = self.settings.shared.as_ref();
        let ended = shared.and_then(|shared| shared.ended.as_deref()).unwrap_or_default();
        let mut command = redis::cmd("EVALSHA");
        command.arg(scripts::ATTACH.get_hash()).arg(1).arg(ROOT);
        command.arg(&self.node).arg(number).arg(self.settings.identity.to_string());
        command.arg(wish.generation).arg(wish.changes).arg(wish.new);
        command.arg(u8::from(is_first)).arg(LAYOUT);
        command.arg(u8::from(shared.is_some())).arg(ended);
        command.arg(SILENCE_MAX.as_micros() as u64).arg(wish.replaces);
        let answer = evaluate(connection, &scripts::ATTACH, &command).await?;
        let mut answer = List::of(&answer)?;
        let outcome = answer.text()?;
        match outcome {
            "foreign" => {
                return Err(Refusal::Unusable(format!(
                    "the queue in database {} belongs to the data directory with the identity {}, and this one has {}; give \
                     another database, or remove its keys {ROOT}* if that data directory is gone",
                    self.settings.access.url().database,
                    answer.text()?,
                    self.settings.identity,
                )));
            }
            "layout" => {
                let text = answer.text()?;
                return Err(Refusal::Unusable(format!(
                    "the queue was written by another version (layout {text}, this one has {LAYOUT})"
                )));
            }
            "taken" => return Err(Refusal::Taken),
            "lost" => {
                let reason = loss(answer.text()?).unwrap_or("it was never made");
                return Ok(Answer::Lost { reason, found: answer.text()?.to_owned() });
            }
            _ => {}
        }
        let (generation, changes) = (answer.text()?.to_owned(), answer.number()?);
        Ok(Answer::There { lost: loss(outcome), was_made: outcome == "made", generation, changes })
    }

    /// Records the result. After a loss the jobs are enqueued again.
    async fn settle(
        &self,
        known: Option<Arc<Standing>>,
        lost: Option<&'static str>,
        was_made: bool,
        generation: String,
        changes: u64,
    ) -> Result<Arc<Standing>, Refusal> {
        if let Some(same) = known.filter(|known| known.generation == generation) {
            same.see(changes);
            return Ok(same);
        }
        let standing = Arc::new(Standing::new(generation, changes));
        self.remember(&standing).await.map_err(Refusal::Absent)?;
        *self.standing.lock() = Some(Arc::clone(&standing));
        if let Some(reason) = lost {
            tracing::warn!(
                "the queue in Redis is lost: {reason}; a new one is created, and its jobs are enqueued again"
            );
        }
        if lost.is_some() || was_made && self.settings.expected {
            self.renewals.send_modify(|renewals| *renewals += 1);
        }
        Ok(standing)
    }

    /// Stores the observed state of the queue.
    pub(super) async fn remember(&self, standing: &Arc<Standing>) -> Result<u64, String> {
        let changes = standing.changes();
        if let Some(shared) = &self.settings.shared {
            let word = shared.commons.word(WORD).await.map_err(|error| unwritten(&error))?;
            let Some((generation, noted)) = word.as_deref().map(parse) else { return Ok(changes) };
            if generation == standing.generation && noted < changes {
                let after = spelled(generation, changes);
                // If another node stores its observation first, that is good enough.
                let swapped = shared.commons.swap(WORD, word.as_deref(), &after).await;
                swapped.map_err(|error| unwritten(&error))?;
            }
            return Ok(changes);
        }
        let Some(directory) = self.settings.directory.clone() else { return Ok(changes) };
        let theirs = Arc::clone(standing);
        let written = spawn_blocking(move || theirs.write(&directory)).await;
        let written = written.map_err(|error| error.to_string())?;
        written.map_err(|error| unwritten(&error))
    }
}

fn unwritten(error: &(dyn std::error::Error + 'static)) -> String {
    format!("cannot store the state of the queue: {}", chain(error))
}

async fn word(shared: &Shared) -> Result<Option<String>, Refusal> {
    let word = shared.commons.word(WORD).await;
    word.map_err(|error| Refusal::Absent(format!("the state of the queue cannot be read: {}", chain(&error))))
}

async fn swap(shared: &Shared, before: Option<&str>, after: &str) -> Result<bool, Refusal> {
    let swapped = shared.commons.swap(WORD, before, after).await;
    swapped.map_err(|error| Refusal::Absent(unwritten(&error)))
}

/// Parses the shared value: a generation and its number of changes.
fn parse(word: &str) -> (&str, u64) {
    let (generation, changes) = word.split_once(' ').unwrap_or((word, "0"));
    (generation, changes.parse().unwrap_or(0))
}

fn spelled(generation: &str, changes: u64) -> String {
    format!("{generation} {changes}")
}

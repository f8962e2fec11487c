//! A health check of a dependency that may not answer.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::runtime::clock::Stopwatch;
use crate::telemetry::chain;

/// The time limit for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The fault of a dependency; `None` if it works.
type Answer = Option<String>;

/// A health check in the background, never repeated before it has ended: a dependency that hangs holds one
/// thread, however many callers wait. A caller waits [`ANSWER_TIMEOUT`] for the result, from the moment at which
/// the check began.
pub(super) struct Inquiry {
    ask: Box<dyn Fn() -> BoxFuture<'static, Answer> + Send + Sync>,
    pending: Mutex<Option<Pending>>,
    answer_timeout: Duration,
    /// The server that is asked, if it is not in this process.
    server: Option<String>,
}

/// A check in progress.
#[derive(Clone)]
struct Pending {
    since: Stopwatch,
    answer: watch::Receiver<Option<Answer>>,
}

impl Inquiry {
    pub(super) fn new<E, F>(ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        E: std::error::Error,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let ask = move || ask().map(|answered| answered.err().map(|error| chain(&error))).boxed();
        Self { ask: Box::new(ask), pending: Mutex::default(), answer_timeout: ANSWER_TIMEOUT, server: None }
    }

    /// Names the server that is asked, for the message if it does not answer.
    pub(super) fn of(self, server: Option<String>) -> Self {
        Self { server, ..self }
    }

    /// Returns the fault, or a text with the time for which there was no answer.
    pub(super) async fn answer(&self) -> Answer {
        let Pending { since, mut answer } = self.pending();
        let left = self.answer_timeout.saturating_sub(since.elapsed());
        match timeout(left, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().flatten(),
            Ok(Err(_)) => Some("the check has failed; see the log".to_owned()),
            Err(_) => {
                let server = self.server.as_deref().map_or(String::new(), |server| format!("{server}: "));
                Some(format!("{server}no answer for {:.1} s", since.seconds()))
            }
        }
    }

    /// Returns the check in progress, or a new one.
    fn pending(&self) -> Pending {
        let mut pending = self.pending.lock();
        let open = pending.as_ref().filter(|pending| pending.is_open()).cloned();
        let asked = open.unwrap_or_else(|| {
            let (tell, answer) = watch::channel(None);
            let asking = (self.ask)();
            tokio::spawn(async move { tell.send(Some(asking.await)) });
            Pending { since: Stopwatch::start(), answer }
        });
        pending.replace(asked.clone());
        asked
    }
}

impl Pending {
    /// Returns true if there is no answer yet.
    fn is_open(&self) -> bool {
        self.answer.borrow().is_none() && self.answer.has_changed().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_dependency_that_hangs_is_asked_once_and_delays_no_probe() {
        let (asked, may_answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, gate) = (Arc::clone(&asked), Arc::clone(&may_answer));
        let inquiry = Inquiry::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                Ok::<_, io::Error>(())
            }
        });
        let inquiry = Inquiry { answer_timeout: Duration::ZERO, ..inquiry };
        for _ in 0..3 {
            let said = inquiry.answer().await.unwrap();
            assert!(said.starts_with("no answer for 0."), "{said}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        may_answer.notify_one();
        let inquiry = Inquiry { answer_timeout: ANSWER_TIMEOUT, ..inquiry };
        assert_eq!(inquiry.answer().await, None);
        let named =
            Inquiry { answer_timeout: Duration::ZERO, ..inquiry }.of(Some("PostgreSQL at db".to_owned()));
        let said = named.answer().await.unwrap();
        assert!(said.starts_with("PostgreSQL at db: no answer for "), "{said}");
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_are_answers() {
        let fails = Inquiry::new(|| async { Err(io::Error::other("gone")) });
        assert_eq!(fails.answer().await.as_deref(), Some("gone"));
        let panics = Inquiry::new(|| async { panic!("a test panics") as Result<(), io::Error> });
        assert!(panics.answer().await.unwrap().contains("see the log"));
    }
}

//! Streams of events about projects. A watched project is read once a second, for all its clients together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::coordinator::Coordinator;
use crate::metadata::Runs;
use crate::model::{ProjectId, ProjectState};
use crate::runtime::clock::Stopwatch;
use crate::telemetry::chain;

/// The interval at which a watched project is read.
const EVERY: Duration = Duration::from_secs(1);
/// The minimum ratio of the pause between two reads to the duration of a read: a slow project is read less often.
const PAUSE_FACTOR: u32 = 20;
/// The interval at which a stream without events sends a comment, so that a lost client is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The media type of event streams.
const MEDIA_TYPE: &str = "text/event-stream";

/// The state of a project when it was read last; `None` if it was deleted.
type Snapshot = Option<Arc<ProjectState>>;

/// The watched projects. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    coordinator: Coordinator,
    projects: Mutex<HashMap<ProjectId, watch::Sender<Snapshot>>>,
    stop: CancellationToken,
}

impl Live {
    /// Returns an empty list of watched projects. All streams end on `stop`.
    pub fn new(coordinator: Coordinator, stop: CancellationToken) -> Self {
        Self(Arc::new(Shared { coordinator, projects: Mutex::default(), stop }))
    }

    /// Watches `project`, whose state with all runs has just been read.
    fn watch(&self, project: ProjectState) -> watch::Receiver<Snapshot> {
        let id = project.id;
        let mut projects = self.0.projects.lock();
        if let Some(watched) = projects.get(&id) {
            let receiver = watched.subscribe();
            // The state that was read last may be a second old, and lack the run that this client watches.
            watched.send_if_modified(|known| {
                let is_news = lacks_a_run_of(known.as_deref(), &project);
                if is_news {
                    *known = Some(Arc::new(project));
                }
                is_news
            });
            return receiver;
        }
        let (sender, receiver) = watch::channel(Some(Arc::new(project)));
        projects.insert(id, sender.clone());
        tokio::spawn(self.clone().follow(id, sender));
        receiver
    }

    /// Reads a project periodically while it is watched.
    async fn follow(self, id: ProjectId, sender: watch::Sender<Snapshot>) {
        let mut pause = EVERY;
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => {}
                () = sleep(pause) => {}
            }
            {
                let mut projects = self.0.projects.lock();
                if sender.receiver_count() == 0 || self.0.stop.is_cancelled() {
                    projects.remove(&id);
                    return;
                }
            }
            let stopwatch = Stopwatch::start();
            match self.0.coordinator.project(id, Runs::All).await {
                Ok(found) => {
                    let found = found.map(Arc::new);
                    sender.send_if_modified(|known| {
                        let differs = *known != found;
                        *known = found;
                        differs
                    });
                }
                Err(error) => tracing::debug!("a watched project cannot be read: {}", chain(&error)),
            }
            pause = EVERY.max(stopwatch.elapsed() * PAUSE_FACTOR);
        }
    }

    /// Streams events about a project: the event that `shown` returns now, and each later one that differs from the one
    /// before.
    pub(super) fn stream(
        &self,
        project: ProjectState,
        shown: impl FnMut(&ProjectState) -> Shown + Send + 'static,
    ) -> Response {
        let watched = self.watch(project);
        let state =
            Streaming { watched, stop: self.0.stop.clone(), shown, sent: String::new(), is_over: false };
        let events = stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(event)), state))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // Without this header, nginx would buffer the events.
            (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        (headers, Body::from_stream(events)).into_response()
    }
}

/// Returns true if `project` has a run that `known`, read earlier, does not have.
fn lacks_a_run_of(known: Option<&ProjectState>, project: &ProjectState) -> bool {
    let is_known = |id| known.is_some_and(|known| known.run(id).is_some());
    project.runs.iter().any(|run| !is_known(run.id))
}

/// An event about a project.
pub(super) enum Shown {
    /// An event after which others may follow.
    Event(String),
    /// The last event.
    Last(String),
    /// No event: the stream ends.
    Nothing,
}

/// Returns an event with a value as its data.
pub(super) fn event(name: &str, data: &impl Serialize) -> String {
    // Serializing the data of events cannot fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

/// Returns true if the client requests a stream of events.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let media = range.split(';').next().unwrap_or_default();
        media.trim().eq_ignore_ascii_case(MEDIA_TYPE)
    })
}

/// The state of a stream.
struct Streaming<F> {
    watched: watch::Receiver<Snapshot>,
    stop: CancellationToken,
    shown: F,
    sent: String,
    is_over: bool,
}

impl<F: FnMut(&ProjectState) -> Shown> Streaming<F> {
    /// Waits for the next event.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        loop {
            if let Some(event) = self.current() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let changed = tokio::select! {
                () = self.stop.cancelled() => return None,
                changed = timeout(KEEP_ALIVE, self.watched.changed()) => changed,
            };
            match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(": still here\n\n".to_owned()),
            }
        }
    }

    /// Returns the current event, if it was not sent before.
    fn current(&mut self) -> Option<String> {
        let project = self.watched.borrow_and_update().clone();
        let event = match project.as_deref().map(&mut self.shown) {
            Some(Shown::Event(event)) => event,
            Some(Shown::Last(event)) => {
                self.is_over = true;
                event
            }
            Some(Shown::Nothing) | None => {
                self.is_over = true;
                event("gone", &())
            }
        };
        if event == self.sent {
            return None;
        }
        self.sent.clone_from(&event);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_asked_for_by_their_media_type() {
        let asks =
            |value: &str| is_asked_for(&HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]));
        assert!(asks("text/event-stream") && asks("application/json, Text/Event-Stream;q=0.5"));
        assert!(!asks("*/*") && !asks("application/json") && !is_asked_for(&HeaderMap::new()));
    }

    #[test]
    fn an_event_is_one_line_of_data_whatever_is_in_it() {
        assert_eq!(event("view", &"a\r\nb\n"), "event: view\ndata: \"a\\r\\nb\\n\"\n\n");
    }
}

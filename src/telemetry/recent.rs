//! The latest warnings and errors of this process, which the dashboard shows to the operator.

use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::runtime::clock::{Clock, Timestamp};

/// The number of lines that are kept.
const LINES_MAX: usize = 100;
/// The maximum number of bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 500;

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// The time at which the line was written.
    pub at: Timestamp,
    /// True for an error, false for a warning.
    pub is_error: bool,
    /// The sentence, without its fields.
    pub text: String,
}

static LINES: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());

/// Returns the latest lines, the latest first.
pub fn lines() -> Vec<Line> {
    LINES.lock().iter().rev().cloned().collect()
}

/// A log layer that keeps the sentences of warnings and errors of this program, without their fields.
pub(super) struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || !metadata.target().starts_with(env!("CARGO_CRATE_NAME")) {
            return;
        }
        let mut sentence = Sentence(String::new());
        event.record(&mut sentence);
        let mut text = sentence.0;
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        let line = Line { at: Clock::system().now(), is_error: *metadata.level() == Level::ERROR, text };
        let mut lines = LINES.lock();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// The sentence of an event.
struct Sentence(String);

impl Visit for Sentence {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn warnings_and_errors_are_kept_without_their_fields() {
        let subscriber = tracing_subscriber::registry().with(Recent);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("this is usual");
            tracing::warn!(token = "a field", "the disk is nearly full");
            tracing::error!(target: "foreign", "of a library");
        });
        let texts: Vec<String> = lines().into_iter().map(|line| line.text).collect();
        assert!(texts.contains(&"the disk is nearly full".to_owned()), "{texts:?}");
        assert!(
            !texts
                .iter()
                .any(|text| text.contains("usual") || text.contains("field") || text.contains("library"))
        );
    }
}

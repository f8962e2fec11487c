//! Shows progress on standard error: a bar on a terminal, and lines in a file or a pipe.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The number of steps in a progress bar.
const STEPS: u64 = 1000;

/// Shows the progress of one task at a time.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    task: String,
}

impl Progress {
    /// Returns a bar if standard error is a terminal, and lines otherwise.
    pub(super) fn new() -> Self {
        Self::of("{spinner} {msg} {bar:40} {percent:>3} %")
    }

    /// Returns a bar with the remaining time, for tasks that may take hours; lines otherwise.
    pub(super) fn with_eta() -> Self {
        Self::of("{spinner} {msg} {bar:40} {percent:>3} %, {eta} left")
    }

    fn of(template: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template).expect("the template is well formed");
            let bar = ProgressBar::new(STEPS).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, task: String::new() }
    }

    /// Shows a new task, or the progress of the current one, from 0 to 1. Without a bar, a line is written for each
    /// new task only.
    pub(super) fn show(&mut self, task: &str, done: f64) {
        let is_new = self.task != task;
        if is_new {
            task.clone_into(&mut self.task);
            // The remaining time of a task is estimated from this task only.
            self.bar.iter().for_each(ProgressBar::reset_eta);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.task.clone());
                bar.set_position((done.clamp(0.0, 1.0) * STEPS as f64) as u64);
            }
            None if is_new => {
                // An error is ignored: standard error may be closed.
                let _ = writeln!(io::stderr(), "{task}");
            }
            None => {}
        }
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

//! Shows progress on standard error: a bar on a terminal, and lines in a file or a pipe.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

/// The number of steps in a progress bar.
const STEPS: u64 = 1000;
/// The bar on the terminal. It is hidden while other text is written.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Shows the progress of one task at a time.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    task: String,
}

impl Progress {
    /// Returns a bar if standard error is a terminal, and lines otherwise.
    pub(super) fn new() -> Self {
        Self::of("{spinner} {bar:30} {percent:>3} %  {wide_msg}")
    }

    /// Returns a bar with the remaining time, for tasks that may take hours; lines otherwise.
    pub(super) fn with_eta() -> Self {
        Self::of("{spinner} {bar:30} {percent:>3} %, {eta} left  {wide_msg}")
    }

    /// Returns progress for a command that writes its result while it works. There is no bar if both go to a terminal, where
    /// they would mix.
    pub(super) fn beside(output: Option<&Path>) -> Self {
        if output.is_none_or(|path| path == Path::new("-"))
            && io::stdout().is_terminal()
            && io::stderr().is_terminal()
        {
            return Self { bar: None, task: String::new() };
        }
        Self::new()
    }

    fn of(template: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template).expect("the template is well formed");
            let bar = ProgressBar::new(STEPS).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            *SHOWN.lock() = Some(bar.clone());
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
                tell(task);
            }
            None => {}
        }
    }

    /// Removes the bar, as dropping does.
    pub(super) fn finish(self) {
        drop(self);
    }

    /// Removes the bar; no further progress is shown.
    pub(super) fn hide(&mut self) {
        if self.bar.take().is_some() {
            remove();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

/// Writes to the terminal while the bar is hidden.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    let bar = SHOWN.lock().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Writes a line to standard error while the bar is hidden, in one call: it is not mixed with lines of other processes.
/// If standard error cannot be written, there is no reader to inform.
pub(super) fn tell(line: &str) {
    let _ = aside(|| io::stderr().write_all(format!("{line}\n").as_bytes()));
}

/// Removes the bar from the terminal.
pub(super) fn remove() {
    if let Some(bar) = SHOWN.lock().take() {
        bar.finish_and_clear();
    }
}

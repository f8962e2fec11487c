//! Failpoints: named steps at which a crash test stops, kills or slows the process. For tests only.
//!
//! Two environment variables are read once. Without them a step costs one load:
//!
//! - `ENTITYD_BREAKPOINT=step` aborts the process, like a kill, when the step is reached; `step@3` when it is reached for
//!   the third time; `step!` stops the process, until a signal kills or continues it; `step#` panics, every time; `step~`
//!   hangs until the job is cancelled (only at the beginning of a job).
//! - `ENTITYD_SLOW_MS=step=ms,step=ms` makes steps take that much longer.
//!
//! The steps are `body` (each arriving chunk of an upload), `spooled` (a complete upload), and the kinds of jobs:
//! `ingest`, `plan`, `compare`, `finalize` and `purge`. A step has up to four moments: `compare` at its beginning,
//! `compare.done` when its work is done and no output is visible, `compare.published` when its objects are stored (or
//! removed), and `compare.reported` when its outcome is committed and the job is still in the queue. `spooled` has the
//! last three, `body` only the first. `compare` also has `compare.opened`, when its inputs are mapped and checked.
//! A `plan` job that brings a small run to its result also comes to `compare`, `compare.opened` and `finalize`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

const BREAKPOINT: &str = "ENTITYD_BREAKPOINT";
const SLOW: &str = "ENTITYD_SLOW_MS";

/// The environment variables that are read here.
pub const VARIABLES: [&str; 2] = [BREAKPOINT, SLOW];

/// A moment of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The step begins.
    Begun,
    /// The job's inputs are open and checked; nothing is done with them yet.
    Opened,
    /// The work is done; no output is visible yet.
    Done,
    /// The job's objects are stored.
    Published,
    /// The outcome is recorded; the caller has no answer yet.
    Reported,
}

impl Moment {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Begun => "",
            Self::Opened => ".opened",
            Self::Done => ".done",
            Self::Published => ".published",
            Self::Reported => ".reported",
        }
    }
}

/// Performs the action for this moment of a step, if the environment sets one.
pub async fn hit(step: &str, moment: Moment) {
    if let Some(plan) = plan() {
        plan.hit(&format!("{step}{}", moment.suffix())).await;
    }
}

/// Waits until `stopped` returns true, if the environment sets that for the step.
pub async fn hang(step: &str, stopped: impl Fn() -> bool) {
    const LOOK: Duration = Duration::from_millis(5);
    let endless = plan()
        .and_then(|plan| plan.stop.as_ref())
        .is_some_and(|stop| stop.action == Action::Hang && stop.step == step);
    while endless && !stopped() {
        tokio::time::sleep(LOOK).await;
    }
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    PLAN.get_or_init(|| Plan::read(|name| std::env::var(name).ok())).as_ref()
}

#[derive(Debug, Default)]
struct Plan {
    stop: Option<Stop>,
    slow: Vec<(String, Duration)>,
}

#[derive(Debug)]
struct Stop {
    step: String,
    /// The number of times that the step will still pass before the action.
    passes: AtomicU32,
    action: Action,
}

/// The action of a failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The process aborts.
    Abort,
    /// The process stops, as by SIGSTOP.
    Pause,
    /// The job panics.
    Panic,
    /// The job does not end.
    Hang,
}

impl Plan {
    /// Parses the environment; `None` if it sets no failpoint.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let stop = variable(BREAKPOINT).map(|text| Stop::parse(&text));
        let slow = variable(SLOW).map(|text| slow_steps(&text)).unwrap_or_default();
        (stop.is_some() || !slow.is_empty()).then_some(Self { stop, slow })
    }

    async fn hit(&self, step: &str) {
        if let Some((_, pause)) = self.slow.iter().find(|(slow, _)| slow == step) {
            tracing::info!(step, "failpoint: the step is delayed");
            tokio::time::sleep(*pause).await;
        }
        if let Some(stop) = self.stop.as_ref().filter(|stop| stop.is_due(step)) {
            tracing::info!(step, "a test stops the process");
            stop.carry_out();
        }
    }
}

impl Stop {
    fn parse(text: &str) -> Self {
        let actions = [('!', Action::Pause), ('#', Action::Panic), ('~', Action::Hang)];
        let named = actions.iter().find_map(|(mark, action)| Some((text.strip_suffix(*mark)?, *action)));
        let (text, action) = named.unwrap_or((text, Action::Abort));
        let (step, count) = text.split_once('@').unwrap_or((text, "1"));
        let passes = count.parse::<u32>().unwrap_or(1).saturating_sub(1);
        Self { step: step.to_owned(), passes: AtomicU32::new(passes), action }
    }

    fn is_due(&self, step: &str) -> bool {
        let spend = |passes: u32| passes.checked_sub(1);
        step == self.step && self.passes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_err()
    }

    fn carry_out(&self) {
        match self.action {
            Action::Abort => std::process::abort(),
            Action::Pause => {
                // An error does not matter: the test then sees that the process continues.
                let _ = kill_process(getpid(), Signal::STOP);
            }
            Action::Panic => panic!("a test makes {} panic", self.step),
            Action::Hang => {}
        }
    }
}

fn slow_steps(text: &str) -> Vec<(String, Duration)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .filter_map(|(step, ms)| {
            Some((step.trim().to_owned(), Duration::from_millis(ms.trim().parse().ok()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(failpoint: Option<&str>, slow: Option<&str>) -> Option<Plan> {
        Plan::read(|name| if name == BREAKPOINT { failpoint } else { slow }.map(str::to_owned))
    }

    #[test]
    fn a_failpoint_is_due_when_its_step_is_reached_for_the_nth_time() {
        let stop = plan(Some("compare.published@2!"), None).unwrap().stop.unwrap();
        assert_eq!(stop.action, Action::Pause);
        let due: Vec<_> = ["compare", "compare.published", "plan", "compare.published"]
            .map(|step| stop.is_due(step))
            .into();
        assert_eq!(due, [false, false, false, true]);
        for (text, action) in [("plan", Action::Abort), ("plan#", Action::Panic), ("plan~", Action::Hang)] {
            assert_eq!(plan(Some(text), None).unwrap().stop.unwrap().action, action);
        }
    }

    #[test]
    fn steps_are_slowed_by_name() {
        let slow = plan(None, Some("compare=200,plan.done=5")).unwrap().slow;
        let expected = [("compare", 200), ("plan.done", 5)];
        assert_eq!(slow, expected.map(|(step, ms)| (step.to_owned(), Duration::from_millis(ms))));
        assert!(plan(None, None).is_none());
    }
}

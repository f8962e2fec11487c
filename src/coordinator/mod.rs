//! Where a run's story is told: an event comes in; one transaction and a list of jobs go out.

pub mod event;
mod jobs;
mod sizes;
pub mod transition;

pub use event::{Effect, Event, NewRun, Refused, Report, Rules};

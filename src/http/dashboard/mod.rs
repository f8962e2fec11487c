//! The dashboard: pages for analysts, data providers and operators.
//!
//! A page itself contains no secrets and is the same for everyone. Its script requests a view, a fragment of HTML
//! that is rendered here, with the token in the header `Authorization`; the parts of a view that change are sent as
//! events.

mod advice;
mod chart;
mod charts;
mod figures;
pub(super) mod operator;
mod pages;
mod project;
mod provider;
mod results;
mod run;
mod runs;
mod view;

pub(super) use pages::pages;
pub(super) use view::views;

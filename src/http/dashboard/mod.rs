//! The dashboard: pages for analysts, data providers and operators.
//!
//! A page itself holds nothing secret and is the same for all. Its script asks for a view, a piece of HTML that is
//! rendered here, with the token in the header `Authorization`; and the parts of a view that change come as events.

mod advice;
mod chart;
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

//! The operations on objects.

mod attributes;
mod copy;
mod delete;
mod get;
pub(super) mod put;

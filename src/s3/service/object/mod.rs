//! The operations on objects, a file for each verb.

mod attributes;
mod copy;
mod delete;
mod get;
pub(super) mod put;

//! The report on an engine outside the data directory: a database, or a queue.

/// The report on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kind, version and address of the engine, in a few words.
    pub description: String,
    /// Warnings, such as about settings with which data can be lost.
    pub warnings: Vec<String>,
}

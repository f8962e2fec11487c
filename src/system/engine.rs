//! The report on an engine outside the data directory: a database, or a queue.

/// The report on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kind, version and address of the engine, in a few words.
    pub description: String,
    /// Settings that may lose data, each with the possible loss; and other warnings.
    pub warnings: Vec<String>,
}

//! The memory that a value takes.

/// A value whose memory is counted.
pub(super) trait Footprint {
    /// Returns its size in memory.
    fn bytes(&self) -> usize;
}

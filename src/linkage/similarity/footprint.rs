//! The memory that a value takes.

/// A value whose memory is counted.
pub(super) trait Footprint {
    /// Returns the size in memory, in bytes.
    fn bytes(&self) -> usize;
}

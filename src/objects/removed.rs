//! A count of removed objects.

/// A count of removed objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The number of objects.
    pub objects: u64,
    /// The total size of these objects.
    pub bytes: u64,
}

impl Removed {
    /// Adds an object of that size.
    pub(super) const fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

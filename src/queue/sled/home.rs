//! Detects that the store's directory was removed, or that its file system was unmounted. Writes to the open files
//! would be lost.

use std::path::Path;

use super::engine::tree::storage;
use crate::queue::Error;
use crate::system::place::{self, Place};

/// The parent directory and the file system of the store's directory. The directory itself may be recreated.
#[derive(Clone, Debug)]
pub(super) struct Home([Place; 2]);

impl Home {
    /// Returns the home of an existing directory.
    pub(super) fn of(directory: &Path) -> Result<Self, Error> {
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        let places = [Place::of(parent.unwrap_or(Path::new("."))), Place::on_file_system(directory)];
        let [parent, directory] = places.map(|place| place.map_err(storage));
        Ok(Self([parent?, directory?]))
    }

    /// Checks that the directory is still on the same file system.
    ///
    /// # Errors
    /// [`Error::Storage`]: the file system may be mounted again.
    pub(super) fn check(&self) -> Result<(), Error> {
        place::check_all(&self.0).map_err(storage)
    }
}

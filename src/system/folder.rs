//! Creates directories. An error says what is in the way of one.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The mode of a directory that other users may not open.
pub const PRIVATE: u32 = 0o700;
/// The mode of a directory for files that other users may read, as far as the umask allows.
pub const SHARED: u32 = 0o777;

/// Creates the directory at `path` and its parents; a directory that exists stays as it is.
///
/// # Errors
/// The operating system's error; `NotADirectory` if a file is in its place, or in that of a parent.
pub fn create(path: &Path, mode: u32) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| obstacle(path).unwrap_or(error))
}

/// Returns the error for a path in whose place, or in that of a parent, is something other than a directory.
pub fn obstacle(path: &Path) -> Option<io::Error> {
    let (found, metadata) = path.ancestors().find_map(|at| Some((at, fs::metadata(at).ok()?)))?;
    if metadata.is_dir() {
        return None;
    }
    let what = if found == path { "it".to_owned() } else { found.display().to_string() };
    let kind = if metadata.is_file() { "a file" } else { "not a directory" };
    Some(io::Error::new(ErrorKind::NotADirectory, format!("{what} is {kind}, and a directory is needed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_place_of_a_directory_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let said = |path: &Path| create(path, PRIVATE).unwrap_err().to_string();
        assert_eq!(said(&file), "it is a file, and a directory is needed");
        let below = format!("{} is a file, and a directory is needed", file.display());
        assert_eq!(said(&file.join("a/b")), below);
        assert_eq!(said(Path::new("/dev/null")), "it is not a directory, and a directory is needed");
        let folder = home.path().join("a/b");
        create(&folder, PRIVATE).unwrap();
        create(&folder, PRIVATE).unwrap();
    }
}

//! Quarantine: a damaged store is renamed with a timestamp and kept for inspection.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::clock::Timestamp;

/// The number of quarantined stores that are kept; older ones are removed.
const KEPT: usize = 3;

/// Renames the damaged store at `directory` and returns its new path; `None` if nothing is there.
pub(super) fn quarantine(directory: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    if is_nothing(directory)? {
        return Ok(None);
    }
    let mut before = earlier(directory)?;
    let moment = now.whole_seconds().to_string().replace(':', "-");
    let prefix =
        directory.with_file_name(prefix(directory).into_string().unwrap_or_default() + &moment + "Z");
    let again = (2..).map(|number| PathBuf::from(format!("{}-{number}", prefix.display())));
    let free = std::iter::once(prefix.clone()).chain(again).find(|path| !before.contains(path));
    let place = free.unwrap_or(prefix);
    fs::rename(directory, &place)?;
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    before.truncate((before.len() + 1).saturating_sub(KEPT));
    before.iter().for_each(|old| remove(old));
    Ok(Some(place))
}

fn is_nothing(directory: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(directory) {
        Ok(found) if found.is_dir() => Ok(fs::read_dir(directory)?.next().is_none()),
        // A file or a symbolic link, which may be dangling.
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn prefix(directory: &Path) -> OsString {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".damaged-");
    name
}

/// Returns the paths of earlier quarantined stores, the oldest first.
fn earlier(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let (prefix, mut found) = (prefix(directory), Vec::new());
    for entry in fs::read_dir(directory.parent().unwrap_or(directory))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes()).is_some_and(is_moment) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Returns true if the text is a suffix of a quarantined store: `2026-11-29T15-34-39Z` or `2026-11-29T15-34-39Z-2`.
fn is_moment(text: &[u8]) -> bool {
    let shape: Vec<u8> = text.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect();
    let rest = shape.strip_prefix(b"0000-00-00T00-00-00Z");
    rest.is_some_and(|rest| {
        rest.is_empty()
            || matches!(rest.split_first(), Some((b'-', digits)) if digits.iter().all(|d| *d == b'0'))
    })
}

fn remove(old: &Path) {
    let is_folder = fs::symlink_metadata(old).is_ok_and(|found| found.is_dir());
    let removed = if is_folder { fs::remove_dir_all(old) } else { fs::remove_file(old) };
    match removed {
        Ok(()) => tracing::info!("removed {}: only the latest {KEPT} damaged queues are kept", old.display()),
        Err(error) => tracing::warn!("cannot remove {}: {error}", old.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_three_are_kept_under_their_moments() {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue");
        assert_eq!(quarantine(&queue, Timestamp::default()).unwrap(), None);
        fs::create_dir(folder.path().join("queue.damaged-look-at-this")).unwrap();
        for second in [0, 0, 5, 7, 9] {
            fs::create_dir(&queue).unwrap();
            fs::write(queue.join("db"), second.to_string()).unwrap();
            quarantine(&queue, Timestamp::from_micros(second * 1_000_000)).unwrap();
        }
        let kept = earlier(&queue).unwrap();
        let names: Vec<_> = kept.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, [5, 7, 9].map(|second| format!("queue.damaged-1970-01-01T00-00-0{second}Z")));
        assert!(!queue.exists() && folder.path().join("queue.damaged-look-at-this").exists());
    }
}

//! Recognises a part of the data directory that is a link or a mount of a directory with other content.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::error::{Error, unusable};
use super::fresh::is_of_system;
use crate::system::disk;
use crate::system::file_system::is_mount_point;

/// The number of random characters after the prefix of a temporary file.
const RANDOM_CHARS: usize = 6;
/// The prefix of a file in the spool that may become an object.
pub const STAGED: &str = "staged-";
/// The prefix of an unfinished copy in the cache.
pub const PARTIAL: &str = "partial-";
/// The prefix of a temporary file that is unlinked before it gets any content.
pub const MOMENTARY: &str = ".tmp";
/// The suffix of the record of a partial upload.
pub const RECORD: &str = ".record";
/// The names of the entries of a queue.
const QUEUED: [&str; 8] =
    ["conf", "db", "blobs", "journal.0", "journal.1", "identity", "identity.new", "unfinished"];

/// A part of the data directory.
struct Part {
    name: &'static str,
    /// Returns true if an entry with this name belongs to the part.
    is_ours: fn(&str) -> bool,
    /// True if the directory may contain no other entries.
    is_exclusive: bool,
}

/// The parts in which files are created, overwritten or removed.
const PARTS: [Part; 8] = [
    Part {
        name: "objects",
        is_ours: |name| ["entityd", "projects", "buckets", "similarity-scores"].contains(&name),
        is_exclusive: false,
    },
    Part { name: "objects/projects", is_ours: |name| is_hex(name, 48), is_exclusive: false },
    Part { name: "objects/buckets", is_ours: |name| name == "mark" || is_hex(name, 2), is_exclusive: false },
    Part {
        name: "objects/entityd",
        is_ours: |name| ["owner", "metadata.mark"].contains(&name),
        is_exclusive: false,
    },
    Part { name: "spool", is_ours: is_spooled, is_exclusive: true },
    Part { name: "uploads", is_ours: is_partial_upload, is_exclusive: true },
    Part { name: "cache", is_ours: is_cached, is_exclusive: true },
    Part {
        name: "queue",
        is_ours: |name| {
            QUEUED.contains(&name) || ["snap.", "store"].iter().any(|start| name.starts_with(start))
        },
        is_exclusive: true,
    },
];

/// Returns true if this is the name of a file in a spool.
pub fn is_spooled(name: &str) -> bool {
    [STAGED, disk::PROBE, MOMENTARY].iter().any(|prefix| is_temporary(name, prefix))
}

/// Returns true if this is the name of a partial upload, of its record, or of the file with the beginning of the node's
/// upload ids.
fn is_partial_upload(name: &str) -> bool {
    let name = name.strip_suffix(".new").unwrap_or(name);
    name == "node" || is_hex(name.strip_suffix(RECORD).unwrap_or(name), 48)
}

/// Returns true if this is the name of a file in a cache: a number, or the name of an unfinished copy.
pub fn is_cached(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit()) || is_temporary(name, PARTIAL)
}

/// Returns true if `name` is `prefix` and the random characters of a temporary file.
pub fn is_temporary(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix);
    random.is_some_and(|text| {
        text.len() == RANDOM_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Checks every part of a data directory that is a link or a mount.
///
/// # Errors
/// [`Error::ForeignPart`], [`Error::Unusable`].
pub(super) fn check(data_dir: &Path) -> Result<(), Error> {
    for part in &PARTS {
        let path = data_dir.join(part.name);
        let leads_elsewhere = path.is_symlink() || is_mount_point(&path);
        if leads_elsewhere && path.is_dir() {
            check_one(part, &path)?;
        }
    }
    Ok(())
}

/// Checks that the directory at `path` may serve as the part `name`, if it exists.
///
/// # Errors
/// [`Error::ForeignPart`], [`Error::Unusable`].
pub fn check_part(name: &str, path: &Path) -> Result<(), Error> {
    let part = PARTS.iter().find(|part| part.name == name).expect("a known part");
    if path.is_dir() { check_one(part, path) } else { Ok(()) }
}

/// Fails if the directory contains an entry that belongs neither to the part nor to a system. If the part may contain
/// other entries, a single entry that belongs to it suffices.
fn check_one(part: &Part, path: &Path) -> Result<(), Error> {
    let unusable = unusable(path);
    let mut strangers: Vec<OsString> = Vec::new();
    for entry in fs::read_dir(path).map_err(&unusable)? {
        let name = entry.map_err(&unusable)?.file_name();
        if name.to_str().is_some_and(part.is_ours) {
            if !part.is_exclusive {
                return Ok(());
            }
        } else if !is_of_system(&name) {
            strangers.push(name);
        }
    }
    let stranger = strangers.into_iter().min();
    stranger.map_or(Ok(()), |stranger| Err(Error::ForeignPart { path: path.to_owned(), stranger }))
}

fn is_hex(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// An entry that belongs to each part.
    const BELONGING: [&str; PARTS.len()] = [
        "projects",
        "0123456789abcdef0123456789abcdef0123456789abcdef",
        "0f",
        "owner",
        "staged-aB3xYz",
        "0123456789abcdef0123456789abcdef0123456789abcdef.record",
        "partial-aB3xYz",
        "journal.0",
    ];

    #[test]
    fn a_link_to_a_directory_of_something_else_is_named() {
        for (part, belonging) in PARTS.iter().zip(BELONGING) {
            let home = tempfile::tempdir().unwrap();
            let (link, target) = (home.path().join(part.name), home.path().join("target"));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&target, &link).unwrap();
            check(home.path()).unwrap();
            fs::create_dir(&target).unwrap();
            fs::create_dir(target.join("lost+found")).unwrap();
            check(home.path()).unwrap();
            fs::write(target.join("photo.jpg"), "").unwrap();
            let said = check(home.path()).unwrap_err().to_string();
            assert!(
                said.contains(&format!("{} leads to", part.name)) && said.contains("\"photo.jpg\""),
                "{said}"
            );
            fs::write(target.join(belonging), "").unwrap();
            assert_eq!(check(home.path()).is_ok(), !part.is_exclusive, "{}", part.name);
            fs::remove_file(target.join("photo.jpg")).unwrap();
            check(home.path()).unwrap();
        }
    }

    #[test]
    fn a_plain_directory_may_hold_other_files() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("spool")).unwrap();
        fs::write(home.path().join("spool/README"), "").unwrap();
        check(home.path()).unwrap();
        assert!(check_part("spool", &home.path().join("spool")).is_err());
    }

    #[test]
    fn temporary_names_are_a_prefix_and_six_characters() {
        assert!(is_temporary("copy-aB3xYz", "copy-"));
        for name in ["copy-", "copy-1.txt", "copy-of-it", "copy-aB3xYz7", "other-aB3xYz"] {
            assert!(!is_temporary(name, "copy-"), "{name}");
        }
    }
}

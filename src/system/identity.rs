//! The identity of a data directory. It is random, generated once, and stored in every store that belongs to the
//! directory.
//!
//! The file `identity` in the data directory contains it, with the names of the stores that were created:
//!
//! ```text
//! identity 8c1f0d6f3c0a4b1e9d5c7a2b6e4f8091
//! made buckets.db
//! made metadata.db
//! checksum 1c291ca3
//! ```
//!
//! The checksum is the CRC-32 of the lines above it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::data_dir::write_durably;
use super::regular;
use crate::runtime::entropy::Entropy;

/// The name of the file.
const FILE: &str = "identity";

/// The identity of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity([u8; 16]);

impl Identity {
    /// Returns a new random identity.
    pub fn random(entropy: &Entropy) -> Self {
        Self(entropy.bytes())
    }

    /// Parses 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The identity of a data directory, and the stores that were created for it.
#[derive(Debug)]
pub struct Register {
    folder: PathBuf,
    identity: Identity,
    made: BTreeSet<String>,
}

/// Copies the register of one folder, if it exists, into another. The caller must sync it.
///
/// # Errors
/// The operating system's error.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::copy(from.join(FILE), to.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Register {
    /// Reads the register in `folder`; `None` if it is absent or damaged.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match regular::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => String::from_utf8_lossy(&text?).into_owned(),
        };
        let read = parse(&text).map(|(identity, made)| Self { folder: folder.to_owned(), identity, made });
        if read.is_none() {
            tracing::warn!(path = %path.display(), "rewriting a damaged file");
        }
        Ok(read)
    }

    /// Writes a register without any stores.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn make(folder: &Path, identity: Identity) -> io::Result<Self> {
        let register = Self { folder: folder.to_owned(), identity, made: BTreeSet::new() };
        register.write()?;
        Ok(register)
    }

    /// Returns the identity.
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns true if `store` was created before.
    pub fn has(&self, store: &str) -> bool {
        self.made.contains(store)
    }

    /// Returns the stores that were created before.
    pub fn made(&self) -> impl Iterator<Item = &str> {
        self.made.iter().map(String::as_str)
    }

    /// Returns true if no store was created yet.
    pub fn is_new(&self) -> bool {
        self.made.is_empty()
    }

    /// Records that `stores` exist. Writes the file only if one of them is new.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn note(&mut self, stores: impl IntoIterator<Item = String>) -> io::Result<()> {
        let before = self.made.len();
        self.made.extend(stores);
        if self.made.len() == before { Ok(()) } else { self.write() }
    }

    fn write(&self) -> io::Result<()> {
        let made: String = self.made.iter().flat_map(|store| ["made ", store, "\n"]).collect();
        let text = format!("identity {}\n{made}", self.identity);
        let checksum = crc32fast::hash(text.as_bytes());
        write_durably(&self.folder, FILE, &format!("{text}checksum {checksum:08x}\n"))
    }
}

fn parse(text: &str) -> Option<(Identity, BTreeSet<String>)> {
    let (text, checksum) = text.trim_end().rsplit_once("checksum ")?;
    if u32::from_str_radix(checksum, 16) != Ok(crc32fast::hash(text.as_bytes())) {
        return None;
    }
    let mut lines = text.lines();
    let identity = Identity::parse(lines.next()?.strip_prefix("identity ")?)?;
    let made = lines.map(|line| line.strip_prefix("made ").map(str::to_owned)).collect::<Option<_>>()?;
    Some((identity, made))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_register_remembers_what_was_made() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Register::read(folder.path()).unwrap().is_none());
        let mut register = Register::make(folder.path(), Identity([7; 16])).unwrap();
        register.note(["metadata.db".to_owned()]).unwrap();
        let again = Register::read(folder.path()).unwrap().unwrap();
        assert_eq!(again.identity(), register.identity());
        assert!(again.has("metadata.db") && !again.has("buckets.db"));
    }

    #[test]
    fn a_damaged_register_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for damage in ["", "identity 12\n", "identity \nmade x\nchecksum 0\n", "\u{0}"] {
            fs::write(folder.path().join(FILE), damage).unwrap();
            assert!(Register::read(folder.path()).unwrap().is_none());
        }
    }
}

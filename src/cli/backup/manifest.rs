//! The manifest of a backup: every entry with its SHA-256, and one hash of the whole list.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::app::snapshot::About;
use crate::cli::Failure;

/// The highest version of the manifest format. Version 2 has [`Manifest::keys_encrypted`].
const FORMAT: u32 = 2;
/// The entry with the encrypted keys.
pub(in crate::cli) const KEYS: &str = "keys.age";
/// The entry with the format version of the data directory. It is restored last.
pub(in crate::cli) const LAST: &str = "format";

/// The manifest of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Manifest {
    /// The version of this format.
    pub(in crate::cli) format: u32,
    /// The name of the backup.
    pub(in crate::cli) backup: String,
    /// The time at which the backup was made, in UTC.
    pub(in crate::cli) made: String,
    /// The data directory that the backup was made from.
    pub(in crate::cli) about: About,
    /// The entries, in the order of their paths.
    pub(in crate::cli) entries: Vec<Entry>,
    /// The key files that the entry [`KEYS`] contains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) keys_encrypted: Vec<String>,
    /// The SHA-256 of the manifest without this member.
    pub(in crate::cli) root: String,
}

/// A file of the data directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Entry {
    /// The path of the file in the data directory.
    pub(in crate::cli) path: String,
    /// The size of the file.
    pub(in crate::cli) bytes: u64,
    /// The SHA-256 of the file, in hex.
    pub(in crate::cli) sha256: String,
}

impl Manifest {
    /// Sets the root hash, and the lowest format version that has all members of this manifest.
    pub(in crate::cli) fn seal(mut self) -> Self {
        self.format = if self.keys_encrypted.is_empty() { 1 } else { FORMAT };
        self.root = self.computed_root();
        self
    }

    /// Returns the manifest as JSON.
    pub(in crate::cli) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest is plain data")
    }

    /// Parses and checks a manifest that was read from `name`.
    pub(in crate::cli) fn parse(bytes: &[u8], name: &str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |why: &str| Failure::Input(format!("{name} is damaged: {why}; use another backup"));
        let version: Version =
            serde_json::from_slice(bytes).map_err(|_| damaged("it is truncated or not a manifest"))?;
        if version.format > FORMAT {
            return Err(Failure::Input(format!(
                "{name} has format {}, and this version knows formats up to {FORMAT}; use a newer entityd",
                version.format
            )));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| damaged(&error.to_string()))?;
        if manifest.computed_root() != manifest.root {
            return Err(damaged("its root hash does not match its content"));
        }
        let is_plain = |entry: &Entry| {
            let mut parts = Path::new(&entry.path).components();
            !entry.path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(entry) = manifest.entries.iter().find(|e| !is_plain(e) || !is_hash(&e.sha256)) {
            return Err(damaged(&format!("the entry {:?} is invalid", entry.path)));
        }
        if !manifest.entries.iter().any(|entry| entry.path == LAST) {
            return Err(damaged("it has no entry `format`"));
        }
        Ok(manifest)
    }

    /// Returns the total size of all entries.
    pub(in crate::cli) fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).fold(0, u64::saturating_add)
    }

    fn computed_root(&self) -> String {
        let bare = Self { root: String::new(), ..self.clone() };
        hex::encode(Sha256::digest(bare.to_bytes()))
    }
}

/// Returns true if a file with this path in a data directory never changes.
pub(super) fn is_immutable(path: &str) -> bool {
    ["objects/projects/", "objects/similarity-scores/", "objects/buckets/"]
        .iter()
        .any(|folder| path.starts_with(folder))
        && path != "objects/buckets/mark"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let about = About {
            version: "1".to_owned(),
            identity: "2".to_owned(),
            objects: String::new(),
            databases: Vec::new(),
            keys_left_out: Vec::new(),
        };
        let entry = |path: &str| Entry { path: path.to_owned(), bytes: 2, sha256: "ab".repeat(32) };
        let (backup, made) = ("b".to_owned(), "m".to_owned());
        let (entries, keys_encrypted, root) = (vec![entry(LAST)], Vec::new(), String::new());
        Manifest { format: 0, backup, made, about, entries, keys_encrypted, root }
    }

    #[test]
    fn a_manifest_that_was_altered_is_refused() {
        let sealed = manifest().seal();
        assert_eq!(Manifest::parse(&sealed.to_bytes(), "m").unwrap().root, sealed.root);
        let altered = String::from_utf8(sealed.to_bytes()).unwrap().replace("\"bytes\":2", "\"bytes\":3");
        let refused = |bytes: &[u8]| Manifest::parse(bytes, "m").unwrap_err().to_string();
        assert!(refused(altered.as_bytes()).contains("its root"));
        assert!(refused(&sealed.to_bytes()[..50]).contains("truncated"));
        assert!(refused(br#"{"format": 9}"#).contains("use a newer entityd"));
        let mut huge = manifest();
        huge.entries = [huge.entries.clone(), huge.entries].concat();
        huge.entries[0].bytes = u64::MAX;
        assert_eq!(Manifest::parse(&huge.seal().to_bytes(), "m").unwrap().bytes(), u64::MAX);
        for path in ["../x", "/etc/passwd", "", "a/../../b"] {
            let mut wrong = manifest();
            wrong.entries[0].path = path.to_owned();
            assert!(refused(&wrong.seal().to_bytes()).contains("is invalid"), "{path}");
        }
    }
}

//! Describes backups.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::manifest::Manifest;
use crate::app::METADATA;

/// Describes a backup as a JSON object.
pub(super) fn describe(manifest: &Manifest) -> Value {
    json!({
        "backup": manifest.backup, "made": manifest.made, "entityd": manifest.about.version,
        "identity": manifest.about.identity, "objects": manifest.about.objects,
        "databases": manifest.about.databases.iter().cloned().collect::<BTreeMap<_, _>>(),
        "keys_left_out": manifest.about.keys_left_out, "keys_encrypted": manifest.keys_encrypted, "files": manifest.entries.len(),
        "bytes": manifest.bytes(), "root": manifest.root,
    })
}

/// Lists the files that a restored server needs besides the backup, one per line.
pub(super) fn left_out(manifest: &Manifest) -> String {
    let mut text = String::new();
    let about = &manifest.about;
    if !about.keys_left_out.is_empty() {
        let _ = writeln!(
            text,
            "without keys: {}; put them back after a restore, or the next start creates new ones",
            about.keys_left_out.join(", ")
        );
    }
    if !manifest.keys_encrypted.is_empty() {
        let _ = writeln!(
            text,
            "with encrypted keys: {}; without --keys-passphrase-file a restore omits them, and the next start creates new ones",
            manifest.keys_encrypted.join(", ")
        );
    }
    if about.databases.iter().all(|(file, _)| file != METADATA) {
        text.push_str(
            "without projects, parties and runs, which are in PostgreSQL: back those up there, for example with pg_dump\n",
        );
    }
    if !about.objects.is_empty() {
        let _ = writeln!(text, "without the objects at {}: back those up where they are", about.objects);
    }
    text
}

//! Warnings about a schema: settings that the reference accepts and ignores.

use std::collections::HashSet;

use super::definition::Schema;
use super::diagnostic::Diagnostic;
use super::version::Version;
use crate::json::{Node, Value};
use crate::python::base64;

/// The notes on a schema as it was written.
pub(super) fn of(node: &Node, version: Version, schema: &Schema) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    folds(node, &mut notes);
    key_derivation(node, &mut notes);
    unread(node, version, &mut notes);
    let features = node.get("features").map(Node::elements).unwrap_or_default();
    let mut seen = HashSet::new();
    for (at, (node, feature)) in features.iter().zip(&schema.features).enumerate() {
        let path = format!("features[{at}]");
        if !seen.insert(feature.identifier.as_str()) {
            notes.push(Diagnostic::new(node, &path, "an earlier column has the same identifier"));
        }
        if feature.hashing.is_none() && node.get("hashing").is_some() {
            notes.push(Diagnostic::new(node, &path, "the column is ignored although it has hashing"));
        }
        limits(node, &path, &mut notes);
    }
    notes
}

/// Reports limits that no value keeps.
fn limits(feature: &Node, path: &str, notes: &mut Vec<Diagnostic>) {
    let Some(format) = feature.get("format") else { return };
    for (least, most) in [("minLength", "maxLength"), ("minimum", "maximum")] {
        let Some(member) = format.get(most) else { continue };
        let above = format.get(least).and_then(Node::float).zip(member.float());
        if above.is_some_and(|(least, most)| least > most) {
            let rule = format!("this is less than {least}, so every value breaks a rule");
            notes.push(Diagnostic::new(member, &format!("{path}.format.{most}"), rule));
        }
    }
}

fn folds(node: &Node, notes: &mut Vec<Diagnostic>) {
    let config = node.get("clkConfig");
    let member = |name| config.and_then(|config| config.get(name));
    if let Some(folds) = member("xorFolds").filter(|folds| folds.float() != Some(0.0)) {
        let rule = "clkhash accepts xorFolds but does not use it, so filters are not folded; use hardening.xorFolds to fold them";
        notes.push(Diagnostic::new(folds, "clkConfig.xorFolds", rule));
    }
}

fn key_derivation(node: &Node, notes: &mut Vec<Diagnostic>) {
    let Some(kdf) = node.get("clkConfig").and_then(|config| config.get("kdf")) else { return };
    for name in ["salt", "info"] {
        let Some(member) = kdf.get(name) else { continue };
        if member.text().is_some_and(base64::has_skipped) {
            let rule = "characters outside the base64 alphabet are skipped";
            notes.push(Diagnostic::new(member, &format!("clkConfig.kdf.{name}"), rule));
        }
    }
}

/// Reports members that are allowed but have no effect.
fn unread(node: &Node, version: Version, notes: &mut Vec<Diagnostic>) {
    let mut note = |node: &Node, path: &str, known: &[&str]| {
        for (name, member) in node.members().iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            notes.push(Diagnostic::new(member, &path, "this has no effect"));
        }
    };
    note(node, "", &["version", "clkConfig", "features", "hardening", "$schema", "description", "title"]);
    let Some(config) = node.get("clkConfig") else { return };
    let first: &[&str] = if version == Version::V1 { &["k", "hash"] } else { &[] };
    note(config, "clkConfig", &[&["l", "kdf", "xorFolds", "xor_folds"], first].concat());
    if let Some(kdf) = config.get("kdf") {
        note(kdf, "clkConfig.kdf", &["type", "hash", "salt", "info", "keySize"]);
    }
    for (at, feature) in node.get("features").map(Node::elements).unwrap_or_default().iter().enumerate() {
        let path = format!("features[{at}]");
        note(feature, &path, &["identifier", "description", "ignored", "format", "hashing"]);
        let Some(hashing) = feature.get("hashing") else { continue };
        if version == Version::V1 {
            note(hashing, &format!("{path}.hashing"), &["ngram", "positional", "weight", "missingValue"]);
        }
        for (name, known) in [
            (
                "comparison",
                &["type", "n", "positional", "thresholdDistance", "resolution", "fractional_precision"][..],
            ),
            ("missingValue", &["sentinel", "replaceWith"]),
            ("hash", &["type", "prevent_singularity"]),
        ] {
            if let Some(member) = hashing.get(name).filter(|member| matches!(member.value, Value::Object(_)))
            {
                note(member, &format!("{path}.hashing.{name}"), known);
            }
        }
    }
}

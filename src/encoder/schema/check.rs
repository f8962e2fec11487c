//! Checks the structure of a schema. The rules of each version are those of the JSON Schema document that the reference
//! publishes.

mod rules;

use self::rules::{Checker, Place};
use super::diagnostic::Diagnostic;
use super::version::Version;
use crate::json::Node;

/// Checks a schema of this version.
pub(super) fn check(node: &Node, version: Version) -> Result<(), Vec<Diagnostic>> {
    let checker = Checker::new(version);
    let root = Place::root(node);
    checker.object(&root, &["version", "clkConfig", "features"], None);
    checker.each(&root, "clkConfig", clk_config);
    checker.each(&root, "hardening", hardening);
    checker.array(&root, "features").iter().for_each(|place| feature(&checker, place));
    checker.finish()
}

fn clk_config(checker: &Checker, config: &Place<'_>) {
    let is_first = checker.version == Version::V1;
    let required: &[&str] = if is_first { &["l", "k", "kdf", "hash"] } else { &["l", "kdf"] };
    checker.object(config, required, None);
    checker.integer(config, "l", 1);
    checker.integer(config, "xorFolds", 0);
    if is_first {
        checker.integer(config, "k", 1);
        checker.each(config, "hash", hash);
    }
    checker.each(config, "kdf", |checker, kdf| {
        checker.object(kdf, &["type"], None);
        checker.one_of(kdf, "type", &["HKDF"]);
        checker.one_of(kdf, "hash", &["SHA256", "SHA512"]);
        checker.strings(kdf, &["salt", "info"]);
        checker.integer(kdf, "keySize", 1);
    });
}

/// The options that this encoder adds to the format.
fn hardening(checker: &Checker, hardening: &Place<'_>) {
    checker.object(hardening, &[], Some(&["salt", "xorFolds", "balance", "blip"]));
    checker.each(hardening, "salt", |checker, salt| {
        checker.object(salt, &["column"], Some(&["column", "characters", "missingValue"]));
        checker.strings(salt, &["column"]);
        checker.integer(salt, "characters", 1);
        checker.each(salt, "missingValue", |checker, missing| {
            let members = ["sentinel", "replaceWith"];
            checker.object(missing, &members, Some(&members));
            checker.strings(missing, &members);
        });
    });
    checker.integer(hardening, "xorFolds", 0);
    checker.boolean(hardening, "balance");
    checker.each(hardening, "blip", |checker, blip| {
        let members = ["epsilon", "column"];
        checker.object(blip, &members, Some(&members));
        checker.strings(blip, &["column"]);
        checker.number(blip, "epsilon", |_| true, "is finite");
    });
}

fn hash(checker: &Checker, hash: &Place<'_>) {
    checker.object(hash, &["type"], None);
    checker.one_of(hash, "type", &["doubleHash", "blakeHash"]);
    if hash.text("type") == Some("doubleHash") {
        checker.boolean(hash, "prevent_singularity");
    }
}

fn feature(checker: &Checker, feature: &Place<'_>) {
    const IGNORED: &[&str] = &["identifier", "ignored", "description"];
    let is_ignored = feature.node.get("ignored").and_then(Node::boolean) == Some(true);
    let has_more = feature.node.members().iter().any(|(key, _)| !IGNORED.contains(&key.as_str()));
    if is_ignored && !(checker.version == Version::V3 && has_more) {
        let known = if checker.version == Version::V3 { Some(IGNORED) } else { None };
        checker.object(feature, &["identifier", "ignored"], known);
        checker.strings(feature, &["identifier", "description"]);
        if ["format", "hashing"].iter().all(|name| feature.node.get(name).is_some())
            && checker.passes(|checker| encoded(checker, feature))
        {
            checker.refuse(feature, "a column must either be ignored or have a format and hashing");
        }
        return;
    }
    encoded(checker, feature);
}

/// A column that is encoded.
fn encoded(checker: &Checker, feature: &Place<'_>) {
    checker.object(feature, &["identifier", "format", "hashing"], None);
    checker.strings(feature, &["identifier", "description"]);
    if checker.version == Version::V3 {
        checker.boolean(feature, "ignored");
    }
    checker.each(feature, "format", format);
    checker.each(
        feature,
        "hashing",
        match checker.version {
            Version::V1 => hashing_v1,
            Version::V2 => hashing_v2,
            Version::V3 => hashing_v3,
        },
    );
}

fn format(checker: &Checker, format: &Place<'_>) {
    let known: &[&str] = match format.text("type") {
        Some("string") if format.node.get("pattern").is_some() => &["encoding", "pattern"],
        Some("string") => &["encoding", "case", "minLength", "maxLength"],
        Some("integer") => &["minimum", "maximum"],
        Some("date") => &["format"],
        Some("enum") => &["values"],
        _ => &[],
    };
    let required: &[&str] = match format.text("type") {
        Some("date") => &["type", "format"],
        Some("enum") => &["type", "values"],
        _ => &["type"],
    };
    if !checker.one_of(format, "type", &["string", "integer", "date", "enum"]) {
        return checker.object(format, required, None);
    }
    checker.object(format, required, Some(&[&["type", "description"], known].concat()));
    checker.strings(format, &["description", "pattern", "format"]);
    checker.one_of(format, "encoding", &["ascii", "utf-8", "utf-16", "utf-32"]);
    checker.one_of(format, "case", &["upper", "lower", "mixed"]);
    checker.integer(format, "minLength", 0);
    checker.integer(format, "maxLength", 1);
    checker.any_integer(format, "minimum");
    checker.any_integer(format, "maximum");
    for value in checker.array(format, "values") {
        if value.node.text().is_none() {
            checker.refuse(&value, "a value must be a string");
        }
    }
}

fn hashing_v1(checker: &Checker, hashing: &Place<'_>) {
    checker.object(hashing, &["ngram"], None);
    checker.integer(hashing, "ngram", 0);
    checker.boolean(hashing, "positional");
    checker.number(hashing, "weight", |weight| weight >= 0.0, "is at least 0");
    checker.each(hashing, "missingValue", missing_value);
}

fn hashing_v2(checker: &Checker, hashing: &Place<'_>) {
    let known = ["hash", "strategy", "ngram", "positional", "missingValue"];
    checker.object(hashing, &["ngram", "strategy"], Some(&known));
    checker.integer(hashing, "ngram", 1);
    checker.boolean(hashing, "positional");
    checker.each(hashing, "hash", hash);
    checker.each(hashing, "strategy", |checker, strategy| {
        checker.object(strategy, &[], None);
        checker.exactly_one(strategy, &["k", "numBits"]);
    });
    checker.each(hashing, "missingValue", missing_value);
}

fn hashing_v3(checker: &Checker, hashing: &Place<'_>) {
    let known = ["hash", "strategy", "comparison", "missingValue"];
    checker.object(hashing, &["comparison", "strategy"], Some(&known));
    checker.each(hashing, "hash", hash);
    checker.each(hashing, "strategy", |checker, strategy| {
        let known = ["bitsPerToken", "bitsPerFeature"];
        checker.object(strategy, &[], Some(&known));
        checker.exactly_one(strategy, &known);
        checker.integer(strategy, "bitsPerToken", 1);
        checker.integer(strategy, "bitsPerFeature", 1);
    });
    checker.each(hashing, "comparison", comparison);
    checker.each(hashing, "missingValue", missing_value);
}

fn comparison(checker: &Checker, comparison: &Place<'_>) {
    let required: &[&str] = match comparison.text("type") {
        Some("ngram") => &["type", "n"],
        Some("numeric") => &["type", "thresholdDistance", "resolution"],
        _ => &["type"],
    };
    checker.object(comparison, required, None);
    checker.one_of(comparison, "type", &["ngram", "exact", "numeric"]);
    match comparison.text("type") {
        Some("ngram") => {
            checker.integer(comparison, "n", 1);
            checker.boolean(comparison, "positional");
        }
        Some("numeric") => {
            checker.number(comparison, "thresholdDistance", |distance| distance > 0.0, "is above 0");
            checker.integer(comparison, "resolution", 1);
            checker.integer(comparison, "fractional_precision", 0);
        }
        _ => {}
    }
}

fn missing_value(checker: &Checker, missing: &Place<'_>) {
    checker.object(missing, &["sentinel"], None);
    checker.strings(missing, &["sentinel", "replaceWith"]);
}

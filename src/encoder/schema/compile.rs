//! Compiles a checked schema of version 3 into the form that the encoder uses.

use super::definition::{Charset, Feature, HashFunction, Hashing, Schema, Strategy};
use super::diagnostic::Diagnostic;
use super::hardening;
use super::members::{missing, whole};
use crate::format::Format;
use crate::json::Node;
use crate::keys::{self, KeyDerivation};
use crate::python::base64;
use crate::tokens::{Comparison, Numeric};

/// The maximum number of bits of a filter before it is folded, and of insertions for a token or a feature.
const BITS_MAX: usize = 1 << 24;
/// The maximum number of times that a filter is folded.
const FOLDS_MAX: usize = 24;
/// The default length of a key, in bytes.
const KEY_BYTES: usize = 64;
/// The longest key of `BLAKE2b`, in bytes.
const BLAKE_KEY_BYTES: usize = 64;

/// Compiles a schema that was checked.
///
/// # Errors
/// The mistakes that the check of the structure does not find.
pub(super) fn compile(schema: &Node) -> Result<Schema, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    let config = config(schema).map_err(|mistake| mistakes.push(mistake)).ok();
    let mut features = Vec::new();
    for (at, node) in schema.get("features").map(Node::elements).unwrap_or_default().iter().enumerate() {
        let path = format!("features[{at}]");
        match feature(node, &path, config.as_ref()) {
            Ok(feature) => features.push(feature),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let bits = config.as_ref().map(|(bits, ..)| *bits);
    let hardening = hardening::compile(schema, bits).unwrap_or_else(|found| {
        mistakes.extend(found);
        None
    });
    let Some((bits, folds, keys)) = config else { return Err(mistakes) };
    if let Err(rule) = keys::check(&keys, features.len()) {
        mistakes.push(Diagnostic::new(schema, "features", rule));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Schema { bits, folds, keys, features, hardening, notes: Vec::new() })
}

type Config = (usize, u32, KeyDerivation);

fn config(schema: &Node) -> Result<Config, Diagnostic> {
    let config = schema.get("clkConfig").unwrap_or(schema);
    let bits: usize = whole(config, "clkConfig", "l", BITS_MAX)?.unwrap_or_default();
    let folds = folds(schema, config)?;
    if bits << folds > BITS_MAX {
        return Err(Diagnostic::new(
            config,
            "clkConfig",
            format!("a filter must have at most {BITS_MAX} bits before it is folded"),
        ));
    }
    let kdf = config.get("kdf").unwrap_or(config);
    let keys = KeyDerivation {
        is_sha512: kdf.get("hash").and_then(Node::text) == Some("SHA512"),
        salt: decoded(kdf, "salt")?,
        info: decoded(kdf, "info")?.unwrap_or_default(),
        key_bytes: whole(kdf, "clkConfig.kdf", "keySize", BITS_MAX)?.unwrap_or(KEY_BYTES),
    };
    Ok((bits, folds, keys))
}

/// Returns the number of times that filters are folded. clkhash reads `clkConfig.xor_folds`; `hardening.xorFolds` is the
/// documented option.
fn folds(schema: &Node, config: &Node) -> Result<u32, Diagnostic> {
    let known = whole(config, "clkConfig", "xor_folds", FOLDS_MAX)?.unwrap_or_default();
    let Some(node) = schema.get("hardening") else { return Ok(known as u32) };
    let own = whole(node, "hardening", "xorFolds", FOLDS_MAX)?.unwrap_or_default();
    if known > 0 && own > 0 {
        let rule = "clkConfig.xor_folds is set too: keep one of the two";
        return Err(Diagnostic::new(node.get("xorFolds").unwrap_or(node), "hardening.xorFolds", rule));
    }
    Ok(known.max(own) as u32)
}

fn decoded(kdf: &Node, name: &str) -> Result<Option<Vec<u8>>, Diagnostic> {
    let Some(node) = kdf.get(name) else { return Ok(None) };
    let bytes = base64::decode(node.text().unwrap_or_default());
    bytes.map(Some).map_err(|rule| Diagnostic::new(node, &format!("clkConfig.kdf.{name}"), rule))
}

fn feature(node: &Node, path: &str, config: Option<&Config>) -> Result<Feature, Diagnostic> {
    let identifier = node.get("identifier").and_then(Node::text).unwrap_or_default().to_owned();
    if node.get("ignored").and_then(Node::boolean) == Some(true) {
        return Ok(Feature { identifier, hashing: None });
    }
    let format = node.get("format").unwrap_or(node);
    let hashing = node.get("hashing").unwrap_or(node);
    let path = |name: &str| format!("{path}.{name}");
    Ok(Feature {
        identifier,
        hashing: Some(Hashing {
            format: Format::compile(format)
                .map_err(|(node, rule)| Diagnostic::new(node, &path("format"), rule))?,
            comparison: comparison(
                hashing.get("comparison").unwrap_or(hashing),
                &path("hashing.comparison"),
            )?,
            strategy: strategy(hashing.get("strategy").unwrap_or(hashing), &path("hashing.strategy"))?,
            charset: charset(format),
            function: function(hashing, &path("hashing.hash"), config)?,
            missing: hashing.get("missingValue").map(missing),
        }),
    })
}

fn charset(format: &Node) -> Charset {
    match format.get("encoding").and_then(Node::text) {
        Some("ascii") => Charset::Ascii,
        Some("utf-16") => Charset::Utf16,
        Some("utf-32") => Charset::Utf32,
        _ => Charset::Utf8,
    }
}

fn strategy(node: &Node, path: &str) -> Result<Strategy, Diagnostic> {
    let is_per_token = node.get("bitsPerToken").is_some();
    let name = if is_per_token { "bitsPerToken" } else { "bitsPerFeature" };
    let bits = node.get(name).and_then(Node::float).unwrap_or_default();
    if bits > BITS_MAX as f64 {
        return Err(Diagnostic::new(node, path, format!("{name} must be at most {BITS_MAX}")));
    }
    let bits = bits as u32;
    Ok(if is_per_token { Strategy::PerToken(bits) } else { Strategy::PerFeature(bits) })
}

fn function(hashing: &Node, path: &str, config: Option<&Config>) -> Result<HashFunction, Diagnostic> {
    let hash = hashing.get("hash");
    let place = hash.unwrap_or(hashing);
    let singularity = hash.and_then(|hash| hash.get("prevent_singularity"));
    let prevent_singularity = singularity.and_then(Node::boolean).unwrap_or(false);
    if hash.and_then(|hash| hash.get("type")).and_then(Node::text) == Some("doubleHash") {
        return Ok(HashFunction::Double { prevent_singularity });
    }
    if let Some(node) = singularity.filter(|node| !matches!(node.value, crate::json::Value::Null)) {
        return Err(Diagnostic::new(node, path, "prevent_singularity is an option of doubleHash only"));
    }
    let Some((bits, folds, keys)) = config else { return Ok(HashFunction::Blake) };
    if !(bits << folds).is_power_of_two() {
        return Err(Diagnostic::new(place, path, "with blakeHash (the default) l must be a power of two"));
    }
    if keys.key_bytes > BLAKE_KEY_BYTES {
        return Err(Diagnostic::new(place, path, "with blakeHash (the default) keySize must be at most 64"));
    }
    Ok(HashFunction::Blake)
}

fn comparison(node: &Node, path: &str) -> Result<Comparison, Diagnostic> {
    match node.get("type").and_then(Node::text) {
        Some("ngram") => Ok(Comparison::Ngram {
            n: whole(node, path, "n", 1 << 16)?.unwrap_or(2),
            positional: node.get("positional").and_then(Node::boolean).unwrap_or(false),
        }),
        Some("numeric") => {
            let resolution = whole(node, path, "resolution", 1 << 16)?.unwrap_or(1);
            let precision = whole(node, path, "fractional_precision", 300)?.unwrap_or(0);
            let distance = node.get("thresholdDistance").and_then(Node::number).unwrap_or_default();
            let numeric = Numeric::new(distance, resolution as u32, precision as u32);
            numeric.map(Comparison::Numeric).map_err(|rule| Diagnostic::new(node, path, rule))
        }
        _ => Ok(Comparison::Exact),
    }
}

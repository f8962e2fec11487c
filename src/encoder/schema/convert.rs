//! Converts older schemas to version 3. Values keep their positions in the text.

use super::version::Version;
use crate::json::{Node, Value};

/// Converts a schema that was checked.
pub(super) fn to_latest(schema: Node, version: Version) -> Node {
    match version {
        Version::V1 => v2_to_v3(v1_to_v2(schema)),
        Version::V2 => v2_to_v3(schema),
        Version::V3 => schema,
    }
}

/// Sets the version number and converts each element of `features`.
fn with_features(mut schema: Node, version: u8, convert: impl Fn(Node) -> Node) -> Node {
    let number = schema.beside(Value::Number(version.to_string()));
    schema.set("version", number);
    if let Some(features) = schema.get("features") {
        let converted = features.elements().iter().cloned().map(convert).collect();
        let converted = features.beside(Value::Array(converted));
        schema.set("features", converted);
    }
    schema
}

fn v1_to_v2(mut schema: Node) -> Node {
    let config = schema.take("clkConfig").unwrap_or_else(|| schema.beside(Value::Object(Vec::new())));
    let weight_one = config.get("k").and_then(Node::float).unwrap_or_default();
    let hash = config.get("hash").cloned();
    let mut kept = config.beside(Value::Object(Vec::new()));
    kept.set("l", config.get("l").cloned().unwrap_or_else(|| config.beside(Value::Null)));
    let folds = config.get("xor_folds").cloned();
    kept.set("xor_folds", folds.unwrap_or_else(|| config.beside(Value::Number("0".to_owned()))));
    kept.set("kdf", config.get("kdf").cloned().unwrap_or_else(|| config.beside(Value::Null)));

    let mut converted = schema.beside(Value::Object(Vec::new()));
    converted.set("version", schema.beside(Value::Null));
    converted.set("clkConfig", kept);
    if let Some(hardening) = schema.take("hardening") {
        converted.set("hardening", hardening);
    }
    converted.set("features", schema.take("features").unwrap_or_else(|| schema.beside(Value::Null)));
    with_features(converted, 2, |feature| feature_v1(feature, weight_one, hash.as_ref()))
}

/// Converts a column. Its weight, 1 by default, times `k` becomes the number of bits per token. A column of weight 0 is
/// ignored.
fn feature_v1(mut feature: Node, k: f64, hash: Option<&Node>) -> Node {
    if is_ignored(&feature) {
        return feature;
    }
    let Some(mut hashing) = feature.take("hashing") else { return feature };
    let weight = hashing.take("weight");
    let place = weight.as_ref().unwrap_or(&hashing).clone();
    let weight = weight.as_ref().map_or(Some(1.0), Node::float).unwrap_or(1.0);
    if weight == 0.0 {
        let mut ignored = feature.beside(Value::Object(Vec::new()));
        ignored.set("identifier", feature.take("identifier").unwrap_or_else(|| feature.beside(Value::Null)));
        ignored.set("ignored", feature.beside(Value::Bool(true)));
        return ignored;
    }
    let bits = place.beside(Value::Number(format!("{:.0}", (weight * k).round_ties_even())));
    hashing.set("strategy", place.beside(Value::Object(vec![("k".to_owned(), bits)])));
    if let Some(hash) = hash {
        hashing.set("hash", hash.clone());
    }
    feature.set("hashing", hashing);
    feature
}

fn v2_to_v3(schema: Node) -> Node {
    with_features(schema, 3, feature_v2)
}

fn feature_v2(mut feature: Node) -> Node {
    if is_ignored(&feature) {
        return feature;
    }
    let Some(mut hashing) = feature.take("hashing") else { return feature };
    if let Some(mut strategy) = hashing.take("strategy") {
        if let Some(bits) = strategy.take("k") {
            strategy.set("bitsPerToken", bits);
        } else if let Some(bits) = strategy.take("numBits") {
            strategy.set("bitsPerFeature", bits);
        }
        hashing.set("strategy", strategy);
    }
    if let Some(n) = hashing.take("ngram") {
        let kind = n.beside(Value::String("ngram".to_owned()));
        let positional = hashing.take("positional").unwrap_or_else(|| n.beside(Value::Bool(false)));
        let members = [("type", kind), ("n", n.clone()), ("positional", positional)];
        let members = members.map(|(name, node)| (name.to_owned(), node)).to_vec();
        hashing.set("comparison", n.beside(Value::Object(members)));
    }
    feature.set("hashing", hashing);
    feature
}

fn is_ignored(feature: &Node) -> bool {
    feature.get("ignored").and_then(Node::boolean) == Some(true)
}

//! The member `hardening` of a schema: options against attacks on encodings. clkhash does not know them.

use super::diagnostic::Diagnostic;
use super::members::{Missing, missing, whole};
use crate::json::Node;

/// The maximum number of bits of an encoding that any server accepts.
const ENCODING_BITS_MAX: usize = 8 * 4_096;
/// The maximum number of bits of an encoding that a server accepts by default.
const ENCODING_BITS_DEFAULT: usize = 8 * 1_024;
/// Encodings are compared in words of this many bits.
const WORD_BITS: usize = 64;
/// The maximum epsilon. It flips about one bit in nine million.
const EPSILON_MAX: f64 = 16.0;
/// The maximum number of characters of a salt.
const CHARACTERS_MAX: usize = 1 << 16;

/// Options against attacks.
#[derive(Clone, Debug)]
pub struct Hardening {
    /// The option that salts records.
    pub(crate) salt: Option<Salt>,
    /// Each encoding is a filter and its complement, permuted.
    pub(crate) is_balanced: bool,
    /// The option that flips bits.
    pub(crate) blip: Option<Blip>,
    /// The note that clkhash does not know the options.
    pub note: Diagnostic,
}

/// A column whose value changes the keys of a record.
#[derive(Clone, Debug)]
pub(crate) struct Salt {
    pub(crate) column: usize,
    name: String,
    /// The number of leading characters of the value that form the salt; `None` for the whole value.
    pub(crate) characters: Option<usize>,
    pub(crate) missing: Option<Missing>,
}

/// Randomised response: each bit is flipped with the same probability.
///
/// Source: Alaggan, Gambs & Kermarrec (2012), "BLIP: non-interactive differentially-private similarity computation on Bloom
/// filters"; Schnell & Borgs (2016), "Randomized response and balanced Bloom filters for privacy preserving record linkage".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blip {
    pub(crate) epsilon: f64,
    /// The column that identifies the record.
    pub(crate) column: usize,
}

impl Blip {
    /// The probability that a bit is flipped, in units of 2^-32. It is rounded up, so that epsilon is not exceeded.
    pub(crate) fn threshold(self) -> u32 {
        ((1.0 / (1.0 + self.epsilon.exp())) * 2.0_f64.powi(32)).ceil() as u32
    }
}

impl Hardening {
    /// Bits of the encodings made of filters of `bits` bits.
    pub(crate) const fn encoding_bits(&self, bits: usize) -> usize {
        if self.is_balanced { 2 * bits } else { bits }
    }

    /// Describes each option in words, for filters of `bits` bits that were folded `folds` times.
    pub(super) fn in_words(&self, bits: usize, folds: u32) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(salt) = &self.salt {
            let part = match salt.characters {
                Some(1) => "the first character of ".to_owned(),
                Some(characters) => format!("the first {characters} characters of "),
                None => String::new(),
            };
            let name = &salt.name;
            lines.push(format!("salt: {part}{name}; records with different salts do not match"));
        }
        if folds > 0 {
            lines.push(format!("folding: filters of {} bits become {bits} bits", bits << folds));
        }
        if let Some(blip) = self.blip {
            let (epsilon, threshold) = (blip.epsilon, f64::from(blip.threshold()));
            lines.push(format!(
                "BLIP: epsilon {epsilon} for each bit, which is flipped with probability {:.6}; for records whose filters \
                 differ in k bits, epsilon is {epsilon} times k; for any two records, up to {epsilon} times {bits}",
                threshold / 2.0_f64.powi(32)
            ));
        }
        if self.is_balanced {
            lines.push(format!("balance: each encoding has {bits} of {} bits set, permuted", 2 * bits));
        }
        let bits = self.encoding_bits(bits);
        if bits > ENCODING_BITS_DEFAULT {
            lines.push(format!(
                "size: servers accept {bits} bits only with --max-encoding-bytes {}",
                bits / 8
            ));
        }
        lines
    }
}

/// Compiles the options of a checked schema, for filters of `bits` bits.
pub(super) fn compile(schema: &Node, bits: Option<usize>) -> Result<Option<Hardening>, Vec<Diagnostic>> {
    let Some(node) = schema.get("hardening") else { return Ok(None) };
    let mut mistakes = Vec::new();
    let salt = node.get("salt").map(|node| salt(schema, node)).transpose();
    let salt = salt.unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    });
    let blip = node.get("blip").map(|node| blip(schema, node)).transpose();
    let blip = blip.unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    });
    let note = Diagnostic::new(
        node,
        "hardening",
        "this is an extension of entityd that clkhash ignores: all parties must encode with entityd and the same hardening",
    );
    let is_balanced = node.get("balance").and_then(Node::boolean) == Some(true);
    let hardening = Hardening { salt, is_balanced, blip, note };
    if let Some(rule) = bits.and_then(|bits| length_rule(bits, &hardening)) {
        let place = schema.get("clkConfig").and_then(|config| config.get("l")).unwrap_or(node);
        mistakes.push(Diagnostic::new(place, "clkConfig.l", rule));
    }
    if mistakes.is_empty() { Ok(Some(hardening)) } else { Err(mistakes) }
}

/// Returns the rule that the length of the encodings breaks.
fn length_rule(bits: usize, hardening: &Hardening) -> Option<String> {
    if bits == 0 || !bits.is_multiple_of(WORD_BITS) {
        let next = bits.next_multiple_of(WORD_BITS).max(WORD_BITS);
        return Some(format!("with hardening l must be a multiple of {WORD_BITS}, such as {next}"));
    }
    let (found, most) = (hardening.encoding_bits(bits), ENCODING_BITS_MAX);
    let most_here = most * bits / found;
    let reason = if hardening.is_balanced { ", and balance doubles l" } else { "" };
    (found > most).then(|| {
        format!(
            "a server accepts encodings of at most {most} bits{reason}: with this hardening l must be at most {most_here}"
        )
    })
}

fn salt(schema: &Node, node: &Node) -> Result<Salt, Diagnostic> {
    let path = "hardening.salt";
    let missing = node.get("missingValue").map(missing);
    if missing.as_ref().is_some_and(|missing| missing.replacement.is_empty()) {
        return Err(Diagnostic::new(node, path, "replaceWith must not be empty: it is a salt"));
    }
    Ok(Salt {
        column: column(schema, node, path)?,
        name: node.get("column").and_then(Node::text).unwrap_or_default().to_owned(),
        characters: whole(node, path, "characters", CHARACTERS_MAX)?,
        missing,
    })
}

fn blip(schema: &Node, node: &Node) -> Result<Blip, Diagnostic> {
    let epsilon = node.get("epsilon").unwrap_or(node);
    let value = epsilon.float().unwrap_or_default();
    if !(value > 0.0 && value <= EPSILON_MAX) {
        let rule = format!(
            "this must be above 0 and at most {EPSILON_MAX}: at 0 encodings are noise, and above {EPSILON_MAX} hardly any bit is flipped"
        );
        return Err(Diagnostic::new(epsilon, "hardening.blip.epsilon", rule));
    }
    Ok(Blip { epsilon: value, column: column(schema, node, "hardening.blip")? })
}

/// Returns the column that `node` names. Its name must be unique.
fn column(schema: &Node, node: &Node, path: &str) -> Result<usize, Diagnostic> {
    let place = node.get("column").unwrap_or(node);
    let name = place.text().unwrap_or_default();
    let features = schema.get("features").map(Node::elements).unwrap_or_default();
    let names: Vec<&str> = features
        .iter()
        .map(|feature| feature.get("identifier").and_then(Node::text).unwrap_or_default())
        .collect();
    let mut found = names.iter().enumerate().filter(|(_, other)| **other == name);
    let rule = match (found.next(), found.next()) {
        (Some((at, _)), None) => return Ok(at),
        (Some(_), Some(_)) => format!("more than one column is named {name:?}"),
        (None, _) => format!("no column is named {name:?}; the columns are {}", names.join(", ")),
    };
    Err(Diagnostic::new(place, &format!("{path}.column"), rule))
}

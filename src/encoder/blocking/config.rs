//! The configuration of blocking, in the format of blocklib.

use num_bigint::BigUint;

use super::lambda_fold::LambdaFold;
use super::psig::{Filter, PSig};
use super::signature::{Part, Position};
use crate::json::{Node, Value};
use crate::python::numbers;
use crate::schema::{Diagnostic, Diagnostics};

/// The maximum number of bits of a filter, of hash functions and of tables.
const NUMBER_MAX: u32 = 1 << 24;

/// The blocking method, with the configuration as it was written.
#[derive(Clone, Debug)]
pub struct Config {
    /// The method.
    pub method: Method,
    source: Node,
}

/// A blocking method.
#[derive(Clone, Debug)]
pub enum Method {
    /// Records that share a signature form a block.
    PSig(PSig),
    /// Records whose sampled filter bits are equal form a block.
    LambdaFold(LambdaFold),
}

impl Config {
    /// Reads a configuration. `header` holds the column names of the table; `None` if it has no header.
    ///
    /// # Errors
    /// The mistakes in the configuration.
    pub fn read(text: &str, header: Option<&[String]>) -> Result<Self, Diagnostics> {
        let source = Node::parse(text).map_err(|error| Diagnostics::syntax(&error))?;
        let method = method(&source, header).map_err(|mistake| Diagnostics::new(text, vec![mistake]))?;
        Ok(Self { method, source })
    }

    /// Returns whether a configuration expects a list of encodings as input instead of a table.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn takes_encodings(text: &str) -> Result<bool, Diagnostics> {
        let source = Node::parse(text).map_err(|error| Diagnostics::syntax(&error))?;
        let is_fold = source.get("type").and_then(Node::text) == Some("lambda-fold");
        let asked = source.get("config").and_then(|config| config.get("input-clks")).and_then(Node::boolean);
        Ok(is_fold && asked == Some(true))
    }
}

impl serde::Serialize for Config {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(serializer)
    }
}

fn method(source: &Node, header: Option<&[String]>) -> Result<Method, Diagnostic> {
    let root = Settings { node: source, path: "" };
    if root.member("version")?.number().is_none() {
        return Err(root.mistake("version", "this must be a number"));
    }
    let config = Settings { node: root.member("config")?, path: "config" };
    let columns = Columns { header, features: config.member("blocking-features")? };
    columns.check(&config)?;
    match root.member("type")?.text() {
        Some("p-sig") => psig(&config, &columns).map(Method::PSig),
        Some("lambda-fold") => lambda_fold(&config, &columns).map(Method::LambdaFold),
        _ => Err(root.mistake("type", "this must be one of p-sig, lambda-fold")),
    }
}

fn psig(config: &Settings<'_>, columns: &Columns<'_>) -> Result<PSig, Diagnostic> {
    let filter = Settings { node: config.member("filter")?, path: "config.filter" };
    let is_ratio = match filter.member("type")?.text() {
        Some("ratio") => true,
        Some("count") => false,
        _ => return Err(filter.mistake("type", "this must be one of ratio, count")),
    };
    let blocking = Settings { node: config.member("blocking-filter")?, path: "config.blocking-filter" };
    let specs = config.member("signatureSpecs")?;
    if specs.elements().is_empty() {
        return Err(config.mistake("signatureSpecs", "this must be a non-empty array of strategies"));
    }
    columns.resolve_all(config)?;
    let strategy = |strategy: &Node| strategy.elements().iter().map(|spec| part(spec, columns)).collect();
    Ok(PSig {
        strategies: specs.elements().iter().map(strategy).collect::<Result<_, _>>()?,
        filter: Filter { is_ratio, least: filter.float("min")?, most: filter.float("max")? },
        functions: blocking.whole("number-hash-functions", 0)?,
        bits: blocking.whole("bf-len", 1)?,
        record_column: config.record_column()?,
    })
}

fn part(spec: &Node, columns: &Columns<'_>) -> Result<Part, Diagnostic> {
    let path = "config.signatureSpecs";
    let feature = spec.get("feature").ok_or_else(|| Diagnostic::new(spec, path, "feature is missing"))?;
    let column = columns.resolve_part(feature, path)?;
    let kind = spec.get("type").ok_or_else(|| Diagnostic::new(spec, path, "type is missing"))?;
    let takes_positions = matches!(kind.text(), Some("characters-at" | "characters_at"));
    let settings = spec.get("config").map(Node::members).unwrap_or_default();
    if let Some((name, node)) = settings.iter().find(|(name, _)| !(takes_positions && name == "pos")) {
        return Err(Diagnostic::new(node, path, format!("there is no member {name} here")));
    }
    match kind.text() {
        Some("feature-value") => Ok(Part::Value { column }),
        Some("metaphone") => Ok(Part::Metaphone { column }),
        Some("characters-at" | "characters_at") => {
            let positions = spec.get("config").and_then(|config| config.get("pos"));
            let positions = positions.ok_or_else(|| Diagnostic::new(spec, path, "config.pos is missing"))?;
            let position = |node: &Node| match &node.value {
                Value::String(text) => {
                    Position::parse(text).map_err(|rule| Diagnostic::new(node, path, rule))
                }
                _ => node
                    .integer()
                    .map(Position::At)
                    .ok_or_else(|| Diagnostic::new(node, path, "this is not a position")),
            };
            let positions = positions.elements().iter().map(position).collect::<Result<_, _>>()?;
            Ok(Part::Characters { column, positions })
        }
        _ => Err(Diagnostic::new(kind, path, "this must be one of feature-value, characters-at, metaphone")),
    }
}

fn lambda_fold(config: &Settings<'_>, columns: &Columns<'_>) -> Result<LambdaFold, Diagnostic> {
    let seed = config.member("random_state")?;
    let digits = seed.number().map(|text| text.trim_start_matches('-'));
    let seed = digits.and_then(|digits| digits.parse::<BigUint>().ok());
    let takes_encodings = config.member("input-clks")?.boolean();
    let takes_encodings =
        takes_encodings.ok_or_else(|| config.mistake("input-clks", "this must be true or false"))?;
    Ok(LambdaFold {
        columns: if takes_encodings { Vec::new() } else { columns.resolve_all(config)? },
        tables: config.whole("Lambda", 1)?,
        bits: config.whole("bf-len", 1)?,
        functions: config.whole("num-hash-funcs", 0)?,
        drawn: config.whole("K", 0)?,
        seed: seed.ok_or_else(|| config.mistake("random_state", "this must be an integer"))?,
        record_column: if takes_encodings { None } else { config.record_column()? },
    })
}

/// An object of the configuration.
struct Settings<'a> {
    node: &'a Node,
    path: &'static str,
}

impl<'a> Settings<'a> {
    fn member(&self, name: &str) -> Result<&'a Node, Diagnostic> {
        self.node.get(name).ok_or_else(|| Diagnostic::new(self.node, self.path, format!("{name} is missing")))
    }

    fn mistake(&self, name: &str, rule: impl Into<String>) -> Diagnostic {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Diagnostic::new(self.node.get(name).unwrap_or(self.node), &path, rule)
    }

    fn float(&self, name: &str) -> Result<f64, Diagnostic> {
        self.member(name)?.float().ok_or_else(|| self.mistake(name, "this must be a number"))
    }

    /// Reads an integer of at least `least`. It may be written as a string, and a fraction is truncated.
    fn whole(&self, name: &str, least: u32) -> Result<u32, Diagnostic> {
        let member = self.member(name)?;
        let number = match &member.value {
            Value::String(text) => numbers::int(text),
            _ => member.float().and_then(numbers::truncate),
        };
        let number = number.and_then(|number| u32::try_from(number).ok());
        let refuse =
            || self.mistake(name, format!("this must be a whole number from {least} to {NUMBER_MAX}"));
        number.filter(|number| (least..=NUMBER_MAX).contains(number)).ok_or_else(refuse)
    }

    fn record_column(&self) -> Result<Option<usize>, Diagnostic> {
        let Some(node) = self.node.get("record-id-col") else { return Ok(None) };
        if matches!(node.value, Value::Null) {
            return Ok(None);
        }
        let refuse = || self.mistake("record-id-col", "this must be the number of a column, from 0");
        node.integer().map(Some).ok_or_else(refuse)
    }
}

/// Finds columns of the table, which are given by name or by number from 0.
struct Columns<'a> {
    header: Option<&'a [String]>,
    features: &'a Node,
}

impl Columns<'_> {
    /// Checks that all features are names, or all are numbers.
    fn check(&self, config: &Settings<'_>) -> Result<(), Diagnostic> {
        let features = self.features.elements();
        let named = features.iter().filter(|feature| feature.text().is_some()).count();
        if features.is_empty() || (named > 0 && named < features.len()) {
            let rule = "this must be a non-empty array of column names, or of column numbers from 0";
            return Err(config.mistake("blocking-features", rule));
        }
        Ok(())
    }

    fn resolve_all(&self, config: &Settings<'_>) -> Result<Vec<usize>, Diagnostic> {
        let path = format!("{}.blocking-features", config.path);
        self.features.elements().iter().map(|feature| self.resolve(feature, &path)).collect()
    }

    /// Finds the column of a signature. A name is allowed if the features have names.
    fn resolve_part(&self, feature: &Node, path: &str) -> Result<usize, Diagnostic> {
        let is_named = |feature: &Node| feature.text().is_some();
        if is_named(feature) && !self.features.elements().iter().any(is_named) {
            let rule = "this must be the number of a column, as blocking-features has numbers";
            return Err(Diagnostic::new(feature, path, rule));
        }
        self.resolve(feature, path)
    }

    fn resolve(&self, feature: &Node, path: &str) -> Result<usize, Diagnostic> {
        let Some(name) = feature.text() else {
            let refuse =
                || Diagnostic::new(feature, path, "this must be a column's name, or its number from 0");
            return feature.integer().ok_or_else(refuse);
        };
        let header = self.header.ok_or_else(|| {
            Diagnostic::new(
                feature,
                path,
                "columns have no names without a header; give their numbers from 0",
            )
        })?;
        let found = header.iter().rposition(|column| column == name);
        found.ok_or_else(|| Diagnostic::new(feature, path, "the table has no column of this name"))
    }
}

//! Formats of columns. A format checks a value and returns its normalized form, which is then cut into tokens.

use std::borrow::Cow;
use std::collections::HashSet;

use num_bigint::BigInt;

use super::json::Node;
use super::python::dates::DateFormat;
use super::python::numbers;
use super::python::pattern::Pattern;

/// The format of a column.
#[derive(Clone, Debug)]
pub(super) enum Format {
    Text(Text),
    Pattern { compiled: Pattern, source: String },
    Integer { minimum: Option<BigInt>, maximum: Option<BigInt> },
    Date { compiled: DateFormat, source: String },
    Enum(HashSet<String>),
}

/// The constraints on a text.
#[derive(Clone, Debug)]
pub(super) struct Text {
    case: Case,
    least: Option<f64>,
    most: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Mixed,
}

impl Format {
    /// Compiles a column's format from a schema that was checked.
    ///
    /// # Errors
    /// The invalid value, with the rule that it breaks.
    pub(super) fn compile(node: &Node) -> Result<Self, (&Node, String)> {
        match node.get("type").and_then(Node::text) {
            Some("integer") => {
                Ok(Self::Integer { minimum: bound(node, "minimum"), maximum: bound(node, "maximum") })
            }
            Some("date") => {
                let source = node.get("format").and_then(Node::text).unwrap_or_default().to_owned();
                let compiled = DateFormat::new(&source);
                let compiled = compiled.map_err(|rule| (node.get("format").unwrap_or(node), rule))?;
                Ok(Self::Date { compiled, source })
            }
            Some("enum") => {
                let values = node.get("values").map(Node::elements).unwrap_or_default().iter();
                Ok(Self::Enum(values.filter_map(Node::text).map(ToOwned::to_owned).collect()))
            }
            _ => match node.get("pattern") {
                Some(pattern) => {
                    let source = pattern.text().unwrap_or_default().to_owned();
                    let compiled = Pattern::new(&source);
                    let refuse = |rule| (pattern, format!("this is not a valid regular expression: {rule}"));
                    Ok(Self::Pattern { compiled: compiled.map_err(refuse)?, source })
                }
                None => Ok(Self::Text(Text::compile(node))),
            },
        }
    }

    /// Checks a value and returns the form that is encoded.
    ///
    /// # Errors
    /// The rule that the value breaks. The message leaves out the value.
    pub(super) fn apply<'a>(&self, value: &'a str) -> Result<Cow<'a, str>, String> {
        match self {
            Self::Text(text) => text.check(value).map(|()| Cow::Borrowed(value)),
            Self::Pattern { compiled, source } => {
                let rule = || format!("the value must match the pattern {source}");
                compiled.matches(value).then_some(Cow::Borrowed(value)).ok_or_else(rule)
            }
            Self::Integer { minimum, maximum } => {
                integer(value, minimum.as_ref(), maximum.as_ref()).map(Cow::Owned)
            }
            Self::Date { compiled, source } => {
                let rule = || format!("the value must be a date of the format {source}");
                compiled.reformat(value).map(Cow::Owned).ok_or_else(rule)
            }
            Self::Enum(values) => {
                let rule = || format!("the value must be one of the {} that the schema lists", values.len());
                values.contains(value).then_some(Cow::Borrowed(value)).ok_or_else(rule)
            }
        }
    }
}

impl Format {
    /// The format's name in a schema.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Pattern { .. } => "string",
            Self::Integer { .. } => "integer",
            Self::Date { .. } => "date",
            Self::Enum(_) => "enum",
        }
    }
}

impl Text {
    fn compile(node: &Node) -> Self {
        let case = match node.get("case").and_then(Node::text) {
            Some("upper") => Case::Upper,
            Some("lower") => Case::Lower,
            _ => Case::Mixed,
        };
        let bound = |name| node.get(name).and_then(Node::float);
        Self { case, least: bound("minLength"), most: bound("maxLength") }
    }

    fn check(&self, value: &str) -> Result<(), String> {
        if self.least.is_some() || self.most.is_some() {
            let length = value.chars().count() as f64;
            if let Some(least) = self.least.filter(|least| length < *least) {
                return Err(format!("the value must have at least {least} characters; it has {length}"));
            }
            if let Some(most) = self.most.filter(|most| length > *most) {
                return Err(format!("the value must have at most {most} characters; it has {length}"));
            }
        }
        let is_cased = match self.case {
            Case::Mixed => true,
            Case::Upper if value.is_ascii() => !value.bytes().any(|byte| byte.is_ascii_lowercase()),
            Case::Lower if value.is_ascii() => !value.bytes().any(|byte| byte.is_ascii_uppercase()),
            // Without a copy of the value.
            Case::Upper => value.chars().flat_map(char::to_uppercase).eq(value.chars()),
            Case::Lower => value.chars().flat_map(char::to_lowercase).eq(value.chars()),
        };
        let case = if self.case == Case::Upper { "upper" } else { "lower" };
        if is_cased { Ok(()) } else { Err(format!("the value must be in {case} case")) }
    }
}

fn bound(node: &Node, name: &str) -> Option<BigInt> {
    let node = node.get(name)?;
    node.integer().or_else(|| node.float().and_then(numbers::truncate))
}

fn integer(value: &str, minimum: Option<&BigInt>, maximum: Option<&BigInt>) -> Result<String, String> {
    let number = numbers::int(value).ok_or("the value must be an integer")?;
    if let Some(minimum) = minimum.filter(|minimum| number < **minimum) {
        return Err(format!("the value must be at least {minimum}"));
    }
    if let Some(maximum) = maximum.filter(|maximum| number > **maximum) {
        return Err(format!("the value must be at most {maximum}"));
    }
    Ok(number.to_str_radix(10))
}

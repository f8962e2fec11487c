//! JSON values that keep their positions in the text.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value, and its byte offset in the text.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) value: Value,
}

/// A JSON value. Numbers are kept as they are written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Parses a text. If a key occurs twice the last value counts, as in Python.
    ///
    /// # Errors
    /// The error of the JSON parser, with line and column.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        Self::parse_noting(text, &RefCell::default())
    }

    /// Parses a text like [`parse`](Self::parse), and adds the members to `repeated` whose key occurred before.
    pub(super) fn parse_noting(text: &str, repeated: &Repeated) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Reader { start: text.as_ptr() as usize, repeated }.node(raw)
    }

    /// Returns the member `name`, if this is an object that has it.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.members().iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    /// Returns the members of an object; empty for anything else.
    pub(super) fn members(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// Returns the elements of an array; empty for anything else.
    pub(super) fn elements(&self) -> &[Self] {
        match &self.value {
            Value::Array(elements) => elements,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A number as it is written.
    pub(super) fn number(&self) -> Option<&str> {
        match &self.value {
            Value::Number(text) => Some(text),
            _ => None,
        }
    }

    /// A number that is written without fraction and exponent.
    pub(super) fn integer<T: std::str::FromStr>(&self) -> Option<T> {
        self.number().and_then(|text| text.parse().ok())
    }

    pub(super) fn float(&self) -> Option<f64> {
        self.number().and_then(|text| text.parse().ok())
    }

    /// Replaces or adds a member of an object.
    pub(super) fn set(&mut self, name: &str, node: Self) {
        let Value::Object(members) = &mut self.value else { return };
        match members.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = node,
            None => members.push((name.to_owned(), node)),
        }
    }

    /// Removes a member of an object.
    pub(super) fn take(&mut self, name: &str) -> Option<Self> {
        let Value::Object(members) = &mut self.value else { return None };
        let position = members.iter().position(|(key, _)| key == name)?;
        Some(members.remove(position).1)
    }

    /// Returns a node of `value` at the position of this one.
    pub(super) fn beside(&self, value: Value) -> Self {
        Self { at: self.at, value }
    }
}

/// Returns the line and column of a byte offset, both from 1.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Reads values. `start` is the address of the whole text, from which offsets are counted.
#[derive(Clone, Copy)]
struct Reader<'a> {
    start: usize,
    repeated: &'a Repeated,
}

/// Members of objects that replace an earlier one, with their keys.
pub(super) type Repeated = RefCell<Vec<(String, Node)>>;

impl Reader<'_> {
    fn node(self, raw: &RawValue) -> Result<Node, serde_json::Error> {
        let text = raw.get();
        let at = text.as_ptr() as usize - self.start;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = match text.as_bytes().first() {
            Some(b'{') => deserializer.deserialize_map(Members(self))?,
            Some(b'[') => deserializer.deserialize_seq(Elements(self))?,
            Some(b'"') => Value::String(serde_json::from_str(text)?),
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'n') => Value::Null,
            _ => Value::Number(text.to_owned()),
        };
        Ok(Node { at, value })
    }
}

struct Members<'a>(Reader<'a>);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Node { at: 0, value: Value::Object(Vec::new()) };
        while let Some((key, raw)) = map.next_entry::<String, &'de RawValue>()? {
            let node = self.0.node(raw).map_err(serde::de::Error::custom)?;
            if object.get(&key).is_some() {
                let member = Node { at: node.at, value: Value::Null };
                self.0.repeated.borrow_mut().push((key.clone(), member));
            }
            object.set(&key, node);
        }
        Ok(object.value)
    }
}

struct Elements<'a>(Reader<'a>);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(raw) = sequence.next_element::<&'de RawValue>()? {
            elements.push(self.0.node(raw).map_err(serde::de::Error::custom)?);
        }
        Ok(Value::Array(elements))
    }
}

impl serde::Serialize for Node {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(text) => {
                RawValue::from_string(text.clone()).map_err(serde::ser::Error::custom)?.serialize(serializer)
            }
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(elements) => serializer.collect_seq(elements),
            Value::Object(members) => serializer.collect_map(members.iter().map(|(key, node)| (key, node))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_places() {
        let text = "{\n  \"a\": [1, 2.50],\n  \"a\": [3, {\"é\": \"x\"}]\n}";
        let node = Node::parse(text).unwrap();
        let inner = node.get("a").unwrap().elements()[1].get("é").unwrap();
        assert_eq!(line_and_column(text, inner.at), (3, 18));
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"a":[3,{"é":"x"}]}"#);
        assert!(Node::parse("{\"a\": }").is_err());
    }
}

//! The rules for the members of a schema.

use std::cell::RefCell;

use crate::json::{Node, Value};
use crate::schema::diagnostic::Diagnostic;
use crate::schema::version::Version;

/// A value and its path.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) node: &'a Node,
    path: String,
}

impl<'a> Place<'a> {
    pub(super) const fn root(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    /// Returns the member `name`.
    fn member(&self, name: &str) -> Option<Self> {
        let node = self.node.get(name)?;
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Some(Self { node, path })
    }

    /// Returns the text of a member.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.node.get(name).and_then(Node::text)
    }
}

/// Collects mistakes.
pub(super) struct Checker {
    pub(super) version: Version,
    mistakes: RefCell<Vec<Diagnostic>>,
}

impl Checker {
    pub(super) const fn new(version: Version) -> Self {
        Self { version, mistakes: RefCell::new(Vec::new()) }
    }

    pub(super) fn finish(self) -> Result<(), Vec<Diagnostic>> {
        let mistakes = self.mistakes.into_inner();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    pub(super) fn refuse(&self, place: &Place<'_>, rule: impl Into<String>) {
        self.mistakes.borrow_mut().push(Diagnostic::new(place.node, &place.path, rule));
    }

    /// Returns whether a check finds no mistakes; they are not recorded.
    pub(super) fn passes(&self, check: impl Fn(&Self)) -> bool {
        let trial = Self::new(self.version);
        check(&trial);
        trial.finish().is_ok()
    }

    /// Requires an object with the `required` members, and with no other members than the `known` ones.
    pub(super) fn object(&self, place: &Place<'_>, required: &[&str], known: Option<&[&str]>) {
        if !matches!(place.node.value, Value::Object(_)) {
            return self.refuse(place, "this must be an object");
        }
        for name in required.iter().filter(|name| place.node.get(name).is_none()) {
            self.refuse(place, format!("{name} is missing"));
        }
        let Some(known) = known else { return };
        for (name, node) in place.node.members() {
            if !known.contains(&name.as_str()) {
                let path = place.member(name).map_or_else(String::new, |member| member.path);
                self.refuse(
                    &Place { node, path },
                    format!("there is no member {name} here; the members are {}", known.join(", ")),
                );
            }
        }
    }

    /// Checks a member, if there is one.
    pub(super) fn each(&self, place: &Place<'_>, name: &str, check: impl Fn(&Self, &Place<'_>)) {
        if let Some(member) = place.member(name) {
            check(self, &member);
        }
    }

    /// Returns the elements of a member, which must be an array.
    pub(super) fn array<'a>(&self, place: &Place<'a>, name: &str) -> Vec<Place<'a>> {
        let Some(member) = place.member(name) else { return Vec::new() };
        if !matches!(member.node.value, Value::Array(_)) {
            self.refuse(&member, "this must be an array");
        }
        let elements = member.node.elements().iter().enumerate();
        elements.map(|(at, node)| Place { node, path: format!("{}[{at}]", member.path) }).collect()
    }

    /// Requires an integer of at least `least`.
    pub(super) fn integer(&self, place: &Place<'_>, name: &str, least: i64) {
        if let Some((member, value)) = self.whole(place, name)
            && value < least as f64
        {
            self.refuse(&member, format!("this must be at least {least}"));
        }
    }

    /// Requires an integer of any size.
    pub(super) fn any_integer(&self, place: &Place<'_>, name: &str) {
        self.whole(place, name);
    }

    fn whole<'a>(&self, place: &Place<'a>, name: &str) -> Option<(Place<'a>, f64)> {
        let member = place.member(name)?;
        // Version 1 uses a draft of JSON Schema in which 2.0 is not an integer.
        let is_plain = member.node.number().is_some_and(|text| !text.contains(['.', 'e', 'E']));
        let is_whole = |value: &f64| is_plain || (self.version != Version::V1 && value.fract() == 0.0);
        let Some(value) = member.node.float().filter(is_whole) else {
            self.refuse(&member, "this must be an integer");
            return None;
        };
        Some((member, value))
    }

    /// Requires a number that `good` accepts.
    pub(super) fn number(&self, place: &Place<'_>, name: &str, good: impl Fn(f64) -> bool, rule: &str) {
        let Some(member) = place.member(name) else { return };
        match member.node.float() {
            None => self.refuse(&member, "this must be a number"),
            Some(value) if !good(value) => self.refuse(&member, format!("this must be a number that {rule}")),
            Some(_) => {}
        }
    }

    pub(super) fn boolean(&self, place: &Place<'_>, name: &str) {
        if let Some(member) = place.member(name)
            && member.node.boolean().is_none()
        {
            self.refuse(&member, "this must be true or false");
        }
    }

    pub(super) fn strings(&self, place: &Place<'_>, names: &[&str]) {
        let members = names.iter().filter_map(|name| place.member(name));
        members
            .filter(|member| member.node.text().is_none())
            .for_each(|member| self.refuse(&member, "this must be a string"));
    }

    /// Returns whether a member, if it exists, is one of these strings.
    pub(super) fn one_of(&self, place: &Place<'_>, name: &str, values: &[&str]) -> bool {
        let Some(member) = place.member(name) else { return true };
        let is_known = member.node.text().is_some_and(|text| values.contains(&text));
        if !is_known {
            self.refuse(&member, format!("this must be one of {}", values.join(", ")));
        }
        is_known
    }

    /// Requires an object with exactly one of these members.
    pub(super) fn exactly_one(&self, place: &Place<'_>, names: &[&str]) {
        let is_object = matches!(place.node.value, Value::Object(_));
        if is_object && names.iter().filter(|name| place.node.get(name).is_some()).count() != 1 {
            self.refuse(place, format!("there must be exactly one of {}", names.join(" and ")));
        }
    }
}

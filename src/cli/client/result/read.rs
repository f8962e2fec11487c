//! Reads a result as a stream, regardless of the layout of its JSON.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::cli::result_csv::Kind;

/// A record: the number of its dataset, and its number in the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Record(pub(super) u64, pub(super) u64);

/// An element of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Element {
    Group(Vec<Record>),
    Score(Record, Record, f64),
    /// The pairs within a group.
    GroupScores(Vec<(Record, Record, f64)>),
    /// A row of a mask: 1 or 0.
    Match(u64),
    /// The new position of a row.
    Place(u64),
}

/// The member of a result whose elements are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// The first member that is a result.
    First,
    /// The scores within the groups.
    GroupScores,
}

impl Member {
    fn kind(self, name: &str) -> Option<Kind> {
        match (self, name) {
            (Self::First, "groups") => Some(Kind::Groups),
            (Self::First, "similarity_scores") => Some(Kind::Scores),
            (Self::First, "mask") => Some(Kind::Mask),
            (Self::First, "permutation") => Some(Kind::Permutation),
            (Self::GroupScores, "scores") => Some(Kind::GroupScores),
            _ => None,
        }
    }
}

/// Receives the elements of a result, in order.
pub(super) trait Sink {
    /// Receives the kind of the result, before its elements.
    ///
    /// # Errors
    /// A message, if the output fails or the kind is the wrong one.
    fn begin(&mut self, kind: Kind) -> Result<(), String>;

    /// Receives the next element.
    ///
    /// # Errors
    /// A message, if the output fails or the element is of the wrong kind.
    fn element(&mut self, element: Element) -> Result<(), String>;
}

/// Reads a result and passes its elements to the sink. Returns the kind of the result.
///
/// # Errors
/// The message of the sink, or a message that says that this is not a result.
pub(super) fn read(json: impl Read, member: Member, sink: &mut impl Sink) -> Result<Kind, String> {
    let sink = RefCell::new((sink, None));
    let mut deserializer = serde_json::Deserializer::from_reader(json);
    let read = deserializer
        .deserialize_map(Document(&sink, member))
        .and_then(|kind| deserializer.end().map(|()| kind));
    read.map_err(|error| match sink.into_inner().1 {
        Some(said) => said,
        None => format!("line {}, column {}: this is not the result of a run", error.line(), error.column()),
    })
}

/// A sink, and the error with which it rejected an element.
type Shared<'a, S> = RefCell<(&'a mut S, Option<String>)>;

fn refused<S, E: Error>(sink: &Shared<'_, S>, done: Result<(), String>) -> Result<(), E> {
    done.map_err(|said| {
        sink.borrow_mut().1 = Some(said);
        E::custom("refused")
    })
}

struct Document<'a, 'b, S>(&'a Shared<'b, S>, Member);

impl<'de, S: Sink> Visitor<'de> for Document<'_, '_, S> {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Kind, A::Error> {
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            match self.1.kind(&name) {
                Some(kind) if found.is_none() => {
                    let begun = self.0.borrow_mut().0.begin(kind);
                    refused(self.0, begun)?;
                    members.next_value_seed(Elements(self.0, kind))?;
                    found = Some(kind);
                }
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        found.ok_or_else(|| A::Error::custom("no result"))
    }
}

struct Elements<'a, 'b, S>(&'a Shared<'b, S>, Kind);

impl<'de, S: Sink> DeserializeSeed<'de> for Elements<'_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Elements<'_, '_, S> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        loop {
            let next = match self.1 {
                Kind::Groups => elements.next_element()?.map(Element::Group),
                Kind::Scores => elements
                    .next_element::<(Record, Record, f64)>()?
                    .map(|(a, b, score)| Element::Score(a, b, score)),
                Kind::GroupScores => elements.next_element()?.map(Element::GroupScores),
                Kind::Mask => elements.next_element()?.map(Element::Match),
                Kind::Permutation => elements.next_element()?.map(Element::Place),
            };
            let Some(element) = next else { return Ok(()) };
            let taken = self.0.borrow_mut().0.element(element);
            refused(self.0, taken)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct All(Vec<Element>);

    impl Sink for All {
        fn begin(&mut self, _: Kind) -> Result<(), String> {
            Ok(())
        }

        fn element(&mut self, element: Element) -> Result<(), String> {
            if element == Element::Match(7) {
                return Err("seven".to_owned());
            }
            self.0.push(element);
            Ok(())
        }
    }

    fn all(json: &str) -> Result<(Kind, Vec<Element>), String> {
        let mut sink = All::default();
        read(json.as_bytes(), Member::First, &mut sink).map(|kind| (kind, sink.0))
    }

    #[test]
    fn every_result_is_read_however_it_is_laid_out() {
        let pair = vec![Element::Group(vec![Record(0, 5), Record(1, 7)])];
        assert_eq!(all("{\n \"groups\": [\n [[0,\n 5], [1, 7]]\n]}\n"), Ok((Kind::Groups, pair)));
        let score = vec![Element::Score(Record(0, 1), Record(1, 2), 0.950_000_000_000_000_1)];
        let json = r#"{"similarity_scores":[[[0,1],[1,2],0.9500000000000001]]}"#;
        assert_eq!(all(json), Ok((Kind::Scores, score)));
        let places = vec![Element::Place(1), Element::Place(0)];
        assert_eq!(
            all(r#"{"rows": 2, "permutation": [1, 0], "x": {"mask": []}}"#),
            Ok((Kind::Permutation, places))
        );
    }

    #[test]
    fn the_scores_within_groups_are_another_member() {
        let json = r#"{"groups": [[[0, 1], [1, 2]]], "scores": [[[[0, 1], [1, 2], 0.9]]]}"#;
        let mut sink = All::default();
        assert_eq!(read(json.as_bytes(), Member::GroupScores, &mut sink), Ok(Kind::GroupScores));
        assert_eq!(sink.0, [Element::GroupScores(vec![(Record(0, 1), Record(1, 2), 0.9)])]);
        assert_eq!(all(json).unwrap().0, Kind::Groups);
        let groups = r#"{"groups": []}"#.as_bytes();
        assert!(read(groups, Member::GroupScores, &mut All::default()).is_err());
    }

    #[test]
    fn a_file_that_is_not_a_result_is_refused() {
        for json in [
            "",
            "[]",
            "{}",
            r#"{"groups": 1}"#,
            r#"{"groups": [[1]]}"#,
            r#"{"mask": [1]"#,
            r#"{"mask": [1]} x"#,
        ] {
            assert!(all(json).unwrap_err().contains("not the result"), "{json}");
        }
        assert_eq!(all(r#"{"mask": [1, 7]}"#).unwrap_err(), "seven");
    }
}

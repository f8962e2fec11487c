//! The body of a request that creates a project, and its checks.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::twice;
use crate::coordinator;
use crate::http::problem::Problem;
use crate::model::ResultType;

/// The maximum number of parties of a project.
const PARTIES_MAX: u32 = 100;

/// A project to create.
#[derive(Deserialize, ToSchema)]
#[schema(description = "A project to create. Members that are not listed are ignored.")]
pub(in crate::http) struct NewProject {
    /// The linkage schema, by which the parties encode; returned exactly as it is. Only `clkConfig.l`, the
    /// length of an encoding in bits, is read.
    #[schema(value_type = Object, example = json!({"clkConfig": {"l": 1024}}))]
    schema: Box<RawValue>,
    /// The result of its runs: `groups` of records that belong to the same person; `permutations`, one for each of two
    /// parties, with a mask for the analyst; or `similarity_scores` of all candidate pairs.
    #[serde(deserialize_with = "result_type")]
    #[schema(schema_with = crate::http::schemas::result_type)]
    result_type: ResultType,
    /// The number of data providers; more than 2 for `groups` only.
    #[serde(default = "two", deserialize_with = "parties")]
    #[schema(minimum = 2, maximum = 100, default = 2)]
    number_parties: u32,
    /// Free text.
    #[serde(default)]
    #[schema(default = "")]
    name: String,
    /// Free text.
    #[serde(default)]
    #[schema(default = "")]
    notes: String,
    /// Set if uploads contain blocks: only records that share a block are compared.
    #[serde(default)]
    #[schema(default = false)]
    uses_blocking: bool,
}

impl NewProject {
    /// Returns the project for the coordinator.
    ///
    /// # Errors
    /// 400, for valid members that contradict each other.
    pub(super) fn checked(self) -> Result<coordinator::NewProject, Problem> {
        let (parties, result_type) = (self.number_parties, self.result_type);
        if parties > 2 && result_type != ResultType::Groups {
            let name = result_type.name();
            return Err(Problem::bad_request(format!(
                "`number_parties`: {parties} parties can have the result type `groups` only, not `{name}`"
            )));
        }
        let encoding_bytes = encoding_bytes(self.schema.get())?;
        Ok(coordinator::NewProject {
            name: self.name,
            notes: self.notes,
            schema: String::from(Box::<str>::from(self.schema)),
            result_type,
            number_parties: parties,
            uses_blocking: self.uses_blocking,
            encoding_bytes,
        })
    }
}

/// Returns the encoding size that the schema requires, if any: `clkConfig.l` bits.
fn encoding_bytes(schema: &str) -> Result<Option<u32>, Problem> {
    if !schema.starts_with('{') {
        return Err(Problem::bad_request("`schema`: expected an object"));
    }
    // If an object has two members with the same name, some clients read the first and others the last. Parties would
    // then encode differently.
    if let Some(name) = twice::first(schema) {
        return Err(Problem::bad_request(format!("`schema`: the member {name:?} is repeated in one object")));
    }
    let config = member(schema, "clkConfig").filter(|config| config.get().starts_with('{'));
    let length = config.and_then(|config| member(config.get(), "l"));
    let Some(length) = length.map(RawValue::get).filter(|length| *length != "null") else {
        return Ok(None);
    };
    let digits = length.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(length);
    let bits = digits.parse::<u32>().ok().filter(|bits| *bits >= 8);
    bits.map(|bits| Some(bits / 8)).ok_or_else(|| {
        Problem::bad_request("`schema.clkConfig.l`: expected the length of an encoding in bits, at least 8")
    })
}

/// Returns a member of a JSON object in its original text. Its value is not parsed: the rest of the schema is opaque.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a RawValue> {
    let mut members: HashMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    members.remove(name)
}

fn result_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ResultType, D::Error> {
    let name = String::deserialize(deserializer)?;
    ResultType::parse(&name)
        .ok_or_else(|| D::Error::custom("expected one of `groups`, `permutations` and `similarity_scores`"))
}

const fn two() -> u32 {
    2
}

fn parties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    deserializer.deserialize_any(Parties)
}

struct Parties;

impl Visitor<'_> for Parties {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 2 to {PARTIES_MAX}")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u32, E> {
        let number = u32::try_from(number).ok().filter(|number| (2..=PARTIES_MAX).contains(number));
        number.ok_or_else(|| E::custom(format!("expected a whole number from 2 to {PARTIES_MAX}")))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<u32, E> {
        self.visit_u64(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::body::parse;

    fn read(text: &str) -> Result<coordinator::NewProject, Problem> {
        parse::<NewProject>(text.as_bytes()).and_then(NewProject::checked)
    }

    fn with(name: &str, value: Value) -> Result<coordinator::NewProject, Problem> {
        let mut body = json!({"schema": {}, "result_type": "groups"});
        body[name] = value;
        read(&body.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let project = with("unknown", json!([1])).unwrap();
        assert_eq!((project.name.as_str(), project.notes.as_str()), ("", ""));
        assert_eq!((project.number_parties, project.uses_blocking), (2, false));
        assert_eq!((project.schema.as_str(), project.encoding_bytes), ("{}", None));
    }

    #[test]
    fn a_refusal_names_the_member() {
        let wrong = [
            ("number_parties", json!(2.0)),
            ("number_parties", json!("3")),
            ("number_parties", json!(true)),
            ("number_parties", json!(null)),
            ("number_parties", json!(1)),
            ("number_parties", json!(-3)),
            ("number_parties", json!(1001)),
            ("number_parties", json!(u64::MAX)),
            ("name", json!(null)),
            ("notes", json!(7)),
            ("uses_blocking", json!(null)),
            ("uses_blocking", json!("yes")),
            ("uses_blocking", json!(1)),
            ("result_type", json!("mapping")),
            ("result_type", json!({"groups": null})),
            ("schema", json!([])),
            ("schema", json!(null)),
            ("schema", json!("{}")),
        ];
        for (name, value) in wrong {
            let problem = format!("{:?}", with(name, value.clone()).err());
            assert!(problem.contains(&format!("`{name}`: ")), "{name} {value}: {problem}");
        }
    }

    #[test]
    fn members_must_go_together() {
        for (result_type, parties, good) in [
            ("groups", 5, true),
            ("permutations", 2, true),
            ("permutations", 3, false),
            ("similarity_scores", 3, false),
        ] {
            let body = json!({"schema": {}, "result_type": result_type, "number_parties": parties});
            assert_eq!(read(&body.to_string()).is_ok(), good, "{body}");
        }
    }

    #[test]
    fn only_one_json_object_will_do() {
        for wrong in [
            "",
            "[]",
            "nonsense",
            r#"[{}, "groups"]"#,
            r#"{"schema": {}, "result_type": "groups"} x"#,
            r#"{"schema": {}, "result_type": "groups", "name": "a", "name": "b"}"#,
            r#"{"schema": {}, "result_type": "groups", "x": NaN}"#,
            r#"{"schema": {}}"#,
            r#"{"result_type": "groups"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_schema_is_kept_as_it_is_written() {
        let text = r#"{"schema": {"z" : 1.50, "a":"\u0000", "y":[ ]}, "result_type": "groups"}"#;
        assert_eq!(read(text).unwrap().schema, r#"{"z" : 1.50, "a":"\u0000", "y":[ ]}"#);
        assert_eq!(with("name", json!("\0")).unwrap().name, "\0");
        let deep = format!("{}{}", r#"{"x":"#.repeat(5_000), "1".to_owned() + &"}".repeat(5_000));
        assert_eq!(read(&format!(r#"{{"schema":{deep},"result_type":"groups"}}"#)).unwrap().schema, deep);
    }

    #[test]
    fn a_schema_in_which_something_is_there_twice_is_refused() {
        let schema = r#"{"clkConfig": {"l": 1024}, "clkConfig": {"l": 512}}"#;
        let body = format!(r#"{{"schema": {schema}, "result_type": "groups"}}"#);
        let problem = format!("{:?}", read(&body).err());
        assert!(problem.contains("`schema`: the member") && problem.contains("clkConfig"), "{problem}");
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
        let text = r#"{"schema": {}, "result_type": "groups"}"#;
        assert!(read(&format!("\u{feff}{text}")).is_ok());
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let problem = format!("{:?}", parse::<NewProject>(&wide).err());
        assert!(problem.contains("UTF-16"), "{problem}");
    }

    #[test]
    fn the_schema_may_demand_an_encoding_size() {
        let demanded =
            |l: Value| with("schema", json!({"clkConfig": {"l": l}})).map(|new| new.encoding_bytes);
        assert_eq!(demanded(json!(1024)), Ok(Some(128)));
        assert_eq!(demanded(json!("1024")), Ok(Some(128)));
        assert_eq!(demanded(json!(1030)), Ok(Some(128)));
        assert_eq!(demanded(json!(null)), Ok(None));
        for wrong in [json!(0), json!(-8), json!(1024.0), json!("many"), json!(true), json!([]), json!("")] {
            assert!(demanded(wrong.clone()).is_err(), "{wrong}");
        }
        for without in [json!({}), json!({"clkConfig": 3}), json!({"clkConfig": {"k": 1}})] {
            assert_eq!(with("schema", without).map(|new| new.encoding_bytes), Ok(None));
        }
    }
}

//! Policies of temporary credentials: statements that allow or deny actions on resources.
//!
//! The language is the part of the AWS policy language that session policies for object stores use: `Effect`,
//! `Action` and `Resource`, with `*` for any text and `?` for any character. A policy with other elements, such as
//! conditions, is rejected, since it would allow too much without them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The maximum number of bytes of a policy, as in AWS.
pub const BYTES_MAX: usize = 2_048;
/// The prefix of every resource name.
const RESOURCES: &str = "arn:aws:s3:::";

/// An action on a bucket or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// List all buckets.
    ListAllMyBuckets,
    /// Create a bucket.
    CreateBucket,
    /// Remove a bucket.
    DeleteBucket,
    /// Get the location of a bucket.
    GetBucketLocation,
    /// List a bucket, or check that it exists.
    ListBucket,
    /// List the multipart uploads of a bucket.
    ListBucketMultipartUploads,
    /// List the parts of a multipart upload.
    ListMultipartUploadParts,
    /// Abort a multipart upload.
    AbortMultipartUpload,
    /// Read an object or its headers.
    GetObject,
    /// Create an object as a whole or in parts.
    PutObject,
    /// Remove an object.
    DeleteObject,
}

impl Action {
    /// Returns the name of the action in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListAllMyBuckets => "s3:ListAllMyBuckets",
            Self::CreateBucket => "s3:CreateBucket",
            Self::DeleteBucket => "s3:DeleteBucket",
            Self::GetBucketLocation => "s3:GetBucketLocation",
            Self::ListBucket => "s3:ListBucket",
            Self::ListBucketMultipartUploads => "s3:ListBucketMultipartUploads",
            Self::ListMultipartUploadParts => "s3:ListMultipartUploadParts",
            Self::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Self::GetObject => "s3:GetObject",
            Self::PutObject => "s3:PutObject",
            Self::DeleteObject => "s3:DeleteObject",
        }
    }
}

/// The resource of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The store as a whole.
    Store,
    /// A bucket.
    Bucket(&'a str),
    /// An object: its bucket and its key.
    Object(&'a str, &'a str),
}

impl Resource<'_> {
    fn name(self) -> String {
        match self {
            Self::Store => RESOURCES.to_owned(),
            Self::Bucket(bucket) => format!("{RESOURCES}{bucket}"),
            Self::Object(bucket, key) => format!("{RESOURCES}{bucket}/{key}"),
        }
    }
}

/// A policy. It allows an action if a statement allows it and no statement denies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy(Vec<Statement>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Statement {
    allows: bool,
    /// Patterns of action names, in lower case.
    actions: Vec<String>,
    /// Patterns of resource names.
    resources: Vec<String>,
}

/// An error in the text of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy is malformed: {0}")]
pub struct Malformed(String);

impl Policy {
    /// Returns a policy that allows only `action`, on the object `path` of `bucket` and on the objects below it.
    pub fn for_path(action: Action, bucket: &str, path: &str) -> Self {
        let resource = format!("{RESOURCES}{bucket}/{path}");
        Self(vec![Statement {
            allows: true,
            actions: vec![action.name().to_ascii_lowercase()],
            resources: vec![format!("{resource}/*"), resource],
        }])
    }

    /// Parses a policy.
    ///
    /// # Errors
    /// [`Malformed`] if it is longer than [`BYTES_MAX`] bytes, is not a policy, or has unsupported elements.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > BYTES_MAX {
            return Err(Malformed(format!("it has {} bytes, and may have {BYTES_MAX}", text.len())));
        }
        let malformed = |error: serde_json::Error| Malformed(error.to_string());
        let document: Document = serde_json::from_str(text).map_err(malformed)?;
        document.check()?;
        if !has_names(&serde_json::from_str(text).map_err(malformed)?) {
            return Err(Malformed("its members must have names".to_owned()));
        }
        document.statements.into_iter().map(Statement::read).collect::<Result<_, _>>().map(Self)
    }

    /// Returns true if the policy allows `action` on `resource`.
    pub fn allows(&self, action: Action, resource: Resource<'_>) -> bool {
        let (action, resource) = (action.name().to_ascii_lowercase(), resource.name());
        let mut allowed = false;
        for statement in self.0.iter().filter(|statement| statement.speaks_of(&action, &resource)) {
            if !statement.allows {
                return false;
            }
            allowed = true;
        }
        allowed
    }
}

impl Statement {
    fn read(text: StatementText) -> Result<Self, Malformed> {
        let allows = match text.effect.as_str() {
            "Allow" => true,
            "Deny" => false,
            _ => return Err(Malformed("an `Effect` must be `Allow` or `Deny`".to_owned())),
        };
        let (actions, resources) = (Vec::from(text.actions), Vec::from(text.resources));
        if actions.is_empty() || resources.is_empty() {
            return Err(Malformed("a statement needs an `Action` and a `Resource`".to_owned()));
        }
        let strange = |action: &&String| *action != "*" && !action.to_ascii_lowercase().starts_with("s3:");
        if let Some(action) = actions.iter().find(strange) {
            return Err(Malformed(format!("`{action}` is not an action of an object store")));
        }
        let strange = |resource: &&String| {
            (*resource != "*" && !resource.starts_with(RESOURCES)) || resource.contains("${")
        };
        if let Some(resource) = resources.iter().find(strange) {
            return Err(Malformed(format!("`{resource}` is not a resource of an object store")));
        }
        let actions = actions.iter().map(|action| action.to_ascii_lowercase()).collect();
        Ok(Self { allows, actions, resources })
    }

    fn speaks_of(&self, action: &str, resource: &str) -> bool {
        self.actions.iter().any(|pattern| matches(pattern, action))
            && self.resources.iter().any(|pattern| matches(pattern, resource))
    }
}

/// The JSON form of a policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "Version")]
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    #[serde(rename = "Statement")]
    statements: OneOrMore<StatementText>,
}

impl Document {
    fn check(&self) -> Result<(), Malformed> {
        match self.version.as_deref() {
            None | Some("2012-10-17" | "2008-10-17") => Ok(()),
            Some(_) => Err(Malformed("its `Version` must be `2012-10-17`".to_owned())),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementText {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    #[serde(rename = "Effect")]
    effect: String,
    #[serde(rename = "Action")]
    actions: OneOrMore<String>,
    #[serde(rename = "Resource")]
    resources: OneOrMore<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<OneOrMore<T>> for Vec<T> {
    fn from(given: OneOrMore<T>) -> Self {
        match given {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        }
    }
}

impl<T> IntoIterator for OneOrMore<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        Vec::from(self).into_iter()
    }
}

/// Returns true if the document and its statements are JSON objects: serde would also accept lists.
fn has_names(document: &Value) -> bool {
    let statements = &document["Statement"];
    let all_are = statements.as_array().map(|statements| statements.iter().all(Value::is_object));
    document.is_object() && all_are.unwrap_or(statements.is_object())
}

/// Returns true if `text` matches `pattern`, in which `*` stands for any characters and `?` for one. The time is at
/// most proportional to the product of the lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The pattern after the last `*`, and the text at which it is tried next.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let (mut wanted, mut found) = (pattern.chars(), text.chars());
        match (wanted.next(), found.next()) {
            (Some('*'), _) => {
                pattern = wanted.as_str();
                retry = Some((pattern, text));
            }
            (None, None) => return true,
            (Some(w), Some(f)) if w == '?' || w == f => (pattern, text) = (wanted.as_str(), found.as_str()),
            _ => {
                let Some((behind, untried)) = retry else { return false };
                let mut untried = untried.chars();
                if untried.next().is_none() {
                    return false;
                }
                (pattern, text) = (behind, untried.as_str());
                retry = Some((behind, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computes [`matches`] by its definition.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|skip| by_definition(rest, &text[skip..])),
            (['?', rest @ ..], [_, left @ ..]) => by_definition(rest, left),
            ([w, rest @ ..], [f, left @ ..]) if w == f => by_definition(rest, left),
            _ => false,
        }
    }

    fn policy(statements: &[(&str, &str, &str)]) -> Policy {
        let statement = |(effect, action, resource): &(&str, &str, &str)| serde_json::json!({"Effect": effect, "Action": [action], "Resource": resource});
        let statements: Vec<_> = statements.iter().map(statement).collect();
        let document = serde_json::json!({"Version": "2012-10-17", "Statement": statements});
        Policy::parse(&document.to_string()).unwrap()
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_definition_does(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), by_definition(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn no_text_is_read_with_a_panic(text in ".{0,200}") {
            let _ = Policy::parse(&text);
        }

        /// A statement that denies never makes a policy allow more.
        #[test]
        fn a_denial_wins_wherever_it_stands(
            allowed in prop::collection::vec("[ab*?]{0,4}", 0..4), denied in "[ab*?]{0,4}", key in "[ab]{0,4}",
            first in any::<bool>(),
        ) {
            let resource = |pattern: &str| format!("arn:aws:s3:::box/{pattern}");
            let allowed: Vec<String> = allowed.iter().map(|pattern| resource(pattern)).collect();
            let mut statements: Vec<_> = allowed.iter().map(|pattern| ("Allow", "s3:*", pattern.as_str())).collect();
            let denial = resource(&denied);
            statements.insert(if first { 0 } else { statements.len() }, ("Deny", "s3:PutObject", denial.as_str()));
            let policy = policy(&statements);
            let (object, name) = (Resource::Object("box", &key), resource(&key));
            let is_allowed = allowed.iter().any(|pattern| matches(pattern, &name));
            prop_assert_eq!(policy.allows(Action::GetObject, object), is_allowed);
            prop_assert_eq!(policy.allows(Action::PutObject, object), is_allowed && !matches(&denial, &name));
        }
    }

    #[test]
    fn a_long_pattern_takes_no_long_time() {
        let (pattern, text) = ("a*".repeat(500) + "b", "a".repeat(1_024));
        assert!(!matches(&pattern, &text));
    }

    #[test]
    fn a_path_is_open_and_nothing_beside_it() {
        let policy = Policy::for_path(Action::PutObject, "uploads", "p/1");
        let put = |bucket, key| policy.allows(Action::PutObject, Resource::Object(bucket, key));
        assert!(put("uploads", "p/1") && put("uploads", "p/1/") && put("uploads", "p/1/encodings.bin"));
        for (bucket, key) in [
            ("uploads", "p/12/x"),
            ("uploads", "p"),
            ("uploads", ""),
            ("anonlink", "p/1/x"),
            ("uploads", "x/p/1"),
        ] {
            assert!(!put(bucket, key), "{bucket} {key}");
        }
        for action in [Action::GetObject, Action::DeleteObject, Action::AbortMultipartUpload] {
            assert!(!policy.allows(action, Resource::Object("uploads", "p/1/x")), "{action:?}");
        }
        assert!(!policy.allows(Action::ListBucket, Resource::Bucket("uploads")));
        assert!(!policy.allows(Action::ListAllMyBuckets, Resource::Store));
    }

    #[test]
    fn statements_are_weighed_together() {
        let policy = policy(&[
            ("Allow", "s3:Get*", "arn:aws:s3:::box/*"),
            ("Allow", "S3:LISTBUCKET", "arn:aws:s3:::box"),
            ("Deny", "*", "arn:aws:s3:::box/private/*"),
            ("Allow", "s3:ListAllMyBuckets", "*"),
        ]);
        assert!(policy.allows(Action::GetObject, Resource::Object("box", "a/b")));
        assert!(!policy.allows(Action::GetObject, Resource::Object("box", "private/b")));
        assert!(!policy.allows(Action::GetBucketLocation, Resource::Bucket("box")));
        assert!(policy.allows(Action::ListBucket, Resource::Bucket("box")));
        assert!(!policy.allows(Action::ListBucket, Resource::Bucket("box2")));
        assert!(policy.allows(Action::ListAllMyBuckets, Resource::Store));
    }

    #[test]
    fn an_unsupported_policy_is_rejected() {
        let whole = |statement: &str| format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#);
        let good = r#""Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*""#;
        assert!(Policy::parse(&whole(&format!("{{{good}}}"))).is_ok());
        for bad in [
            String::new(),
            "{}".to_owned(),
            whole(&format!(r#"{{{good}, "Condition": {{}}}}"#)),
            whole(&format!(r#"{{{good}, "Principal": "*"}}"#)),
            whole(r#"{"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"}"#),
            whole(r#"{"Effect": "Permit", "Action": "s3:GetObject", "Resource": "*"}"#),
            whole(r#"{"Effect": "Allow", "Action": [], "Resource": "*"}"#),
            whole(r#"{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}"#),
            whole(r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "box"}"#),
            whole(r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::box/${aws:username}"}"#),
            whole(r#"["sid", "Allow", "s3:*", "*"]"#),
            r#"{"Statement": ["sid", "Allow", "s3:*", "*"]}"#.to_owned(),
            format!(r#"["2012-10-17", "id", [{{{good}}}]]"#),
            whole(&format!(r#"{{{good}, "Effect": "Allow"}}"#)),
            whole(&format!("{{{good}}}")).replace("2012", "2013"),
            whole(&format!("{{{good}}}{}", " ".repeat(BYTES_MAX))),
        ] {
            assert!(Policy::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_statement_allows_nothing() {
        let empty = Policy::parse(r#"{"Statement": []}"#).unwrap();
        assert!(!empty.allows(Action::GetObject, Resource::Object("box", "key")));
    }
}

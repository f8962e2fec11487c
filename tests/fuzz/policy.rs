//! Fuzzes policies; the last two lines of a text are a bucket and a key. A policy allows what a plain reading of the
//! document allows; a further denial never allows more; a session token carries the policy that was sealed in it; and
//! the policy for one path gives access to nothing else. The corpus is replayed by `tests/appliance/fuzz.rs`.

use entityd::runtime::clock::Timestamp;
use entityd::runtime::entropy::Entropy;
use entityd::s3::credentials::Root;
use entityd::s3::policy::{Action, Policy, Resource};
use entityd::s3::session::{Keys, Session};
use serde_json::Value;

const ACTIONS: [Action; 11] = [
    Action::ListAllMyBuckets,
    Action::CreateBucket,
    Action::DeleteBucket,
    Action::GetBucketLocation,
    Action::ListBucket,
    Action::ListBucketMultipartUploads,
    Action::ListMultipartUploadParts,
    Action::AbortMultipartUpload,
    Action::GetObject,
    Action::PutObject,
    Action::DeleteObject,
];

/// Panics if a policy is evaluated differently from its document.
pub(super) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (rest, key) = text.rsplit_once('\n').unwrap_or((&text, "key"));
    let (document, bucket) = rest.rsplit_once('\n').unwrap_or((rest, "bucket"));
    opens_one_path(bucket, key);
    no_token_opens(&text);
    let Ok(policy) = Policy::parse(document) else { return };
    survives_a_token(&policy);
    let document: Value = serde_json::from_str(document).expect("a policy is JSON");
    let denying = denied(document.clone(), bucket, key);
    for resource in [Resource::Store, Resource::Bucket(bucket), Resource::Object(bucket, key)] {
        for action in ACTIONS {
            let allowed = policy.allows(action, resource);
            let (action_name, resource_name) = (action.name(), name(resource));
            assert_eq!(
                allowed,
                allows(&document, action_name, &resource_name),
                "{action_name} {resource_name}"
            );
            if let Some(denying) = &denying {
                let target = (action, resource) == (Action::PutObject, Resource::Object(bucket, key));
                assert_eq!(denying.allows(action, resource), allowed && !target);
            }
        }
    }
}

fn name(resource: Resource<'_>) -> String {
    match resource {
        Resource::Store => "arn:aws:s3:::".to_owned(),
        Resource::Bucket(bucket) => format!("arn:aws:s3:::{bucket}"),
        Resource::Object(bucket, key) => format!("arn:aws:s3:::{bucket}/{key}"),
    }
}

/// Returns what a document allows: actions that a statement allows and none denies.
fn allows(document: &Value, action: &str, resource: &str) -> bool {
    only(document, &["Version", "Id", "Statement"]);
    let spoken: Vec<&str> = list(&document["Statement"])
        .into_iter()
        .filter(|statement| {
            only(statement, &["Sid", "Effect", "Action", "Resource"]);
            let actions = list(&statement["Action"]).into_iter().map(text);
            let resources = list(&statement["Resource"]).into_iter().map(text);
            any(actions.map(str::to_ascii_lowercase), &action.to_ascii_lowercase())
                && any(resources.map(str::to_owned), resource)
        })
        .map(|statement| text(&statement["Effect"]))
        .collect();
    assert!(spoken.iter().all(|effect| ["Allow", "Deny"].contains(effect)));
    spoken.contains(&"Allow") && !spoken.contains(&"Deny")
}

/// Panics if an object has other members, which the plain reading would ignore.
fn only(object: &Value, members: &[&str]) {
    let object = object.as_object().expect("an object");
    assert!(object.keys().all(|name| members.contains(&name.as_str())), "{object:?}");
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn any(mut patterns: impl Iterator<Item = String>, name: &str) -> bool {
    patterns.any(|pattern| matches(&pattern, name))
}

/// Returns whether a pattern matches a text, by dynamic programming over their prefixes.
fn matches(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut row: Vec<bool> = (0..=text.len()).map(|length| length == 0).collect();
    for wanted in pattern.chars() {
        let mut next = vec![wanted == '*' && row[0]];
        for (at, found) in text.iter().enumerate() {
            let fits = if wanted == '*' {
                next[at] || row[at + 1]
            } else {
                row[at] && (wanted == '?' || wanted == *found)
            };
            next.push(fits);
        }
        row = next;
    }
    row[text.len()]
}

/// Returns the policy with a denial to put this object. None where that needs a pattern or makes the document too
/// long.
fn denied(mut document: Value, bucket: &str, key: &str) -> Option<Policy> {
    let resource = name(Resource::Object(bucket, key));
    if resource.contains(['*', '?']) {
        return None;
    }
    let mut statements: Vec<Value> = list(&document["Statement"]).into_iter().cloned().collect();
    statements.push(serde_json::json!({"Effect": "Deny", "Action": "s3:PutObject", "Resource": resource}));
    document["Statement"] = statements.into();
    Policy::parse(&document.to_string()).ok()
}

fn opens_one_path(bucket: &str, key: &str) {
    let policy = Policy::for_path(Action::PutObject, "uploads", "project/1");
    let inside = bucket == "uploads" && (key == "project/1" || key.starts_with("project/1/"));
    for action in ACTIONS {
        let expected = inside && action == Action::PutObject;
        // A bucket has no slash in its name: with one, bucket and key cannot be distinguished.
        assert!(bucket.contains('/') || policy.allows(action, Resource::Object(bucket, key)) == expected);
        assert!(bucket.contains('/') || !policy.allows(action, Resource::Bucket(bucket)));
        assert!(!policy.allows(action, Resource::Store));
    }
}

fn keys() -> Keys {
    Keys::new(Root { access_key: "owner".to_owned(), secret_key: "a-secret-of-mine".to_owned().into() })
}

fn no_token_opens(text: &str) {
    let keys = keys();
    for access_key in [text, "owner", "TEMP00000000000000000000"] {
        assert!(keys.open(access_key, text, Timestamp::from_micros(0)).is_err());
    }
}

fn survives_a_token(policy: &Policy) {
    let keys = keys();
    let session = Session { expires: Timestamp::from_micros(1), project: None, policy: Some(policy.clone()) };
    let pass = keys.issue(&session, &Entropy::seeded(1));
    let opened = keys.open(&pass.access_key_id, &pass.session_token, Timestamp::from_micros(0));
    assert_eq!(opened, Ok(session));
}

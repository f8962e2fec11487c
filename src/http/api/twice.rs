//! Finds repeated members in JSON documents.

use std::collections::HashSet;

/// Returns the first name that two members of one object have, at any depth of `json`, which must be valid.
/// Names that are escaped differently (`a`, `\\u0061`) are the same.
pub(super) fn first(json: &str) -> Option<String> {
    // The open objects and arrays; arrays have no names.
    let mut open: Vec<Option<HashSet<String>>> = Vec::new();
    let (mut at, mut names_next) = (0, false);
    while let Some(byte) = json.as_bytes().get(at) {
        match byte {
            b'{' => open.push(Some(HashSet::new())),
            b'[' => open.push(None),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
        match byte {
            b'"' => {
                let end = end_of_text(json.as_bytes(), at);
                if names_next && let Some(Some(names)) = open.last_mut() {
                    let name = unescaped(&json[at..end]);
                    if !names.insert(name.clone()) {
                        return Some(name);
                    }
                }
                (at, names_next) = (end, false);
                continue;
            }
            b'{' | b',' => names_next = true,
            b'[' => names_next = false,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Returns the position after the closing quote of the string that begins at `start`.
fn end_of_text(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// Decodes the text between quotes; returns it as written if it is not Unicode.
fn unescaped(quoted: &str) -> String {
    serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_within_one_object_and_as_they_are_meant() {
        for once in [
            "{}",
            r#"{"a": 1, "b": 1}"#,
            r#"{"a": {"a": ["a", "a"]}, "b": {"a": 1}}"#,
            r#"[{"a": 1}, {"a": 1}, "a", "a"]"#,
            r#"{"a": "x,\"a\":1", "b": "a"}"#,
            r#"{"a": ["b", "b"], "b": 2}"#,
        ] {
            assert_eq!(first(once), None, "{once}");
        }
        for (twice, name) in [
            (r#"{"a": 1, "a": 1}"#, "a"),
            (r#"{"a": 1, "\u0061": 2}"#, "a"),
            (r#"{"x": [{"y": {"b": [1], "c": {}, "b": null}}]}"#, "b"),
            (r#"{"\"": 1, "\"": 2}"#, "\""),
            (r#"{"": [], "": []}"#, ""),
        ] {
            assert_eq!(first(twice).as_deref(), Some(name), "{twice}");
        }
    }
}

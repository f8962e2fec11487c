//! Compares the reader of uploads with a simple definition, and tests every rejection.

use std::fmt::Write as _;
use std::io::Read;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::encoding::block::{self, Entry};
use crate::encoding::entries::{self, Version};
use crate::encoding::json::AccessKeys;
use crate::encoding::{Error, Rejection, Summary, base64};

const PLAIN: Expected = Expected { uses_blocking: false, records_max: 1000 };
const BLOCKING: Expected = Expected { uses_blocking: true, records_max: 1000 };

/// A source that yields the bytes `.0` in pieces of at most `.1` bytes.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(buffer.len());
        self.0.read(&mut buffer[..length])
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Written {
    received: Received,
    matrix: Vec<u8>,
    entries: Vec<Entry>,
}

fn rejection<T>(result: Result<T, Error>) -> Result<T, Rejection> {
    result.map_err(|error| match error {
        Error::Rejected(rejection) => rejection,
        other => panic!("memory does not fail: {other}"),
    })
}

fn entries_of(bytes: &[u8]) -> Vec<Entry> {
    entries::read_all(bytes).unwrap()
}

fn read_from(source: impl Read, expected: Expected) -> Result<Written, Rejection> {
    let (mut matrix, mut entries) = (Vec::new(), Vec::new());
    let received = rejection(upload(source, expected, &mut matrix, &mut entries, Version::Numbered))?;
    Ok(Written { received, matrix, entries: entries_of(&entries) })
}

#[test]
fn entries_are_of_the_wanted_version() {
    let text = br#"{"clknblocks": [["AAAA", "north", 7], ["AAAA", "north"]]}"#;
    let written = |version| {
        let mut entries = Vec::new();
        upload(&text[..], BLOCKING, std::io::sink(), &mut entries, version).unwrap();
        entries
    };
    let expected = [entry(0, "north"), entry(0, "7"), entry(1, "north")];
    let [plain, numbered] = [Version::Plain, Version::Numbered].map(written);
    assert_eq!(plain, expected.map(Entry::to_bytes).concat());
    assert!(numbered.starts_with(b"\xff\xff\xff\xffent2"));
    assert_eq!(entries_of(&numbered), expected);
}

#[test]
fn entries_of_files_are_of_version_1() {
    let mut entries = Vec::new();
    blocks(&br#"{"blocks": {"1": ["north"]}}"#[..], 2, &mut entries).unwrap();
    assert_eq!(entries, entry(1, "north").to_bytes());
}

fn read(text: &str, expected: Expected) -> Result<Written, Rejection> {
    read_from(text.as_bytes(), expected)
}

fn refused(text: &str, expected: Expected) -> Rejection {
    read(text, expected).expect_err(text)
}

fn entry(record: u32, name: &str) -> Entry {
    Entry { block: block::digest(name), record }
}

/// Returns the content of an upload, read in the simplest way; `None` if it must be rejected.
fn by_definition(text: &[u8], expected: Expected) -> Option<Written> {
    let document: Value = serde_json::from_slice(text).ok()?;
    let members = document.as_object()?;
    let shapes = ["clks", "clknblocks", "encodings"].map(|shape| members.get(shape));
    let (mut matrix, mut entries, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    let mut push = |text: &Value| {
        let before = matrix.len();
        base64::decode(text.as_str()?.as_bytes(), &mut matrix).ok()?;
        lengths.push(matrix.len() - before);
        Some(())
    };
    let has_blocks = match shapes {
        [Some(list), None, None] | [None, None, Some(list)] => {
            list.as_array()?.iter().try_for_each(&mut push)?;
            members.get("blocks").map(|blocks| {
                blocks
                    .as_object()?
                    .iter()
                    .try_for_each(|(key, names)| {
                        let record: u32 =
                            key.parse().ok().filter(|record: &u32| record.to_string() == *key)?;
                        names.as_array()?.iter().try_for_each(|name| {
                            entries.push(entry(record, name.as_str()?));
                            Some(())
                        })
                    })
                    .filter(|()| !blocks.as_object().unwrap().is_empty())
            })
        }
        [None, Some(list), None] if !members.contains_key("blocks") => {
            for (record, row) in list.as_array()?.iter().enumerate() {
                let (encoding, names) = row.as_array()?.split_first()?;
                push(encoding)?;
                for name in names {
                    let name = match name {
                        Value::String(name) => name.clone(),
                        Value::Number(number) if !number.is_f64() => number.to_string(),
                        _ => return None,
                    };
                    entries.push(entry(record as u32, &name));
                }
            }
            Some(Some(()))
        }
        _ => return None,
    };
    if has_blocks == Some(None) || has_blocks.is_some() != expected.uses_blocking {
        return None;
    }
    let records = lengths.len() as u32;
    let &size = lengths.first()?;
    let sound = size > 0
        && lengths.iter().all(|&length| length == size)
        && records <= expected.records_max
        && members.get("blocks").is_none_or(|blocks| {
            blocks.as_object().unwrap().keys().all(|key| key.parse::<u32>().unwrap() < records)
        });
    let summary = Summary {
        records,
        encoding_bytes: size as u32,
        has_blocks: has_blocks.is_some(),
        entries: entries.len() as u64,
    };
    sound.then_some(Written { received: Received::Inline(summary), matrix, entries })
}

/// Sorts what was written: `serde_json::Value` does not keep the order of keys.
fn sorted(mut written: Written) -> Written {
    written.entries.sort();
    written
}

/// Returns true if there may be a number that `serde_json::Value` does not preserve: an integer of many digits, a
/// negative zero, or a large exponent.
fn has_number_beyond_the_definition(text: &[u8]) -> bool {
    let digits = |from: &[u8]| from.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = |from: &[u8]| digits(from.strip_prefix(b"-").or(from.strip_prefix(b"+")).unwrap_or(from));
    (0..text.len()).any(|at| match text[at] {
        b'0'..=b'9' => digits(&text[at..]) > 18,
        b'-' => text[at + 1..].starts_with(b"0"),
        b'e' | b'E' => unsigned(&text[at + 1..]) > 2,
        _ => false,
    })
}

/// Writes `value` as JSON; `choices` decide where it has whitespace and escapes.
fn render(value: &Value, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
    let space =
        |out: &mut String, choice: u8| out.push_str(["", "", "", " ", "\n\t", "\r\n  "][choice as usize % 6]);
    let mut next = move || choices.next().unwrap_or(0);
    render_with(value, &mut next, &space, out);
}

fn render_with(
    value: &Value,
    next: &mut dyn FnMut() -> u8,
    space: &dyn Fn(&mut String, u8),
    out: &mut String,
) {
    space(out, next());
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                render_with(item, next, space, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            // A choice also decides which member comes first.
            let start = next() as usize % members.len().max(1);
            out.push('{');
            for (index, (key, item)) in members.iter().cycle().skip(start).take(members.len()).enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                space(out, next());
                render_text(key, next, out);
                space(out, next());
                out.push(':');
                render_with(item, next, space, out);
            }
            out.push('}');
        }
        Value::String(text) => render_text(text, next, out),
        other => out.push_str(&other.to_string()),
    }
    space(out, next());
}

fn render_text(text: &str, next: &mut dyn FnMut() -> u8, out: &mut String) {
    let escaped = next() < 64;
    out.push('"');
    for character in text.chars() {
        match (character, escaped && next() < 32) {
            ('/', true) => out.push_str("\\/"),
            ('"' | '\\' | '\0'..='\u{1f}', _) | (_, true) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04X}").unwrap();
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn encoding(bytes: usize) -> impl Strategy<Value = Value> {
    (proptest::collection::vec(any::<u8>(), bytes), 0_u8..8).prop_map(|(bytes, choice)| {
        let text = base64_simd::STANDARD.encode_to_string(bytes);
        let middle = text.len() / 2;
        json!(match choice {
            0 => format!("{}\n{} ", &text[..middle], &text[middle..]),
            _ => text,
        })
    })
}

fn encoding_list() -> impl Strategy<Value = Vec<Value>> {
    let size = prop_oneof![Just(8_usize), Just(4), Just(1), Just(100)];
    size.prop_flat_map(|size| {
        // A few encodings have another length.
        let one = prop_oneof![60 => encoding(size), 1 => encoding(size + 1), 1 => Just(json!("?"))];
        proptest::collection::vec(one, 0..6)
    })
}

fn name() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => "[a-z\\PC\u{0}-\u{1f}]{0,6}".prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
    ]
}

fn other_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]{0,3}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn blocks_object() -> impl Strategy<Value = Value> {
    let key = prop_oneof![30 => (0_u32..5).prop_map(|key| key.to_string()), 1 => "[+0]?[0-9]{1,2}"];
    let text = prop_oneof![40 => "[a-z]{0,3}".prop_map(Value::from), 1 => Just(json!(1))];
    proptest::collection::btree_map(key, proptest::collection::vec(text, 0..4), 0..5)
        .prop_map(|members| json!(members))
}

/// Returns uploads of every inline shape, most of them valid.
fn document() -> impl Strategy<Value = Value> {
    let other = proptest::collection::btree_map("[x-z]{1,2}", other_value(), 0..3);
    let rows = encoding_list().prop_flat_map(|encodings| {
        let names = proptest::collection::vec(proptest::collection::vec(name(), 0..4), encodings.len());
        names.prop_map(move |names| {
            let rows = encodings.iter().zip(names);
            rows.map(|(encoding, names)| std::iter::once(encoding.clone()).chain(names).collect::<Value>())
                .collect::<Value>()
        })
    });
    let shape = prop_oneof![
        (encoding_list(), prop_oneof![Just("clks"), Just("encodings")])
            .prop_map(|(list, member)| json!({ member: list })),
        (encoding_list(), blocks_object(), prop_oneof![Just("clks"), Just("encodings")])
            .prop_map(|(list, blocks, member)| json!({ member: list, "blocks": blocks })),
        rows.prop_map(|rows| json!({ "clknblocks": rows })),
    ];
    (shape, other).prop_map(|(mut document, other)| {
        document.as_object_mut().unwrap().extend(other);
        document
    })
}

proptest! {
    #[test]
    fn the_reader_agrees_with_the_definition(
        document in document(),
        choices in proptest::collection::vec(any::<u8>(), 0..400),
        uses_blocking in any::<bool>(),
        piece in 1_usize..40,
    ) {
        let expected = Expected { uses_blocking, records_max: 5 };
        let mut text = String::new();
        render(&document, &mut choices.into_iter().cycle(), &mut text);
        let definition = by_definition(text.as_bytes(), expected);
        let whole = read(&text, expected);
        prop_assert_eq!(&read_from(Pieces(text.as_bytes(), piece), expected), &whole);
        prop_assert_eq!(whole.ok().map(sorted), definition.map(sorted), "{}", text);
    }

    #[test]
    fn damaged_documents_are_read_as_the_definition_reads_them(
        document in document(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..3, any::<u8>()), 1..3),
    ) {
        let mut text = document.to_string().into_bytes();
        for (at, kind, byte) in damage {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => { text.remove(at); }
            }
        }
        prop_assume!(!has_number_beyond_the_definition(&text));
        let uses_blocking = document.get("blocks").is_some() || document.get("clknblocks").is_some();
        let expected = Expected { uses_blocking, records_max: 1000 };
        match read_from(text.as_slice(), expected) {
            // The definition's JSON values cannot hold duplicates.
            Err(Rejection::MemberTwice { .. } | Rejection::BlockKeyTwice { .. }) => {}
            read => prop_assert_eq!(read.ok().map(sorted), by_definition(&text, expected).map(sorted)),
        }
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
    let text = r#"{"clks":["AAECAwQFBgc="]}"#;
    let marked = format!("\u{feff}{text}");
    for pieces in [1, 2, 3, 1000] {
        assert_eq!(read_from(Pieces(marked.as_bytes(), pieces), PLAIN), read(text, PLAIN), "{pieces}");
    }
    let object = Pieces(marked.as_bytes(), 2);
    assert!(encodings(object, 1, 8, &mut Vec::new()).is_ok());
    let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&wide[..], &wide[2..], b"\xfe\xff\0{", b"\0\0\0{", b"{\0\0\0"] {
        assert_eq!(read_from(bytes, PLAIN), Err(Rejection::Encoding), "{bytes:?}");
    }
    assert_eq!(refused("\u{feff}\u{feff}{}", PLAIN), Rejection::Syntax { offset: 3, expected: "an object" });
}

#[test]
fn a_document_may_be_cut_anywhere() {
    let text = r#"{"x":{"a":[1.5e3,true,null,"\ud83d\ude00é"]},"clknblocks":[["AAECAwQFBgc=",-12,"\u0041é"],["\/\/79/Pv6+fg="]]}"#;
    let whole = read(text, BLOCKING).unwrap();
    assert_eq!(whole.entries, [entry(0, "-12"), entry(0, "Aé")]);
    assert_eq!(whole.matrix, [0, 1, 2, 3, 4, 5, 6, 7, 255, 254, 253, 252, 251, 250, 249, 248]);
    for cut in 0..=text.len() {
        let (head, tail) = text.as_bytes().split_at(cut);
        assert_eq!(read_from(head.chain(tail), BLOCKING).as_ref(), Ok(&whole), "{cut}");
        assert!(cut == text.len() || read_from(head, BLOCKING).is_err(), "{cut}");
    }
    assert_eq!(refused(&text[..13], BLOCKING), Rejection::EndsEarly { offset: 13 });
}

#[test]
fn integers_name_blocks_as_they_are_written_whatever_their_size() {
    let big = "-123456789012345678901234567890123456789";
    let text = format!(r#"{{"clknblocks":[["AAAA",{big},7,"7",-0,"a\u0000b"]]}}"#);
    let names = [big, "7", "7", "0", "a\0b"].map(|name| entry(0, name));
    assert_eq!(read(&text, BLOCKING).unwrap().entries, names);
}

#[test]
fn any_encoding_size_is_read() {
    for size in [1, 4, 20, 4096, 100_000] {
        let row = base64_simd::STANDARD.encode_to_string(vec![5; size]);
        let written = read(&format!(r#"{{"clks":["{row}","{row}"]}}"#), PLAIN).unwrap();
        let summary = Summary { records: 2, encoding_bytes: size as u32, has_blocks: false, entries: 0 };
        assert_eq!(written.received, Received::Inline(summary));
        assert_eq!(written.matrix, vec![5; size * 2]);
    }
}

#[test]
fn a_line_break_as_an_escape_is_whitespace_and_a_bare_one_is_no_json() {
    assert_eq!(read(r#"{"clks":["AAEC\nAwQF\r\nBgc="]}"#, PLAIN).unwrap().matrix, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(matches!(refused("{\"clks\":[\"AAEC\nAwQFBgc=\"]}", PLAIN), Rejection::Syntax { .. }));
}

#[test]
fn shapes_exclude_each_other() {
    let two = |first, second| Rejection::TwoShapes { first, second };
    let rows = r#""clknblocks":[["AAAA"]]"#;
    let list = r#"["AAAA"]"#;
    let blocks = r#""blocks":{"0":[]}"#;
    for (text, expected) in [
        (format!(r#"{{"clks":{list},{rows}}}"#), two("clks", "clknblocks")),
        (format!(r#"{{{rows},"encodings":{list}}}"#), two("clknblocks", "encodings")),
        (format!(r#"{{"encodings":{list},"clks":{list}}}"#), two("encodings", "clks")),
        (format!("{{{rows},{blocks}}}"), two("clknblocks", "blocks")),
        (format!("{{{blocks},{rows}}}"), two("blocks", "clknblocks")),
        (format!(r#"{{"clks":{list},"clks":{list}}}"#), Rejection::MemberTwice { member: "clks" }),
        (format!(r#"{{{blocks},{blocks},"clks":{list}}}"#), Rejection::MemberTwice { member: "blocks" }),
    ] {
        assert_eq!(refused(&text, BLOCKING), expected, "{text}");
    }
    for none in ["{}", r#"{"x":1}"#, r#"{"blocks":{"0":[]}}"#] {
        assert!(matches!(refused(none, BLOCKING), Rejection::Absent { .. }), "{none}");
    }
}

#[test]
fn blocks_must_be_there_exactly_when_the_project_uses_blocking() {
    for missing in [
        r#"{"clks":["AAAA"]}"#,
        r#"{"encodings":["AAAA"]}"#,
        r#"{"encodings":{"file":{"bucket":"b","path":"p"}}}"#,
    ] {
        assert_eq!(refused(missing, BLOCKING), Rejection::BlocksMissing);
        assert!(read(missing, PLAIN).is_ok());
    }
    // The upload is rejected as soon as the name of the member is known.
    for (text, member) in [(r#"{"clknblocks":?"#, "clknblocks"), (r#"{"clks":["AAAA"],"blocks":?"#, "blocks")]
    {
        assert_eq!(refused(text, PLAIN), Rejection::BlocksUnwanted { member });
        assert!(refused(text, PLAIN).is_forbidden());
    }
}

#[test]
fn blocks_may_come_first_and_leave_records_out() {
    for text in [
        r#"{"blocks":{"2":["b"],"0":["a","b"]},"encodings":["AAAA","AAAA","AAAA"]}"#,
        r#"{"clks":["AAAA","AAAA","AAAA"],"blocks":{"2":["b"],"0":["a","b"]}}"#,
    ] {
        assert_eq!(read(text, BLOCKING).unwrap().entries, [entry(2, "b"), entry(0, "a"), entry(0, "b")]);
    }
}

#[test]
fn keys_of_blocks_are_record_numbers() {
    let range = Rejection::BlockKeyRange { record: 1, last: 0 };
    assert_eq!(refused(r#"{"encodings":["AAAA"],"blocks":{"1":[]}}"#, BLOCKING), range);
    assert_eq!(refused(r#"{"blocks":{"1":[]},"encodings":["AAAA"]}"#, BLOCKING), range);
    let far = Rejection::BlockKeyRange { record: 99_999_999_999, last: 999 };
    assert_eq!(refused(r#"{"blocks":{"99999999999":[]}}"#, BLOCKING), far);
    let twice = r#"{"blocks":{"0":[],"0":[]},"encodings":["AAAA"]}"#;
    assert_eq!(refused(twice, BLOCKING), Rejection::BlockKeyTwice { record: 0 });
    for key in ["", "00", "01", "+1", "-1", "1.0", " 1", "1 ", "a", "99999999999999999999999", "1e0"] {
        let text = format!(r#"{{"blocks":{{"{key}":[]}}}}"#);
        assert_eq!(refused(&text, BLOCKING), Rejection::BlockKey { offset: 11 }, "{key}");
    }
}

#[test]
fn an_invalid_record_is_reported_by_its_number() {
    for (text, expected) in [
        (r#"{"clks":["AAAA","AAAAAAAA"]}"#, Rejection::Ragged { record: 1, expected: 3, found: 6 }),
        (r#"{"clks":["AAAA",""]}"#, Rejection::NoBytes { record: 1 }),
        (r#"{"clks":["AAAA"," "]}"#, Rejection::NoBytes { record: 1 }),
        (r#"{"clks":[""]}"#, Rejection::NoBytes { record: 0 }),
        (r#"{"clks":["AAAA","AAA"]}"#, Rejection::Base64 { record: 1 }),
        (r#"{"clks":["AA-_"]}"#, Rejection::Base64 { record: 0 }),
        (r#"{"clks":["AAAA",7]}"#, Rejection::Record { record: 1, expected: "a base64 string" }),
        (r#"{"clks":[]}"#, Rejection::Empty { member: "clks" }),
        (r#"{"encodings":[]}"#, Rejection::Empty { member: "encodings" }),
        (r#"{"clks":{}}"#, Rejection::WrongType { member: "clks", offset: 8, expected: "an array" }),
    ] {
        assert_eq!(refused(text, PLAIN), expected, "{text}");
    }
    let name = |expected| Rejection::BlockName { record: 0, expected };
    for value in ["1.0", "1e3", "true", "null", "[]", "{}"] {
        let text = format!(r#"{{"clknblocks":[["AAAA",{value}]]}}"#);
        assert_eq!(refused(&text, BLOCKING), name("a string or an integer"), "{value}");
    }
    for value in ["1", "false", "null"] {
        let text = format!(r#"{{"blocks":{{"0":[{value}]}}}}"#);
        assert_eq!(refused(&text, BLOCKING), name("a string"), "{value}");
    }
    for rows in ["[]", r#""AAAA""#, "7"] {
        let refused = refused(&format!(r#"{{"clknblocks":[["AAAA"],{rows}]}}"#), BLOCKING);
        assert!(matches!(refused, Rejection::Record { record: 1, .. }), "{rows}");
    }
    assert_eq!(refused(r#"{"clknblocks":[]}"#, BLOCKING), Rejection::Empty { member: "clknblocks" });
    assert_eq!(refused(r#"{"blocks":{}}"#, BLOCKING), Rejection::Empty { member: "blocks" });
}

#[test]
fn records_are_bounded() {
    let two = Expected { records_max: 2, ..PLAIN };
    assert!(read(r#"{"clks":["AAAA","AAAA"]}"#, two).is_ok());
    assert_eq!(
        refused(r#"{"clks":["AAAA","AAAA","AAAA"]}"#, two),
        Rejection::TooManyRecords { records_max: 2 }
    );
}

#[test]
fn only_strict_json_is_read() {
    for wrong in [
        "",
        " ",
        "[]",
        "nul",
        "{",
        "{}x",
        "{\"clks\":[\"AAAA\"],}",
        "{\"clks\":[\"AAAA\",]}",
        "{'clks':[]}",
        "{\"clks\":[\"AAAA\"]}{}",
        "{\"x\":NaN,\"clks\":[\"AAAA\"]}",
        "{\"x\":01,\"clks\":[\"AAAA\"]}",
        "{\"x\":\"\\ud800\",\"clks\":[\"AAAA\"]}",
        "{\"x\":[1 2],\"clks\":[\"AAAA\"]}",
        "{\"x\":{\"a\"},\"clks\":[\"AAAA\"]}",
        "{\"x\":tru,\"clks\":[\"AAAA\"]}",
        "{\"clks\" [\"AAAA\"]}",
    ] {
        assert!(read(wrong, PLAIN).is_err(), "{wrong}");
    }
    for broken in [&b"{\"x\":\"\xff\",\"clks\":[\"AAAA\"]}"[..], b"{\"\xc3\":1,\"clks\":[\"AAAA\"]}"] {
        assert!(matches!(read_from(broken, PLAIN), Err(Rejection::NotUnicode { .. })));
    }
}

#[test]
fn invalid_json_in_a_skipped_text_is_reported_at_its_own_offset() {
    for (text, place) in [
        (&b"{\"x\":\"ab\xbfc\"}"[..], 8),
        (b"{\"x\":\"ab\xe2\x82\"}", 8),
        (b"{\"x\":\"ab\xe2\x01\"}", 8),
        (b"{\"x\":\"ab\x01\xbf\"}", 8),
    ] {
        for length in [1, 2, 100] {
            let refused = read_from(Pieces(text, length), PLAIN).unwrap_err();
            let (Rejection::NotUnicode { offset } | Rejection::Syntax { offset, .. }) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!(offset, place, "{text:?} in pieces of {length}");
        }
    }
}

#[test]
fn depth_and_length_are_bounded_but_a_skipped_text_may_be_long() {
    let nested = |depth| format!(r#"{{"x":{}{},"clks":["AAAA"]}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(100), PLAIN).is_ok());
    assert!(matches!(refused(&nested(100_000), PLAIN), Rejection::TooDeep { .. }));
    let long = "é".repeat(300_000);
    assert!(read(&format!(r#"{{"x":"{long}","clks":["AAAA"]}}"#), PLAIN).is_ok());
    assert!(matches!(refused(&format!(r#"{{"clks":["{long}"]}}"#), PLAIN), Rejection::TooLong { .. }));
}

#[test]
fn references_are_told_from_inline_values() {
    let credentials =
        r#""credentials":{"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":"c","Expiration":"d"}"#;
    let file = r#""file":{"bucket":"uploads","path":"p/1/e.bin","endpoint":"h:1","secure":true,"x":[]}"#;
    let text = format!(
        r#"{{"blocks":{{{credentials},"file":{{"bucket":"b","path":"q"}}}},"encodings":{{{file},{credentials}}}}}"#
    );
    let keys = Box::new(AccessKeys {
        access_key_id: "a".into(),
        secret_access_key: "b".into(),
        session_token: Some("c".into()),
    });
    let encodings = FileRef {
        bucket: "uploads".into(),
        path: "p/1/e.bin".into(),
        endpoint: Some("h:1".into()),
        secure: Some(true),
        keys: Some(keys.clone()),
    };
    let blocks =
        FileRef { bucket: "b".into(), path: "q".into(), endpoint: None, secure: None, keys: Some(keys) };
    let received = read(&text, BLOCKING).unwrap().received;
    assert_eq!(received, Received::External { encodings, blocks: Some(blocks) });
}

#[test]
fn references_are_complete_and_not_mixed_with_inline_values() {
    let lacks = |lacks| Rejection::Reference { member: "encodings", lacks };
    for (reference, expected) in [
        ("{}", lacks("file")),
        (r#"{"file":{"path":"p"}}"#, lacks("bucket")),
        (r#"{"file":{"bucket":"b"}}"#, lacks("path")),
        (r#"{"credentials":{"AccessKeyId":"a"}}"#, lacks("SecretAccessKey")),
        (r#"{"credentials":{"SecretAccessKey":"a"}}"#, lacks("AccessKeyId")),
    ] {
        assert_eq!(refused(&format!(r#"{{"encodings":{reference}}}"#), PLAIN), expected, "{reference}");
    }
    let file = r#"{"file":{"bucket":"b","path":"p"}}"#;
    for mixed in [
        format!(r#"{{"encodings":{file},"blocks":{{"0":[]}}}}"#),
        format!(r#"{{"blocks":{{"0":[]}},"encodings":{file}}}"#),
        format!(r#"{{"encodings":["AAAA"],"blocks":{file}}}"#),
        format!(r#"{{"blocks":{file},"clks":["AAAA"]}}"#),
    ] {
        assert_eq!(refused(&mixed, BLOCKING), Rejection::Mixed, "{mixed}");
    }
}

#[test]
fn encodings_of_an_object_are_fitted_to_the_announced_size() {
    let file: Value =
        serde_json::from_str(include_str!("../../../../tests/fixtures/vectors/fit_to_size.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let input = hex::decode(case["input"].as_str().unwrap()).unwrap();
        let size = case["size"].as_u64().unwrap() as u32;
        let row = base64_simd::STANDARD.encode_to_string(input);
        let document = format!(r#"{{"meta":{{"a":[]}},"clks":["{row}","{row}",null]}}"#);
        let mut matrix = Vec::new();
        let summary = encodings(document.as_bytes(), 2, size, &mut matrix).unwrap();
        assert_eq!((summary.records, summary.encoding_bytes), (2, size));
        assert_eq!(hex::encode(matrix), case["stored"].as_str().unwrap().repeat(2));
    }
}

#[test]
fn an_object_with_fewer_encodings_than_announced_is_refused() {
    let refused = |text: &str| rejection(encodings(text.as_bytes(), 2, 8, std::io::sink())).unwrap_err();
    assert_eq!(refused(r#"{"clks":["ssssssss"]}"#), Rejection::TooFewRecords { expected: 2, found: 1 });
    assert_eq!(refused(r#"{"encodings":[]}"#), Rejection::Absent { expected: "clks" });
    assert_eq!(refused(r#"{"clks":["!","AAAA"]}"#), Rejection::Base64 { record: 0 });
}

#[test]
fn blocks_of_an_object_may_be_numbers() {
    let read = |text: &str| {
        let mut entries = Vec::new();
        rejection(blocks(text.as_bytes(), 3, &mut entries)).map(|count| {
            assert_eq!(count, entries.len() as u64 / 36);
            entries_of(&entries)
        })
    };
    let text = r#"{"meta":{"ignored":true},"blocks":{"2":[1979,"1979",1.50],"0":[]}}"#;
    assert_eq!(read(text), Ok(vec![entry(2, "1979"), entry(2, "1979"), entry(2, "1.50")]));
    assert_eq!(read(r#"{"blocks":{"3":[]}}"#), Err(Rejection::BlockKeyRange { record: 3, last: 2 }));
    assert_eq!(read(r#"{"blocks":{}}"#), Ok(vec![]));
    assert_eq!(read("{}"), Err(Rejection::Absent { expected: "blocks" }));
}

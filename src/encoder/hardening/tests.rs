use crate::csv::{Charset, Dialect, Reader};
use crate::schema;
use crate::stream::{BadRow, Header, Sink, encode};

const ROWS: &str = "id,name,born\na1,Anna,1950-01-07\na2,Anna,1950-01-07\na3,zoë,1951-12-31\n";

/// A schema of an ignored identifier and two encoded columns, with the member `hardening`.
fn schema(hardening: &str) -> String {
    let column = |name: &str, n: u8| {
        format!(
            r#"{{"identifier": "{name}", "format": {{"type": "string"}}, "hashing": {{"comparison":
                {{"type": "ngram", "n": {n}}}, "strategy": {{"bitsPerToken": 3}}, "hash": {{"type": "doubleHash"}}}}}}"#
        )
    };
    format!(
        r#"{{"version": 3, "clkConfig": {{"l": 128, "kdf": {{"type": "HKDF", "info": "AAEC"}}}}, "features":
            [{{"identifier": "id", "ignored": true}}, {}, {}], "hardening": {hardening}}}"#,
        column("name", 2),
        column("born", 1)
    )
}

#[derive(Default)]
struct Collected {
    encodings: Vec<u8>,
    refused: Vec<String>,
}

impl Sink for Collected {
    fn encodings(&mut self, rows: &[u8], _read: u64) -> std::io::Result<()> {
        self.encodings.extend_from_slice(rows);
        Ok(())
    }

    fn refused(&mut self, row: &BadRow) -> std::io::Result<bool> {
        self.refused.push(row.to_string());
        Ok(true)
    }
}

fn collect(hardening: &str, rows: &str) -> (Collected, usize) {
    let schema = schema::read(&schema(hardening)).unwrap();
    let dialect = Dialect { delimiter: b',', charset: Charset::default(), field_max: 100 };
    let mut found = Collected::default();
    encode(&mut Reader::new(rows.as_bytes(), dialect), Header::Check, &schema, b"secret", &mut found)
        .unwrap();
    (found, schema.encoding_bytes())
}

/// The values come from `tests/clients/encoder/test_hardening.py`, a second implementation in Python.
#[test]
fn encodings_are_those_of_the_definitions() {
    for (hardening, expected) in [
        (
            "{}",
            [
                "5200060039840000005504012a4600e0",
                "5200060039840000005504012a4600e0",
                "58810400a52200000059a0230a880061",
            ],
        ),
        (
            r#"{"salt": {"column": "born", "characters": 4}}"#,
            [
                "0e899205080001264440011500804238",
                "0e899205080001264440011500804238",
                "0462ca0040264d1a000e000204004018",
            ],
        ),
        (
            r#"{"xorFolds": 2}"#,
            [
                "4200060039840000004504012a4600c0",
                "4200060039840000004504012a4600c0",
                "48810400a52200000059a0230a880041",
            ],
        ),
        (
            r#"{"balance": true}"#,
            [
                "8a414a93e91839a672dc8ba031740bef09d90fdeefa8c8b1b84d7275477ed631",
                "8a414a93e91839a672dc8ba031740bef09d90fdeefa8c8b1b84d7275477ed631",
                "88532fd5e93d39a630d503a17454d36309fb0fd6b7f8c0b0982573d1d3fe5211",
            ],
        ),
        (
            r#"{"blip": {"epsilon": 2.5, "column": "id"}}"#,
            [
                "5200060069041004005514012b450060",
                "520006203984000100511411aec600e0",
                "48810420a52200000019a0238a881070",
            ],
        ),
        (
            r#"{"salt": {"column": "born", "characters": 4}, "xorFolds": 1, "balance": true, "blip": {"epsilon": 2.5, "column": "id"}}"#,
            [
                "ce83dd80a8785c1ea83d182634f446670b47add62df9989890ed935dc7bda3a5",
                "8e83cc9aa9785c1ea93d582471f446760b432dc62d79d89890ed935dc7fd21b5",
                "8cb9dd04c90b7ca6293d9092f1d622af2adb2cc636d8f8d8986552ffd0990abd",
            ],
        ),
    ] {
        let (found, bytes) = collect(hardening, ROWS);
        let found: Vec<String> = found.encodings.chunks(bytes).map(hex::encode).collect();
        assert_eq!(found, expected, "{hardening}");
    }
}

#[test]
fn more_salts_than_are_kept_have_keys_of_their_own() {
    use std::fmt::Write;
    let mut rows = "id,name,born\n".to_owned();
    for row in 0..5_000 {
        let _ = writeln!(rows, "{row},anna,{}", row % 2_500);
    }
    let hardening = r#"{"salt": {"column": "born"}}"#;
    let (found, bytes) = collect(hardening, &rows);
    let encodings: Vec<&[u8]> = found.encodings.chunks(bytes).collect();
    assert_eq!(encodings[..2_500], encodings[2_500..]);
    let distinct: std::collections::HashSet<_> = encodings.iter().collect();
    assert_eq!(distinct.len(), 2_500);
}

#[test]
fn rows_without_salt_or_name_are_refused() {
    let rows = "id,name,born\n1,anna,\n,anna,1950\n,anna,\n4,anna,1950\n5,anna\n";
    let both = r#"{"salt": {"column": "born"}, "blip": {"epsilon": 1, "column": "id"}}"#;
    let (found, bytes) = collect(both, rows);
    assert_eq!(found.encodings.len(), bytes);
    let begins: Vec<&str> =
        found.refused.iter().map(|rule| rule.split(": the ").next().unwrap_or_default()).collect();
    assert_eq!(
        begins,
        ["line 2, column 3 (born)", "line 3, column 1 (id)", "line 4, column 3 (born)", "line 6"]
    );
}

#[test]
fn the_probability_of_a_flip_keeps_epsilon() {
    for epsilon in [1e-9, 0.1, 1.0, 5.0, 15.9, 16.0] {
        let blip = schema::Blip { epsilon, column: 0 };
        let share = f64::from(blip.threshold()) / 2.0_f64.powi(32);
        let reached = ((1.0 - share) / share).ln();
        assert!(reached <= epsilon + 1e-12 && reached > epsilon - 0.01, "{epsilon}: {reached}");
    }
}

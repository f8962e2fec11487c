use super::*;

fn rows(text: &[u8]) -> Result<Vec<(u64, Vec<String>)>, String> {
    rows_of(text, Dialect { delimiter: b',', charset: Charset::default(), field_max: 100 })
}

fn rows_of(text: &[u8], dialect: Dialect) -> Result<Vec<(u64, Vec<String>)>, String> {
    let found = rows_of_pieces(text, dialect, 1);
    // The parser has a separate path for complete rows.
    for bytes in [2, 3, 5, text.len().max(1)] {
        assert_eq!(rows_of_pieces(text, dialect, bytes), found, "{bytes} bytes at a time");
    }
    found
}

/// Reads `bytes` bytes at a time.
fn rows_of_pieces(text: &[u8], dialect: Dialect, bytes: usize) -> Result<Vec<(u64, Vec<String>)>, String> {
    let mut found = Vec::new();
    let mut reader = Reader::new(Pieces { text, bytes }, dialect);
    let mut batch = Batch::default();
    loop {
        batch.clear();
        reader.fill(&mut batch, 2).map_err(|error| error.to_string())?;
        if batch.is_empty() {
            return Ok(found);
        }
        let rows = (0..batch.len()).map(|at| batch.row(at));
        found.extend(rows.map(|row| (row.line(), row.fields().map(str::to_owned).collect())));
    }
}

struct Pieces<'a> {
    text: &'a [u8],
    bytes: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.text.len().min(self.bytes).min(buffer.len());
        buffer[..read].copy_from_slice(&self.text[..read]);
        self.text = &self.text[read..];
        Ok(read)
    }
}

fn row<const N: usize>(line: u64, fields: [&str; N]) -> (u64, Vec<String>) {
    (line, fields.map(str::to_owned).to_vec())
}

#[test]
fn rows_are_read_as_python_reads_them() {
    for (text, expected) in [
        ("a,b\nc,d\n", vec![row(1, ["a", "b"]), row(2, ["c", "d"])]),
        ("a,b\r\nc,d", vec![row(1, ["a", "b"]), row(2, ["c", "d"])]),
        ("a\rb\r", vec![row(1, ["a"]), row(2, ["b"])]),
        ("a\n\nb\n", vec![row(1, ["a"]), row(2, []), row(3, ["b"])]),
        ("\"a\r\nb\",\"c\"\"d\"\ne,f\n", vec![row(1, ["a\nb", "c\"d"]), row(3, ["e", "f"])]),
        ("a\"b\"c,\"d\"e\"f\n", vec![row(1, ["a\"b\"c", "de\"f"])]),
        (",\n", vec![row(1, ["", ""])]),
        ("a,", vec![row(1, ["a", ""])]),
        ("\"\"", vec![row(1, [""])]),
        ("\u{feff}a,é", vec![row(1, ["a", "é"])]),
        ("", vec![]),
    ] {
        assert_eq!(rows(text.as_bytes()), Ok(expected), "{text:?}");
    }
}

#[test]
fn a_batch_does_not_end_in_the_middle_of_a_row() {
    let dialect = Dialect { delimiter: b',', charset: Charset::default(), field_max: 1 << 23 };
    // The first row is longer than a batch; so are the first 3000 of the others, and the row at the end of each piece is cut.
    let long = format!("{},b\n", "x".repeat(5 << 20));
    let others = (0..5000).map(|row| format!("{row},\"{}\n\"\n", "y".repeat(1400)));
    let text = std::iter::once(long).chain(others).collect::<String>();
    for bytes in [1 << 12, 1 << 20] {
        let mut reader = Reader::new(Pieces { text: text.as_bytes(), bytes }, dialect);
        let (mut batch, mut lengths) = (Batch::default(), Vec::new());
        loop {
            batch.clear();
            reader.fill(&mut batch, 16_384).unwrap();
            if batch.is_empty() {
                break;
            }
            let rows = (0..batch.len()).map(|at| batch.row(at));
            lengths.extend(rows.map(|row| (row.len(), row.field(row.len() - 1).len())));
        }
        assert_eq!((lengths.len(), lengths[0]), (5001, (2, 1)));
        assert!(lengths[1..].iter().all(|length| *length == (2, 1401)));
    }
}

#[test]
fn invalid_csv_is_rejected_with_its_line() {
    let long = format!("a\n\"{}\"", "x".repeat(101));
    let wide = format!("a\n{}", ",".repeat(65_536));
    for (text, said) in [
        (&b"a,b\nc,\"d\ne\n"[..], "line 2: the quote that opens in line 2 is never closed"),
        (b"a\nb\0c", "line 2: the file has a NUL byte here"),
        (wide.as_bytes(), "line 2: the row has more than 65536 fields; is a line end missing?"),
        (b"a\nb\xff", "line 2: the file has bytes here that are not UTF-8"),
        (b"a\nb\xc3", "line 2: the file has bytes here that are not UTF-8"),
        (long.as_bytes(), "line 2: a field has more than 100 characters"),
    ] {
        let error = rows(text).unwrap_err();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn other_dialects_are_read() {
    let dialect =
        |delimiter, charset: &str| Dialect { delimiter, charset: charset.parse().unwrap(), field_max: 100 };
    assert_eq!(rows_of(b"a;\xe9,b", dialect(b';', "latin1")), Ok(vec![row(1, ["a", "é,b"])]));
    assert_eq!(rows_of(b"\xff\xfea\0\t\0\xe9\0", dialect(b'\t', "utf-8")), Ok(vec![row(1, ["a", "é"])]));
}

//! Tables in the stream format of Apache Arrow: the columns, then batches of rows, then a mark. A stream without the
//! mark at its end is incomplete.

use polars_arrow_format::ipc::planus::Builder;
use polars_arrow_format::ipc::{
    Bool, Buffer, Endianness, Field, FieldNode, FloatingPoint, Int, Message, MessageHeader, MetadataVersion,
    Precision, RecordBatch, Schema, Type, Utf8,
};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";
/// The number of rows of a batch. Each open stream holds one batch.
const BATCH_ROWS: usize = 16_384;
/// The number of bytes of text in a column after which a batch ends early. A string has at most as many.
const TEXT_BYTES: usize = 4 << 20;
/// The mark that begins each message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The mark at the end of a stream: a message without metadata.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// Messages and the buffers within them begin at multiples of this number of bytes.
const ALIGNMENT: usize = 8;

/// The type of a column. Only `Utf8` has nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    UInt32,
    UInt64,
    Float64,
    Bool,
    Utf8,
}

/// A value in a row.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(u64),
    Score(f64),
    Text(Option<String>),
}

/// The name and the type of a column.
pub(crate) type Head = (&'static str, Kind);

/// A value that does not fit into its column.
#[derive(Debug, thiserror::Error)]
#[error("a value does not fit into the column {0}")]
pub(crate) struct Misfit(&'static str);

/// A table that is written while its rows arrive.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: usize,
}

impl Table {
    /// Begins a stream: writes the names and types of the columns to `out`.
    pub(crate) fn begin(heads: &[Head], out: &mut Vec<u8>) -> Self {
        let schema = Schema {
            endianness: Endianness::Little,
            fields: Some(heads.iter().map(field).collect()),
            custom_metadata: None,
            features: None,
        };
        message(MessageHeader::Schema(Box::new(schema)), &[], out);
        Self { columns: heads.iter().map(|head| Column::new(*head)).collect(), rows: 0 }
    }

    /// Adds a row, which has a value for each column. A complete batch is written to `out`.
    ///
    /// # Errors
    /// [`Misfit`], if a number exceeds 32 bits, or a value has another type than its column. The table is then unusable.
    pub(crate) fn row(
        &mut self,
        values: impl IntoIterator<Item = Value>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misfit> {
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(self.rows, value)?;
        }
        self.rows += 1;
        let is_complete = self.rows == BATCH_ROWS
            || self
                .columns
                .iter()
                .any(|column| column.kind == Kind::Utf8 && column.values.len() >= TEXT_BYTES);
        if is_complete {
            self.write(out);
        }
        Ok(())
    }

    /// Ends the stream: writes the remaining rows and the mark to `out`.
    pub(crate) fn end(mut self, out: &mut Vec<u8>) {
        if self.rows > 0 {
            self.write(out);
        }
        out.extend_from_slice(&END);
    }

    /// Writes a batch, and begins the next one.
    fn write(&mut self, out: &mut Vec<u8>) {
        let rows = std::mem::take(&mut self.rows) as i64;
        let (mut nodes, mut buffers, mut body) = (Vec::new(), Vec::new(), Vec::new());
        for column in &mut self.columns {
            nodes.push(FieldNode { length: rows, null_count: column.nulls });
            for buffer in column.buffers() {
                buffers.push(Buffer { offset: body.len() as i64, length: buffer.len() as i64 });
                body.extend_from_slice(buffer);
                body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
            }
            column.clear();
        }
        let batch = RecordBatch {
            length: rows,
            nodes: Some(nodes),
            buffers: Some(buffers),
            compression: None,
            variadic_buffer_counts: None,
        };
        message(MessageHeader::RecordBatch(Box::new(batch)), &body, out);
    }
}

/// The values of a column in the current batch.
struct Column {
    name: &'static str,
    kind: Kind,
    /// A bit for each row: set unless the value is null. Empty, unless there are nulls.
    valid: Vec<u8>,
    nulls: i64,
    /// The end of each text within `values`, after a zero.
    ends: Vec<u8>,
    values: Vec<u8>,
}

impl Column {
    fn new((name, kind): Head) -> Self {
        let mut column =
            Self { name, kind, valid: Vec::new(), nulls: 0, ends: Vec::new(), values: Vec::new() };
        column.clear();
        column
    }

    fn clear(&mut self) {
        self.nulls = 0;
        for buffer in [&mut self.valid, &mut self.ends, &mut self.values] {
            buffer.clear();
        }
        if self.kind == Kind::Utf8 {
            self.ends.extend_from_slice(&0_i32.to_le_bytes());
        }
    }

    fn push(&mut self, row: usize, value: Value) -> Result<(), Misfit> {
        let misfit = Misfit(self.name);
        match (self.kind, value) {
            (Kind::UInt32, Value::Number(number)) => {
                let number = u32::try_from(number).map_err(|_| misfit)?;
                self.values.extend_from_slice(&number.to_le_bytes());
            }
            (Kind::UInt64, Value::Number(number)) => self.values.extend_from_slice(&number.to_le_bytes()),
            (Kind::Float64, Value::Score(score)) => self.values.extend_from_slice(&score.to_le_bytes()),
            (Kind::Bool, Value::Number(number @ (0 | 1))) => set(&mut self.values, row, number == 1),
            (Kind::Utf8, Value::Text(text)) => {
                let bytes = text.as_deref().unwrap_or_default().as_bytes();
                if bytes.len() > TEXT_BYTES {
                    return Err(misfit);
                }
                self.values.extend_from_slice(bytes);
                self.ends.extend_from_slice(&(self.values.len() as i32).to_le_bytes());
                set(&mut self.valid, row, text.is_some());
                self.nulls += i64::from(text.is_none());
            }
            _ => return Err(misfit),
        }
        Ok(())
    }

    /// Returns the buffers in the order of the format.
    fn buffers(&self) -> impl Iterator<Item = &[u8]> {
        let valid = if self.nulls > 0 { self.valid.as_slice() } else { &[] };
        let ends = (self.kind == Kind::Utf8).then_some(self.ends.as_slice());
        std::iter::once(valid).chain(ends).chain(std::iter::once(self.values.as_slice()))
    }
}

/// Appends a bit to a list of `row` bits.
fn set(bits: &mut Vec<u8>, row: usize, bit: bool) {
    if row.is_multiple_of(8) {
        bits.push(0);
    }
    if let Some(last) = bits.last_mut() {
        *last |= u8::from(bit) << (row % 8);
    }
}

fn field((name, kind): &Head) -> Field {
    let int = |bit_width| Type::Int(Box::new(Int { bit_width, is_signed: false }));
    let type_ = match kind {
        Kind::UInt32 => int(32),
        Kind::UInt64 => int(64),
        Kind::Float64 => Type::FloatingPoint(Box::new(FloatingPoint { precision: Precision::Double })),
        Kind::Bool => Type::Bool(Box::new(Bool {})),
        Kind::Utf8 => Type::Utf8(Box::new(Utf8 {})),
    };
    Field {
        name: Some((*name).to_owned()),
        nullable: *kind == Kind::Utf8,
        type_: Some(type_),
        dictionary: None,
        // Readers require the list, although no column has any.
        children: Some(Vec::new()),
        custom_metadata: None,
    }
}

/// Writes a message: a mark, the length of the metadata, the metadata, and the body.
fn message(header: MessageHeader, body: &[u8], out: &mut Vec<u8>) {
    let message = Message {
        version: MetadataVersion::V5,
        header: Some(header),
        body_length: body.len() as i64,
        custom_metadata: None,
    };
    let mut builder = Builder::new();
    let metadata = builder.finish(message, None);
    let padded = metadata.len().next_multiple_of(ALIGNMENT);
    out.reserve(CONTINUATION.len() + 4 + padded + body.len());
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&(padded as u32).to_le_bytes());
    out.extend_from_slice(metadata);
    out.resize(out.len() + padded - metadata.len(), 0);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use polars_arrow_format::ipc::{MessageHeaderRef, MessageRef, planus::ReadAsRoot};

    use super::*;

    const HEADS: [Head; 4] =
        [("group", Kind::UInt64), ("record", Kind::UInt32), ("match", Kind::Bool), ("id", Kind::Utf8)];

    /// Returns the number of rows of each batch, and whether the stream has its end mark.
    fn batches(mut stream: &[u8]) -> (Vec<i64>, bool) {
        let mut rows = Vec::new();
        while let Some(rest) = stream.strip_prefix(&CONTINUATION) {
            let (length, rest) = rest.split_first_chunk().unwrap();
            let length = u32::from_le_bytes(*length) as usize;
            if length == 0 {
                assert!(rest.is_empty());
                return (rows, true);
            }
            assert_eq!(length % ALIGNMENT, 0);
            let message = MessageRef::read_as_root(&rest[..length]).unwrap();
            if let Some(MessageHeaderRef::RecordBatch(batch)) = message.header().unwrap() {
                rows.push(batch.length().unwrap());
            }
            stream = &rest[length + message.body_length().unwrap() as usize..];
        }
        assert!(stream.is_empty());
        (rows, false)
    }

    fn row(number: u64, text: &str) -> [Value; 4] {
        let text = (!number.is_multiple_of(3)).then(|| text.to_owned());
        [Value::Number(number), Value::Number(number), Value::Number(number % 2), Value::Text(text)]
    }

    #[test]
    fn batches_are_bounded_and_the_mark_is_written_at_the_end_alone() {
        let text = "x".repeat(1 << 20);
        for (count, text, expected) in [
            (0, "", vec![]),
            (1, "", vec![1]),
            (16_384, "x", vec![16_384]),
            (40_000, "x", vec![16_384, 16_384, 7_232]),
            (10, text.as_str(), vec![6, 4]),
        ] {
            let mut out = Vec::new();
            let mut table = Table::begin(&HEADS, &mut out);
            for number in 0..count {
                table.row(row(number, text), &mut out).unwrap();
            }
            assert!(!batches(&out).1, "{count}");
            table.end(&mut out);
            assert_eq!(batches(&out), (expected, true));
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error() {
        let add = |values: [Value; 4]| Table::begin(&HEADS, &mut Vec::new()).row(values, &mut Vec::new());
        let said = |values: [Value; 4]| add(values).unwrap_err().to_string();
        add(row(4_294_967_295, "")).unwrap();
        assert_eq!(said(row(1 << 32, "")), "a value does not fit into the column record");
        let mut wrong = row(1, "");
        wrong[0] = Value::Score(1.0);
        assert!(said(wrong).ends_with("group"));
        let mut wrong = row(1, "");
        wrong[2] = Value::Number(2);
        assert!(said(wrong).ends_with("match"));
        assert!(said(row(1, &"x".repeat(TEXT_BYTES + 1))).ends_with("id"));
    }
}

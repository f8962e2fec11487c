//! The errors of an upload.

use std::io;

/// An error in reading an upload.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The upload is invalid. Discard all of it, and report the reason to the sender.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The upload ended early, or the file in which it was collected cannot be read.
    #[error("cannot read the upload")]
    Source(#[source] io::Error),
    /// The output cannot be written, most likely because the disk is full.
    #[error("cannot write the upload's encodings")]
    Sink(#[source] io::Error),
}

/// Encodings of `0` bytes, which cannot be compared: comparison reads words of 8 bytes, as in anonlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("encodings of {0} bytes cannot be compared: the size must be a multiple of 8 bytes")]
pub struct Incomparable(pub u32);

/// The reason for the rejection of an upload, with its position. Never quotes an encoding or a block name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in its variant's message")]
pub enum Rejection {
    /// The body is not valid JSON.
    #[error("byte {offset}: expected {expected}")]
    Syntax { offset: u64, expected: &'static str },
    /// The body is text in another encoding than UTF-8.
    #[error("the document is in UTF-16 or UTF-32; send JSON in UTF-8")]
    Encoding,
    /// The document stops before it is complete.
    #[error("the JSON document ends early, at byte {offset}")]
    EndsEarly { offset: u64 },
    /// A text is not UTF-8, or has an escape for half of a surrogate pair.
    #[error("byte {offset}: not valid Unicode text")]
    NotUnicode { offset: u64 },
    /// Arrays and objects are nested too deeply.
    #[error("byte {offset}: nested more than {depth_max} levels deep")]
    TooDeep { offset: u64, depth_max: usize },
    /// An encoding, block name, key or number is too long.
    #[error("byte {offset}: longer than {bytes_max} bytes")]
    TooLong { offset: u64, bytes_max: usize },
    /// A known member has a value of another type.
    #[error("byte {offset}: `{member}` must be {expected}")]
    WrongType { member: &'static str, offset: u64, expected: &'static str },
    /// A member occurs twice.
    #[error("`{member}` is repeated")]
    MemberTwice { member: &'static str },
    /// The body mixes members of two shapes of upload.
    #[error("`{first}` and `{second}` exclude each other")]
    TwoShapes { first: &'static str, second: &'static str },
    /// A required member is missing.
    #[error("the document has no `{expected}`")]
    Absent { expected: &'static str },
    /// A list or object is empty.
    #[error("`{member}` is empty")]
    Empty { member: &'static str },
    /// The upload has more records than the service accepts.
    #[error("more than {records_max} records")]
    TooManyRecords { records_max: u32 },
    /// The upload has fewer records than were declared.
    #[error("{expected} records were declared, but only {found} arrived")]
    TooFewRecords { expected: u32, found: u32 },
    /// A record is not an array that begins with an encoding, or an encoding is not a string.
    #[error("record {record}: expected {expected}")]
    Record { record: u32, expected: &'static str },
    /// An encoding is not base64 of the standard alphabet with padding.
    #[error("record {record}: the encoding is not valid base64 (standard alphabet, with padding)")]
    Base64 { record: u32 },
    /// An encoding has no bytes.
    #[error("record {record}: the encoding is empty")]
    NoBytes { record: u32 },
    /// An encoding has another length than the first one.
    #[error("record {record}: the encoding has {found} bytes, but those before it have {expected}")]
    Ragged { record: u32, expected: u32, found: u32 },
    /// A block name has a wrong type.
    #[error("record {record}: a block name must be {expected}")]
    BlockName { record: u32, expected: &'static str },
    /// A key of `blocks` is not a record number.
    #[error("byte {offset}: a key of `blocks` must be a record number in plain decimal digits")]
    BlockKey { offset: u64 },
    /// A record number occurs twice as a key of `blocks`.
    #[error("`blocks` has record {record} twice")]
    BlockKeyTwice { record: u32 },
    /// A key of `blocks` is beyond the last record.
    #[error("`blocks` names record {record}, but the records are 0 to {last}")]
    BlockKeyRange { record: u64, last: u32 },
    /// The project uses blocking and the upload has no blocks (forbidden, rather than malformed).
    #[error("the project uses blocking, but the upload has neither `clknblocks` nor `blocks`")]
    BlocksMissing,
    /// The project does not use blocking and the upload has blocks (forbidden, rather than malformed).
    #[error("the project does not use blocking, but the upload has `{member}`")]
    BlocksUnwanted { member: &'static str },
    /// One of `encodings` and `blocks` names an object, and the other is inline.
    #[error("`encodings` and `blocks` must both be inline or both be files")]
    Mixed,
    /// A reference to an object lacks a part.
    #[error("`{member}` names a file without `{lacks}`")]
    Reference { member: &'static str, lacks: &'static str },
    /// A binary upload is shorter than declared.
    #[error("{expected} bytes were declared, but only {found} arrived")]
    TooShort { expected: u64, found: u64 },
    /// A binary upload is longer than declared.
    #[error("{expected} bytes were declared, but more arrived")]
    TooMuch { expected: u64 },
}

impl Rejection {
    /// Returns true if the upload is well-formed, but this project forbids blocks and it has some, or requires blocks
    /// and it has none.
    pub const fn is_forbidden(&self) -> bool {
        matches!(self, Self::BlocksMissing | Self::BlocksUnwanted { .. })
    }
}

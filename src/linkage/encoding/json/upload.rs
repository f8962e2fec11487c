//! Reads the body of an upload, in any of its shapes.

use std::io::{Read, Write};

use super::super::entries::{Entries, Version};
use super::super::rows::{Fit, Rows};
use super::super::{Error, Rejection, Summary};
use super::blocks::{self, Keyed, Names};
use super::reference::{self, FileRef};
use super::tokens::Tokens;

const CLKS: &str = "clks";
const CLKNBLOCKS: &str = "clknblocks";
const ENCODINGS: &str = "encodings";
const BLOCKS: &str = "blocks";

/// The requirements that a project places on uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// True if the project uses blocking: then uploads must have blocks, otherwise they must not.
    pub uses_blocking: bool,
    /// The maximum number of records an upload may have.
    pub records_max: u32,
}

/// The content of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The encodings themselves, which have been written.
    Inline(Summary),
    /// References to objects with the encodings or blocks; nothing has been written.
    External {
        /// The object with the encodings.
        encodings: FileRef,
        /// The object with the blocks, if the project uses blocking.
        blocks: Option<FileRef>,
    },
}

/// Reads the body of an upload: encodings go to `matrix` as rows, blocks to `entries` as
/// [block entries](super::super::entries) of `version`.
///
/// The shapes, by their members:
/// - `clks` or `encodings`: an array of base64 texts; beside it, before or after, `blocks`: an object with an array of
///   block names for each record number;
/// - `clknblocks`: an array of arrays, each a base64 text followed by block names, texts or integers;
/// - `encodings` and `blocks` as references to objects.
///
/// Stops at the first fault. The caller must then discard what was written.
///
/// # Errors
/// [`Error::Rejected`] with the fault of the body; otherwise the error of the source or a sink.
pub fn upload(
    source: impl Read,
    expected: Expected,
    matrix: impl Write,
    entries: impl Write,
    version: Version,
) -> Result<Received, Error> {
    let mut reader = Reader {
        tokens: Tokens::new(source),
        rows: Rows::new(matrix, Fit::Exact),
        entries: Entries::new(version, entries),
        expected,
        shape: None,
        encodings: None,
        blocks: None,
    };
    reader.document()?;
    reader.finish()
}

/// A member with encodings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Clks,
    ClkNBlocks,
    Encodings,
}

impl Shape {
    const fn member(self) -> &'static str {
        match self {
            Self::Clks => CLKS,
            Self::ClkNBlocks => CLKNBLOCKS,
            Self::Encodings => ENCODINGS,
        }
    }
}

/// The kind of a member of the document.
#[derive(Clone, Copy)]
enum Member {
    Encodings(Shape),
    Blocks,
    Other,
}

impl Member {
    fn named(key: &str) -> Self {
        match key {
            CLKS => Self::Encodings(Shape::Clks),
            CLKNBLOCKS => Self::Encodings(Shape::ClkNBlocks),
            ENCODINGS => Self::Encodings(Shape::Encodings),
            BLOCKS => Self::Blocks,
            _ => Self::Other,
        }
    }
}

/// The form of a member's content.
enum Content<T> {
    Inline(T),
    External(FileRef),
}

struct Reader<R, M, E> {
    tokens: Tokens<R>,
    rows: Rows<M>,
    entries: Entries<E>,
    expected: Expected,
    shape: Option<Shape>,
    encodings: Option<Content<()>>,
    blocks: Option<Content<Keyed>>,
}

impl<R: Read, M: Write, E: Write> Reader<R, M, E> {
    fn document(&mut self) -> Result<(), Error> {
        self.tokens.begin()?;
        self.tokens.take(b'{', "an object")?;
        let mut first = true;
        while self.tokens.item(&mut first, b'}')? {
            match self.tokens.key(Member::named)? {
                Member::Encodings(shape) => self.encodings(shape)?,
                Member::Blocks => self.blocks()?,
                Member::Other => self.tokens.skip_value()?,
            }
        }
        self.tokens.finish()
    }

    fn encodings(&mut self, shape: Shape) -> Result<(), Error> {
        self.check_shape(shape)?;
        self.shape = Some(shape);
        self.encodings = Some(if self.tokens.peek()? == b'{' && shape == Shape::Encodings {
            Content::External(reference::read(&mut self.tokens, ENCODINGS)?)
        } else {
            self.array(shape)?;
            Content::Inline(())
        });
        self.check_mixture()
    }

    fn check_shape(&self, shape: Shape) -> Result<(), Rejection> {
        let member = shape.member();
        match self.shape {
            Some(first) if first == shape => return Err(Rejection::MemberTwice { member }),
            Some(first) => return Err(Rejection::TwoShapes { first: first.member(), second: member }),
            None => {}
        }
        match shape {
            Shape::ClkNBlocks if self.blocks.is_some() => {
                Err(Rejection::TwoShapes { first: BLOCKS, second: member })
            }
            Shape::ClkNBlocks => self.check_wanted(member),
            Shape::Clks | Shape::Encodings => Ok(()),
        }
    }

    const fn check_wanted(&self, member: &'static str) -> Result<(), Rejection> {
        if self.expected.uses_blocking { Ok(()) } else { Err(Rejection::BlocksUnwanted { member }) }
    }

    /// Checks that encodings and blocks are both inline or both references, once both are known.
    fn check_mixture(&self) -> Result<(), Error> {
        match (&self.encodings, &self.blocks) {
            (Some(Content::Inline(())), Some(Content::External(_)))
            | (Some(Content::External(_)), Some(Content::Inline(_))) => Err(Rejection::Mixed.into()),
            _ => Ok(()),
        }
    }

    fn array(&mut self, shape: Shape) -> Result<(), Error> {
        let member = shape.member();
        if self.tokens.peek()? != b'[' {
            let offset = self.tokens.offset();
            return Err(Rejection::WrongType { member, offset, expected: "an array" }.into());
        }
        self.tokens.advance(1);
        let mut first = true;
        while self.tokens.item(&mut first, b']')? {
            if self.rows.records() == self.expected.records_max {
                return Err(Rejection::TooManyRecords { records_max: self.expected.records_max }.into());
            }
            match shape {
                Shape::Clks | Shape::Encodings => encoding(&mut self.tokens, &mut self.rows)?,
                Shape::ClkNBlocks => self.encoding_and_blocks()?,
            }
        }
        if self.rows.records() == 0 {
            return Err(Rejection::Empty { member }.into());
        }
        Ok(())
    }

    fn encoding_and_blocks(&mut self) -> Result<(), Error> {
        let record = self.rows.records();
        let refused = Rejection::Record { record, expected: "an array that starts with an encoding" };
        if self.tokens.peek()? != b'[' {
            return Err(refused.into());
        }
        self.tokens.advance(1);
        let mut first = true;
        if !self.tokens.item(&mut first, b']')? {
            return Err(refused.into());
        }
        encoding(&mut self.tokens, &mut self.rows)?;
        loop {
            while let Some(name) = self.tokens.following_text() {
                self.entries.push(record, name)?;
            }
            if !self.tokens.item(&mut first, b']')? {
                return Ok(());
            }
            blocks::name(&mut self.tokens, Names::Integers, record, &mut self.entries)?;
        }
    }

    fn blocks(&mut self) -> Result<(), Error> {
        if self.blocks.is_some() {
            return Err(Rejection::MemberTwice { member: BLOCKS }.into());
        }
        if let Some(first @ Shape::ClkNBlocks) = self.shape {
            return Err(Rejection::TwoShapes { first: first.member(), second: BLOCKS }.into());
        }
        self.check_wanted(BLOCKS)?;
        self.blocks = Some(self.blocks_object()?);
        self.check_mixture()
    }

    /// Reads the value of `blocks`. Its first key decides whether it is an object of record numbers or a reference.
    fn blocks_object(&mut self) -> Result<Content<Keyed>, Error> {
        if self.tokens.peek()? != b'{' {
            let offset = self.tokens.offset();
            return Err(Rejection::WrongType { member: BLOCKS, offset, expected: "an object" }.into());
        }
        self.tokens.advance(1);
        let mut keyed = Keyed::below(self.key_bound());
        let mut reference = reference::Builder::default();
        let (mut first, mut any_record) = (true, false);
        while self.tokens.item(&mut first, b'}')? {
            let offset = self.tokens.offset();
            match self.tokens.key(|key| blocks::Key::read(key, reference::Key::named))? {
                blocks::Key::Record(_) if reference.is_begun() => return Err(Rejection::Mixed.into()),
                blocks::Key::Record(record) => {
                    any_record = true;
                    blocks::record(&mut self.tokens, Names::Texts, record, &mut keyed, &mut self.entries)?;
                }
                blocks::Key::Other(reference::Key::Other) if !reference.is_begun() => {
                    return Err(Rejection::BlockKey { offset }.into());
                }
                blocks::Key::Other(_) if any_record => return Err(Rejection::BlockKey { offset }.into()),
                blocks::Key::Other(key) => reference.member(&mut self.tokens, BLOCKS, key)?,
            }
        }
        if reference.is_begun() {
            return Ok(Content::External(reference.finish(BLOCKS)?));
        }
        if !any_record {
            return Err(Rejection::Empty { member: BLOCKS }.into());
        }
        Ok(Content::Inline(keyed))
    }

    /// Returns the exclusive upper bound of the keys of `blocks`: the number of records, or its limit while unknown.
    fn key_bound(&self) -> u32 {
        match self.encodings {
            Some(Content::Inline(())) => self.rows.records(),
            _ => self.expected.records_max,
        }
    }

    fn finish(mut self) -> Result<Received, Error> {
        let Some((shape, encodings)) = self.shape.zip(self.encodings.take()) else {
            return Err(Rejection::Absent { expected: "clks`, `clknblocks` or `encodings" }.into());
        };
        let has_blocks = self.blocks.is_some() || shape == Shape::ClkNBlocks;
        if self.expected.uses_blocking && !has_blocks {
            return Err(Rejection::BlocksMissing.into());
        }
        match (encodings, self.blocks.take()) {
            (Content::External(encodings), Some(Content::External(blocks))) => {
                Ok(Received::External { encodings, blocks: Some(blocks) })
            }
            (Content::External(encodings), _) => Ok(Received::External { encodings, blocks: None }),
            (Content::Inline(()), Some(Content::Inline(keyed))) => {
                keyed.check(self.rows.records())?;
                self.finish_inline(has_blocks)
            }
            (Content::Inline(()), _) => self.finish_inline(has_blocks),
        }
    }

    fn finish_inline(mut self, has_blocks: bool) -> Result<Received, Error> {
        self.rows.flush()?;
        self.entries.flush()?;
        Ok(Received::Inline(Summary {
            records: self.rows.records(),
            encoding_bytes: self.rows.encoding_bytes(),
            has_blocks,
            entries: self.entries.count(),
        }))
    }
}

/// Reads the next encoding into `rows`.
pub(super) fn encoding<R: Read, M: Write>(tokens: &mut Tokens<R>, rows: &mut Rows<M>) -> Result<(), Error> {
    if tokens.peek()? != b'"' {
        return Err(Rejection::Record { record: rows.records(), expected: "a base64 string" }.into());
    }
    let span = tokens.span()?;
    if let Some(plain) = tokens.plain(span)
        && rows.push_canonical(plain)?
    {
        return Ok(());
    }
    rows.push(tokens.checked(span)?.as_bytes())
}

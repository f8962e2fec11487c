//! Linkage schemas, versions 1 to 3: the columns, and the encoding of each.
//!
//! A schema is checked against the rules of its own version, converted to version 3, checked again and compiled.
//! Diagnostics keep their position in the original text.

mod check;
mod compile;
mod convert;
mod definition;
mod diagnostic;
mod hardening;
mod members;
mod notes;
mod version;

use self::compile::compile;
pub(super) use self::definition::{Charset, HashFunction, Strategy};
pub use self::definition::{Feature, Hashing, Schema};
pub use self::diagnostic::{Diagnostic, Diagnostics};
pub use self::hardening::Hardening;
pub(super) use self::hardening::{Blip, Salt};
pub use self::version::Version;

use self::check::check;
use super::json::{Node, Repeated};

/// Parses and checks the text of a schema. Returns its version, and the schema converted to version 3.
///
/// # Errors
/// The mistakes in the schema.
pub fn parse(text: &str) -> Result<(Version, Converted), Diagnostics> {
    let refuse = |mistakes| Diagnostics::new(text, mistakes);
    let node = Node::parse(text).map_err(|error| Diagnostics::syntax(&error))?;
    let version = Version::of(&node).map_err(|mistake| refuse(vec![mistake]))?;
    check(&node, version).map_err(refuse)?;
    let converted = convert::to_latest(node, version);
    check(&converted, Version::V3).map_err(refuse)?;
    Ok((version, Converted(converted)))
}

/// A schema of version 3, as JSON.
#[derive(Clone, Debug)]
pub struct Converted(Node);

impl Converted {
    /// The schema as text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("a schema is made of strings and numbers")
    }
}

/// Parses, checks and compiles the text of a schema.
///
/// # Errors
/// The mistakes in the schema.
pub fn read(text: &str) -> Result<Schema, Diagnostics> {
    let repeated = Repeated::default();
    let original = Node::parse_noting(text, &repeated).map_err(|error| Diagnostics::syntax(&error))?;
    let (version, Converted(latest)) = parse(text)?;
    let mut schema = compile(&latest).map_err(|mistakes| Diagnostics::new(text, mistakes))?;
    schema.notes = notes::of(&original, version, &schema);
    schema.notes.extend(repeated.take().iter().map(|(name, node)| {
        Diagnostic::new(node, name, "an earlier member has the same name and is ignored")
    }));
    let hardening = schema.hardening.iter_mut().map(|hardening| &mut hardening.note);
    schema.notes.iter_mut().chain(hardening).for_each(|note| note.locate(text));
    Ok(schema)
}

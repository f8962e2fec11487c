//! References to objects: `{"file": {"bucket": .., "path": ..}, "credentials": {..}}`.

use std::fmt;
use std::io::Read;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::super::{Error, Rejection};
use super::tokens::Tokens;

/// Credentials for a store of another provider. They are never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct AccessKeys {
    /// The access key id.
    pub access_key_id: String,
    /// The secret key, with which requests are signed.
    pub secret_access_key: String,
    /// The session token of temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKeys(***)")
    }
}

/// The location of an object with encodings or blocks, as the sender gave it. Other code checks whether it may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// The bucket.
    pub bucket: String,
    /// The key in the bucket.
    pub path: String,
    /// The object store, if the sender names one.
    pub endpoint: Option<String>,
    /// True if the client declares that the object store uses TLS.
    pub secure: Option<bool>,
    /// The credentials that the client gives for the object.
    pub keys: Option<Box<AccessKeys>>,
}

/// A reference whose members are being read.
#[derive(Default)]
pub(super) struct Builder {
    file: Option<FileRef>,
    keys: Option<Box<AccessKeys>>,
}

impl Builder {
    /// Returns true if a member of a reference was read.
    pub(super) const fn is_begun(&self) -> bool {
        self.file.is_some() || self.keys.is_some()
    }

    /// Reads the value of the key `key` of the reference that is the value of the top-level member `member`.
    pub(super) fn member<R: Read>(
        &mut self,
        tokens: &mut Tokens<R>,
        member: &'static str,
        key: Key,
    ) -> Result<(), Error> {
        match key {
            Key::File if self.file.is_some() => Err(Rejection::MemberTwice { member: "file" }.into()),
            Key::Credentials if self.keys.is_some() => {
                Err(Rejection::MemberTwice { member: "credentials" }.into())
            }
            Key::File => {
                self.file = Some(file(tokens, member)?);
                Ok(())
            }
            Key::Credentials => {
                self.keys = Some(Box::new(credentials(tokens, member)?));
                Ok(())
            }
            Key::Other => tokens.skip_value(),
        }
    }

    /// Returns the reference, after its last member.
    pub(super) fn finish(self, member: &'static str) -> Result<FileRef, Rejection> {
        let file = self.file.ok_or(Rejection::Reference { member, lacks: "file" })?;
        Ok(FileRef { keys: self.keys, ..file })
    }
}

/// A member of a reference.
#[derive(Clone, Copy)]
pub(super) enum Key {
    File,
    Credentials,
    Other,
}

impl Key {
    pub(super) fn named(key: &str) -> Self {
        match key {
            "file" => Self::File,
            "credentials" => Self::Credentials,
            _ => Self::Other,
        }
    }
}

/// Reads the next reference.
pub(super) fn read<R: Read>(tokens: &mut Tokens<R>, member: &'static str) -> Result<FileRef, Error> {
    let mut reference = Builder::default();
    tokens.take(b'{', "an object")?;
    let mut first = true;
    while tokens.item(&mut first, b'}')? {
        let key = tokens.key(Key::named)?;
        reference.member(tokens, member, key)?;
    }
    Ok(reference.finish(member)?)
}

fn file<R: Read>(tokens: &mut Tokens<R>, member: &'static str) -> Result<FileRef, Error> {
    const MEMBERS: [&str; 3] = ["bucket", "path", "endpoint"];
    let mut texts = [None, None, None];
    let mut secure = None;
    object(tokens, "file", |tokens, key| match MEMBERS.iter().position(|known| *known == key) {
        Some(which) => put(&mut texts[which], text(tokens, MEMBERS[which])?, MEMBERS[which]),
        None if key == "secure" => put(&mut secure, boolean(tokens)?, "secure"),
        None => tokens.skip_value(),
    })?;
    let [bucket, path, endpoint] = texts;
    Ok(FileRef {
        bucket: bucket.ok_or(Rejection::Reference { member, lacks: "bucket" })?,
        path: path.ok_or(Rejection::Reference { member, lacks: "path" })?,
        endpoint,
        secure,
        keys: None,
    })
}

fn credentials<R: Read>(tokens: &mut Tokens<R>, member: &'static str) -> Result<AccessKeys, Error> {
    const MEMBERS: [&str; 3] = ["AccessKeyId", "SecretAccessKey", "SessionToken"];
    let mut texts = [None, None, None];
    object(tokens, "credentials", |tokens, key| match MEMBERS.iter().position(|known| *known == key) {
        // Clients write absent values as null.
        Some(2) if tokens.peek()? == b'n' => tokens.skip_value(),
        Some(which) => put(&mut texts[which], text(tokens, MEMBERS[which])?, MEMBERS[which]),
        None => tokens.skip_value(),
    })?;
    let [access_key_id, secret_access_key, session_token] = texts;
    Ok(AccessKeys {
        access_key_id: access_key_id.ok_or(Rejection::Reference { member, lacks: MEMBERS[0] })?,
        secret_access_key: secret_access_key.ok_or(Rejection::Reference { member, lacks: MEMBERS[1] })?,
        session_token,
    })
}

fn object<R: Read>(
    tokens: &mut Tokens<R>,
    member: &'static str,
    mut value: impl FnMut(&mut Tokens<R>, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    if tokens.peek()? != b'{' {
        return Err(Rejection::WrongType { member, offset: tokens.offset(), expected: "an object" }.into());
    }
    tokens.advance(1);
    let mut first = true;
    while tokens.item(&mut first, b'}')? {
        let key = tokens.key(str::to_owned)?;
        value(tokens, &key)?;
    }
    Ok(())
}

fn text<R: Read>(tokens: &mut Tokens<R>, member: &'static str) -> Result<String, Error> {
    if tokens.peek()? != b'"' {
        return Err(Rejection::WrongType { member, offset: tokens.offset(), expected: "a string" }.into());
    }
    tokens.text().map(str::to_owned)
}

fn boolean<R: Read>(tokens: &mut Tokens<R>) -> Result<bool, Error> {
    let next = tokens.peek()?;
    if !matches!(next, b't' | b'f') {
        let (member, offset) = ("secure", tokens.offset());
        return Err(Rejection::WrongType { member, offset, expected: "true or false" }.into());
    }
    tokens.skip_value().map(|()| next == b't')
}

fn put<T>(slot: &mut Option<T>, value: T, member: &'static str) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Rejection::MemberTwice { member }.into()),
    }
}

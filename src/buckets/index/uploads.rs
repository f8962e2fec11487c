//! The multipart uploads in the index.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::objects::{self, Gone, New, Stored, take_data};
use super::{bucket, from_json, to_json};
use crate::buckets::checksum::{self, Algorithm, Checksum};
use crate::buckets::files::Number;
use crate::buckets::object::{Condition, Head, Object};
use crate::buckets::{Error, PART_BYTES_MIN};
use crate::runtime::clock::Timestamp;
use crate::system::sqlite::Change;

/// A new multipart upload.
pub(in super::super) struct NewUpload<'a> {
    pub(in super::super) id: Number,
    pub(in super::super) token: &'a str,
    pub(in super::super) bucket: &'a str,
    pub(in super::super) key: &'a str,
    pub(in super::super) started: Timestamp,
    pub(in super::super) head: &'a Head,
    pub(in super::super) checksum: Option<(Algorithm, bool)>,
}

/// A multipart upload in progress.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The key of the object to be created.
    pub key: String,
    /// The upload id that clients use.
    pub token: String,
    /// The time at which the upload began.
    pub started: Timestamp,
    /// The checksum algorithm of the parts; true if the object will have a checksum of all its bytes.
    pub checksum: Option<(Algorithm, bool)>,
    id: Number,
    head: Head,
}

/// A part that has arrived and is not in the index yet.
pub(in super::super) struct NewPart {
    pub(in super::super) number: u32,
    pub(in super::super) file: Number,
    pub(in super::super) size: u64,
    pub(in super::super) md5: [u8; 16],
    pub(in super::super) checksum: Option<Checksum>,
    pub(in super::super) modified: Timestamp,
}

/// A part that has arrived.
#[derive(Clone, Debug)]
pub struct Part {
    /// The part number, from 1 to 10,000.
    pub number: u32,
    /// The number of bytes.
    pub size: u64,
    /// The MD5 of the part.
    pub md5: [u8; 16],
    /// The checksum of the part, if the client chose an algorithm.
    pub checksum: Option<Checksum>,
    /// The time of arrival.
    pub modified: Timestamp,
}

/// A part in a request that completes an upload.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The part number.
    pub number: u32,
    /// The ETag of the part, without quotes.
    pub etag: String,
    /// The checksum of the part, as text.
    pub checksum: Option<String>,
}

/// The content of a `CompleteMultipartUpload` request.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// The parts, in order.
    pub parts: Vec<Asked>,
    /// The condition on the key.
    pub condition: Condition,
    /// The expected checksum of the object, as text.
    pub checksum: Option<String>,
    /// True for a checksum of all bytes of the object, false for one of the parts' checksums; `None` if not declared.
    pub whole: Option<bool>,
    /// The expected size of the object.
    pub size: Option<u64>,
}

/// A request for a page of uploads.
#[derive(Clone, Debug, Default)]
pub struct UploadsQuery {
    /// The prefix of the keys.
    pub prefix: String,
    /// The key and the token after which the page begins; without a token, it begins after all uploads of the key.
    pub after: Option<(String, Option<String>)>,
    /// True if the key in `after` was shown as a common prefix: keys that begin with it are then left out, too.
    pub past_prefix: bool,
    /// Keys that are equal up to the first occurrence of this text after the prefix are shown as one common prefix.
    pub delimiter: Option<String>,
    /// The maximum number of uploads and common prefixes in a page.
    pub max: u32,
}

/// A page of uploads and common prefixes.
#[derive(Debug, Default)]
pub struct UploadsPage {
    /// The uploads, by key and age.
    pub uploads: Vec<Upload>,
    /// The common prefixes, in order.
    pub prefixes: Vec<String>,
    /// The key or common prefix of the last entry, and its token if it is an upload.
    pub last: Option<(String, Option<String>)>,
    /// True if there are more entries after this page.
    pub more: bool,
}

impl UploadsQuery {
    /// Returns the common prefix that stands for `key`, if there is one.
    fn common_prefix<'key>(&self, key: &'key str) -> Option<&'key str> {
        let delimiter = self.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
        let at = key[self.prefix.len()..].find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }

    /// Returns true if an earlier page has shown a common prefix that stands for the key.
    fn was_shown(&self, key: &str) -> bool {
        self.past_prefix && self.after.as_ref().is_some_and(|(marker, _)| key.starts_with(marker))
    }
}

impl UploadsPage {
    fn is_full(&self, max: u32) -> bool {
        self.uploads.len() + self.prefixes.len() >= max as usize
    }
}

pub(in super::super) fn start(change: &Change<'_>, new: &NewUpload<'_>) -> Result<(), Error> {
    let (bucket, _) = bucket(change, new.bucket)?;
    let insert = "INSERT INTO uploads (id, token, bucket, key, started, head, algorithm, whole)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    change.prepare_cached(insert)?.execute(params![
        new.id,
        new.token,
        bucket,
        new.key.as_bytes(),
        new.started.as_micros(),
        to_json(new.head),
        new.checksum.map(|(algorithm, _)| algorithm.name()),
        new.checksum.is_some_and(|(_, whole)| whole),
    ])?;
    Ok(())
}

/// Finds the upload of a request.
fn find(connection: &Connection, name: &str, key: &str, token: &str) -> Result<Upload, Error> {
    let (bucket, _) = bucket(connection, name)?;
    let id = id_of(token).ok_or(Error::NoSuchUpload)?;
    let mut select = connection.prepare_cached(
        "SELECT id, token, key, started, head, algorithm, whole FROM uploads
         WHERE id = ?1 AND token = ?2 AND bucket = ?3 AND key = ?4",
    )?;
    let found =
        select.query_row(params![id, token, bucket, key.as_bytes()], |row| Ok(upload(row))).optional()?;
    found.ok_or(Error::NoSuchUpload)?
}

/// Returns the number of the upload's data, which its token contains.
fn id_of(token: &str) -> Option<Number> {
    Number::from_str_radix(token.get(..16)?, 16).ok()
}

fn upload(row: &Row<'_>) -> Result<Upload, Error> {
    let algorithm =
        row.get_ref(5)?.as_str_or_null().map_err(rusqlite::Error::from)?.and_then(Algorithm::parse);
    let whole: bool = row.get(6)?;
    Ok(Upload {
        id: row.get(0)?,
        token: row.get(1)?,
        key: text(row.get(2)?)?,
        started: Timestamp::from_micros(row.get(3)?),
        head: from_json(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?,
        checksum: algorithm.map(|algorithm| (algorithm, whole)),
    })
}

pub(super) fn text(key: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(key).map_err(|_| Error::Damaged("a key in the index is not text".to_owned()))
}

/// Returns a page of the uploads of a bucket, by key and age.
pub(in super::super) fn uploads(
    connection: &Connection,
    name: &str,
    query: &UploadsQuery,
) -> Result<UploadsPage, Error> {
    let (bucket, _) = bucket(connection, name)?;
    let (after, past) = match &query.after {
        Some((key, token)) => {
            (key.as_str(), token.as_deref().map_or(Some(Number::MAX), id_of).unwrap_or(Number::MAX))
        }
        None => ("", -1),
    };
    let mut select = connection.prepare_cached(
        "SELECT id, token, key, started, head, algorithm, whole FROM uploads
         WHERE bucket = ?1 AND key >= ?2 AND (key, id) > (?3, ?4) ORDER BY key, id",
    )?;
    let rows = select
        .query_map(params![bucket, query.prefix.as_bytes(), after.as_bytes(), past], |row| Ok(upload(row)))?;
    let mut page = UploadsPage::default();
    for row in rows {
        let upload = row??;
        if !upload.key.starts_with(&query.prefix) {
            break;
        }
        let prefix = query.common_prefix(&upload.key);
        if query.was_shown(&upload.key)
            || prefix.is_some() && prefix == page.prefixes.last().map(String::as_str)
        {
            continue;
        }
        if page.is_full(query.max) {
            page.more = true;
            break;
        }
        if let Some(prefix) = prefix {
            page.last = Some((prefix.to_owned(), None));
            page.prefixes.push(prefix.to_owned());
        } else {
            page.last = Some((upload.key.clone(), Some(upload.token.clone())));
            page.uploads.push(upload);
        }
    }
    Ok(page)
}

/// Adds or replaces a part; returns the number of the upload's data and the replaced file.
pub(in super::super) fn part(
    change: &Change<'_>,
    (name, key, token): (&str, &str, &str),
    new: &NewPart,
) -> Result<Option<Gone>, Error> {
    let upload = find(change, name, key, token)?;
    let mut delete =
        change.prepare_cached("DELETE FROM pieces WHERE data = ?1 AND number = ?2 RETURNING file")?;
    let replaced: Option<Number> =
        delete.query_row(params![upload.id, new.number], |row| row.get(0)).optional()?;
    let insert = "INSERT INTO pieces (data, number, file, size, md5, checksum, modified)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    change.prepare_cached(insert)?.execute(params![
        upload.id,
        new.number,
        new.file,
        new.size.cast_signed(),
        new.md5,
        new.checksum.as_ref().map(to_json),
        new.modified.as_micros(),
    ])?;
    Ok(replaced.map(|file| (upload.id, vec![file])))
}

/// Returns an upload, up to `max` of its parts after number `after`, and true if there are more.
pub(in super::super) fn parts(
    connection: &Connection,
    (name, key, token): (&str, &str, &str),
    after: u32,
    max: u32,
) -> Result<(Upload, Vec<Part>, bool), Error> {
    let upload = find(connection, name, key, token)?;
    let (found, more) = page_of_parts(connection, upload.id, after, max)?;
    Ok((upload, found, more))
}

/// Returns up to `max` parts, after number `after`, of an upload or of the object that it became, and true if there are
/// more.
pub(in super::super) fn page_of_parts(
    connection: &Connection,
    data: Number,
    after: u32,
    max: u32,
) -> Result<(Vec<Part>, bool), Error> {
    let mut found = arrived(connection, data, after, i64::from(max) + 1)?;
    let more = found.len() > max as usize;
    found.truncate(max as usize);
    Ok((found, more))
}

/// Returns the number of parts of an object.
pub(in super::super) fn count_parts(connection: &Connection, data: Number) -> Result<u32, Error> {
    let mut count = connection.prepare_cached("SELECT COUNT(*) FROM pieces WHERE data = ?1")?;
    Ok(count.query_row([data], |row| row.get(0))?)
}

fn arrived(connection: &Connection, data: Number, after: u32, max: i64) -> Result<Vec<Part>, Error> {
    let mut select = connection.prepare_cached(
        "SELECT number, size, md5, checksum, modified FROM pieces
         WHERE data = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let part = |row: &Row<'_>| -> Result<Part, Error> {
        let checksum: Option<String> = row.get(3)?;
        // The parts of a copied object have no digests.
        let md5: Vec<u8> = row.get(2)?;
        Ok(Part {
            number: row.get(0)?,
            size: row.get::<_, i64>(1)?.cast_unsigned(),
            md5: md5.try_into().unwrap_or_default(),
            checksum: checksum.as_deref().map(from_json).transpose()?,
            modified: Timestamp::from_micros(row.get(4)?),
        })
    };
    let rows = select.query_map(params![data, after, max], |row| Ok(part(row)))?;
    rows.map(|row| row?).collect()
}

/// Creates an object from the parts in the request without copying bytes, and removes all other parts of the upload. If
/// the upload was completed with the same parts before, returns that object.
pub(in super::super) fn complete(
    change: &Change<'_>,
    (name, key, token): (&str, &str, &str),
    completion: &Completion,
    now: Timestamp,
) -> Result<(Object, Vec<Gone>), Error> {
    let upload = match find(change, name, key, token) {
        Err(Error::NoSuchUpload) => {
            let object = completed(change, (name, key, token))?;
            return completion.repeats(change, &object).map(|()| (object, Vec::new()));
        }
        found => found?,
    };
    let arrived = arrived(change, upload.id, 0, i64::MAX)?;
    let chosen = choose(&arrived, &completion.parts)?;
    let mut unused = Vec::new();
    let mut delete =
        change.prepare_cached("DELETE FROM pieces WHERE data = ?1 AND number = ?2 RETURNING file")?;
    for part in arrived.iter().filter(|part| chosen.binary_search_by_key(&part.number, |c| c.number).is_err())
    {
        unused.push(delete.query_row(params![upload.id, part.number], |row| row.get(0))?);
    }
    change.execute("DELETE FROM uploads WHERE id = ?1", [upload.id])?;
    let size = chosen.iter().map(|part| part.size).sum();
    let sums: Vec<_> = chosen.iter().map(|part| (part.checksum.clone(), part.size)).collect();
    completion.check_kind(upload.checksum)?;
    let checksum = upload.checksum.and_then(|(algorithm, whole)| checksum::of_parts(algorithm, whole, &sums));
    completion.check(size, checksum.as_ref())?;
    let etag = etag_of(&chosen);
    let object =
        Object { size, etag, modified: now, head: Head { checksum, ..upload.head }, data: upload.id };
    let new = New {
        bucket: name,
        key,
        data: upload.id,
        size,
        etag: &object.etag,
        modified: now,
        head: &object.head,
    };
    let replaced = objects::put(change, &new, &Stored::Known, &completion.condition)?;
    let gone = replaced.into_iter().chain((!unused.is_empty()).then_some((upload.id, unused))).collect();
    Ok((object, gone))
}

impl Completion {
    /// Checks that the request repeats the one that completed the upload: it names the parts of `object`.
    fn repeats(&self, connection: &Connection, object: &Object) -> Result<(), Error> {
        let arrived = arrived(connection, object.data, 0, i64::MAX)?;
        let chosen = choose(&arrived, &self.parts)?;
        let is_left_out =
            |part: &&Part| chosen.binary_search_by_key(&part.number, |chosen| chosen.number).is_err();
        match arrived.iter().find(is_left_out) {
            Some(part) => Err(Error::InvalidPart { number: part.number }),
            None => self.check(object.size, object.head.checksum.as_ref()),
        }
    }

    /// Checks that the request declares the upload's kind of checksum, if it declares one.
    fn check_kind(&self, checksum: Option<(Algorithm, bool)>) -> Result<(), Error> {
        match (self.whole, checksum) {
            (Some(said), Some((_, whole))) if said != whole => Err(Error::ChecksumType),
            _ => Ok(()),
        }
    }

    /// Checks that size and checksum of the object are those that the request declares, if it does.
    fn check(&self, size: u64, checksum: Option<&Checksum>) -> Result<(), Error> {
        if self.size.is_some_and(|said| said != size) {
            return Err(Error::Mismatch { what: "size" });
        }
        match &self.checksum {
            Some(said) if !checksum.is_some_and(|sum| sum.is(said)) => {
                Err(Error::Mismatch { what: "checksum" })
            }
            _ => Ok(()),
        }
    }
}

/// Returns the object that an upload became, if it still exists.
fn completed(connection: &Connection, (name, key, token): (&str, &str, &str)) -> Result<Object, Error> {
    match objects::find(connection, name, key) {
        Ok(object) if Some(object.data) == id_of(token) => Ok(object),
        Ok(_) | Err(Error::NoSuchKey) => Err(Error::NoSuchUpload),
        Err(error) => Err(error),
    }
}

/// Returns the requested parts, if they have arrived with this content and are in order, and only the last is small.
fn choose<'a>(arrived: &'a [Part], asked: &[Asked]) -> Result<Vec<&'a Part>, Error> {
    if !asked.is_sorted_by(|one, next| one.number < next.number) {
        return Err(Error::PartOrder);
    }
    let chosen: Vec<&Part> =
        asked.iter().map(|asked| match_part(arrived, asked)).collect::<Result<_, _>>()?;
    let Some((_, before)) = chosen.split_last() else { return Err(Error::InvalidPart { number: 1 }) };
    match before.iter().find(|part| part.size < PART_BYTES_MIN) {
        Some(small) => Err(Error::PartTooSmall { number: small.number, size: small.size }),
        None => Ok(chosen),
    }
}

fn match_part<'a>(arrived: &'a [Part], asked: &Asked) -> Result<&'a Part, Error> {
    let invalid = Error::InvalidPart { number: asked.number };
    let at = arrived.binary_search_by_key(&asked.number, |part| part.number);
    let Some(part) = at.ok().map(|at| &arrived[at]) else { return Err(invalid) };
    let checksum = match (&asked.checksum, &part.checksum) {
        (Some(text), Some(checksum)) => checksum.is(text),
        (Some(_), None) => false,
        (None, _) => true,
    };
    if hex::encode(part.md5) == asked.etag && checksum { Ok(part) } else { Err(invalid) }
}

fn etag_of(parts: &[&Part]) -> String {
    use md5::Digest as _;
    let sums: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    format!("{}-{}", hex::encode(md5::Md5::digest(sums)), parts.len())
}

pub(in super::super) fn abort(
    change: &Change<'_>,
    (name, key, token): (&str, &str, &str),
) -> Result<Gone, Error> {
    let upload = find(change, name, key, token)?;
    Ok((upload.id, forget(change, upload.id)?))
}

/// Adds `time` to the age of all uploads, which begins at zero, and removes the uploads that are older than `age`.
pub(in super::super) fn abandoned(
    change: &Change<'_>,
    time: Duration,
    age: Duration,
) -> Result<Vec<Gone>, Error> {
    let [time, age] = [time, age].map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
    change.execute("UPDATE uploads SET waited = coalesce(waited + ?1, 0)", [time])?;
    let mut select = change.prepare_cached("SELECT id FROM uploads WHERE waited >= ?1")?;
    let ids: Vec<Number> = select.query_map([age], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.into_iter().map(|id| Ok((id, forget(change, id)?))).collect()
}

/// Removes an upload and its parts from the index.
pub(super) fn forget(change: &Change<'_>, id: Number) -> Result<Vec<Number>, Error> {
    change.execute("DELETE FROM uploads WHERE id = ?1", [id])?;
    take_data(change, id)
}

//! Lists objects a page at a time. The cost depends on the size of the page, not on the number of keys that its common
//! prefixes represent.

use rusqlite::{Connection, Statement, params};

use super::bucket;
use super::uploads::text;
use crate::buckets::Error;
use crate::runtime::clock::Timestamp;

/// A request for a page of objects.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The prefix of the keys.
    pub prefix: String,
    /// Keys that are equal up to the first occurrence of this text after the prefix are shown as one common prefix.
    pub delimiter: Option<String>,
    /// The key after which the page begins.
    pub after: Option<String>,
    /// True if `after` was shown as a common prefix: keys that begin with it are then left out, too.
    pub past_prefix: bool,
    /// The maximum number of keys and common prefixes.
    pub max: u32,
}

/// An entry of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An object.
    Object {
        /// The key of the object.
        key: String,
        /// The size of the object.
        size: u64,
        /// The ETag of the object, without quotes.
        etag: String,
        /// The time of the PUT.
        modified: Timestamp,
    },
    /// A common prefix of several keys.
    Prefix(String),
}

impl Entry {
    /// Returns the key or the common prefix.
    pub fn name(&self) -> &str {
        match self {
            Self::Object { key, .. } => key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Keys and common prefixes in order.
    pub entries: Vec<Entry>,
    /// True if there are more entries after this page.
    pub more: bool,
}

const SELECT: &str = "SELECT key, size, etag, modified FROM objects
                      WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4";

pub(in super::super) fn page(connection: &Connection, name: &str, query: &Query) -> Result<Page, Error> {
    let (bucket, _) = bucket(connection, name)?;
    // One transaction, so that all queries see the same state.
    let snapshot = connection.unchecked_transaction()?;
    let mut select = snapshot.prepare_cached(SELECT)?;
    let end = successor(query.prefix.as_bytes());
    let mut from = first(query);
    let mut page = Page::default();
    while let Some(next) = fill(&mut select, &mut page, query, bucket, &from, &end)? {
        from = next;
    }
    Ok(page)
}

/// Returns the position at which a listing continues.
fn first(query: &Query) -> Vec<u8> {
    let after = match &query.after {
        Some(after) if query.past_prefix => successor(after.as_bytes()),
        // The smallest key greater than `after`.
        Some(after) => [after.as_bytes(), b"\0"].concat(),
        None => Vec::new(),
    };
    after.max(query.prefix.as_bytes().to_vec())
}

/// Reads entries from `from` on until the page is full, no entry is left, or the keys of a common prefix must be
/// skipped. In the last case returns the position at which to continue.
fn fill(
    select: &mut Statement<'_>,
    page: &mut Page,
    query: &Query,
    bucket: i64,
    from: &[u8],
    end: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    let room = i64::from(query.max) + 1 - page.entries.len() as i64;
    let mut rows = select.query(params![bucket, from, end, room])?;
    while let Some(row) = rows.next()? {
        if page.entries.len() >= query.max as usize {
            page.more = true;
            return Ok(None);
        }
        let key = text(row.get(0)?)?;
        if let Some(prefix) = common_prefix(&key, query) {
            let next = successor(prefix.as_bytes());
            page.entries.push(Entry::Prefix(prefix));
            return Ok(Some(next));
        }
        page.entries.push(Entry::Object {
            key,
            size: row.get::<_, i64>(1)?.cast_unsigned(),
            etag: row.get(2)?,
            modified: Timestamp::from_micros(row.get(3)?),
        });
    }
    Ok(None)
}

fn common_prefix(key: &str, query: &Query) -> Option<String> {
    let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.get(query.prefix.len()..)?;
    let at = rest.find(delimiter)?;
    Some(key[..query.prefix.len() + at + delimiter.len()].to_owned())
}

/// Returns a bound that is greater than every key that begins with `prefix`. Keys are text, so they have no byte 0xFF.
fn successor(prefix: &[u8]) -> Vec<u8> {
    match prefix.split_last() {
        Some((last, before)) => [before, &[last + 1]].concat(),
        None => vec![0xFF],
    }
}

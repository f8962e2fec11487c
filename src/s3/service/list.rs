//! The operations `ListObjects` and `ListObjectsV2`.

use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object as Listed, ObjectStorageClass, Owner,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Service;
use super::convert::{etag, refusal, timestamp};
use crate::buckets::{Entry, Page, Query};
use crate::s3::validate::intent::OWNER;

/// The maximum number of keys and common prefixes on a page.
const PAGE_MAX: u32 = 1_000;

impl Service {
    pub(super) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let max = page_size(input.max_keys)?;
        let (after, past_prefix) = match &input.continuation_token {
            Some(token) if !token.is_empty() => mark(token)?,
            _ => (input.start_after.clone().filter(|after| !after.is_empty()), false),
        };
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after,
            past_prefix,
            max,
        };
        let page = self.page(&input.bucket, query).await?;
        let next = page.entries.last().filter(|_| page.more).map(token);
        let owner = input.fetch_owner.unwrap_or_default();
        let count = page.entries.len() as i32;
        let (contents, prefixes) = split(page, encoding, owner);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.encode(&input.prefix.unwrap_or_default())),
            delimiter: encoding.encode_some(input.delimiter),
            start_after: input.start_after.map(|after| encoding.encode(&after)),
            max_keys: Some(max.cast_signed()),
            key_count: Some(count),
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        }))
    }

    pub(super) async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let max = page_size(input.max_keys)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.marker.clone().filter(|marker| !marker.is_empty());
        let past_prefix =
            after.as_deref().is_some_and(|marker| is_prefix(marker, &prefix, input.delimiter.as_deref()));
        let query = Query { prefix, delimiter: input.delimiter.clone(), after, past_prefix, max };
        let page = self.page(&input.bucket, query).await?;
        let next = page.entries.last().filter(|_| page.more).map(|entry| encoding.encode(entry.name()));
        let (contents, prefixes) = split(page, encoding, true);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.encode(&input.prefix.unwrap_or_default())),
            delimiter: encoding.encode_some(input.delimiter),
            marker: Some(encoding.encode(&input.marker.unwrap_or_default())),
            max_keys: Some(max.cast_signed()),
            is_truncated: Some(next.is_some()),
            next_marker: next,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        }))
    }

    pub(super) async fn page(&self, bucket: &str, query: Query) -> S3Result<Page> {
        if query.max == 0 {
            self.require_bucket(bucket).await?;
            return Ok(Page::default());
        }
        self.buckets.page(bucket, query).await.map_err(refusal)
    }
}

/// The encoding of keys in answers: plain, or URL-encoded so that XML can hold every key.
#[derive(Clone, Copy)]
pub(super) enum KeyEncoding {
    Plain,
    Url,
}

impl KeyEncoding {
    pub(super) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request.")),
        }
    }

    /// Encodes a parameter of the request for the response; `None` if it is empty.
    pub(super) fn encode_some(self, text: Option<String>) -> Option<String> {
        text.filter(|text| !text.is_empty()).map(|text| self.encode(&text))
    }

    pub(super) fn encode(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => url_encoded(text),
        }
    }
}

/// Returns the text with `%XX` for every reserved byte except slashes.
fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            byte => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    encoded
}

/// Returns the requested size of a page.
pub(super) fn page_size(asked: Option<i32>) -> S3Result<u32> {
    let negative = |_| s3_error!(InvalidArgument, "The number of entries on a page must not be negative.");
    asked
        .map_or(Ok(PAGE_MAX), |asked| u32::try_from(asked).map_err(negative))
        .map(|asked| asked.min(PAGE_MAX))
}

pub(super) fn owner() -> Owner {
    Owner { display_name: Some(OWNER.to_owned()), id: Some(OWNER.to_owned()) }
}

/// Returns true if the marker is the common prefix with which the previous page ended.
pub(super) fn is_prefix(marker: &str, prefix: &str, delimiter: Option<&str>) -> bool {
    let rest = marker.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    match (rest, delimiter) {
        (Some(rest), Some(delimiter)) => rest.find(delimiter) == rest.len().checked_sub(delimiter.len()),
        _ => false,
    }
}

/// Returns the token for the page after this entry.
fn token(entry: &Entry) -> String {
    let kind = if matches!(entry, Entry::Prefix(_)) { "p" } else { "k" };
    base64_simd::URL_SAFE_NO_PAD.encode_to_string([kind, entry.name()].concat())
}

/// Parses a token: the name after which the page continues, and true if it is a common prefix.
fn mark(token: &str) -> S3Result<(Option<String>, bool)> {
    let invalid = || s3_error!(InvalidArgument, "The continuation token provided is incorrect.");
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    match (text.get(..1), text.get(1..)) {
        (Some("k"), Some(name)) => Ok((Some(name.to_owned()), false)),
        (Some("p"), Some(name)) => Ok((Some(name.to_owned()), true)),
        _ => Err(invalid()),
    }
}

pub(super) fn split(page: Page, encoding: KeyEncoding, with_owner: bool) -> (Vec<Listed>, Vec<CommonPrefix>) {
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encoding.encode(&prefix)) }),
            Entry::Object { key, size, etag: tag, modified } => contents.push(Listed {
                key: Some(encoding.encode(&key)),
                size: Some(size.cast_signed()),
                e_tag: Some(etag(&tag)),
                last_modified: Some(timestamp(modified)),
                storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                owner: with_owner.then(owner),
                ..Listed::default()
            }),
        }
    }
    (contents, prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_to_go_on() {
        let prefix = Entry::Prefix("a/ü".to_owned());
        assert_eq!(mark(&token(&prefix)).unwrap(), (Some("a/ü".to_owned()), true));
        for wrong in ["", "!", "eA", "/w"] {
            assert!(mark(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_marker_is_a_prefix_that_ended_the_page_before() {
        assert!(is_prefix("a/b/", "a/", Some("/")));
        assert!(!is_prefix("a/b/c/", "a/", Some("/")));
        assert!(!is_prefix("a/b", "a/", Some("/")));
        assert!(!is_prefix("a/", "a/", Some("/")));
        assert!(!is_prefix("a/b/", "a/", None));
    }

    #[test]
    fn spelled_for_a_url_every_key_fits_xml() {
        assert_eq!(KeyEncoding::Url.encode("a b/ü\u{1}+%"), "a%20b/%C3%BC%01%2B%25");
    }
}

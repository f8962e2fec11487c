//! Calls an S3 bucket directly, for keys that `object_store` cannot represent and for unfinished multipart uploads.
//!
//! A client may upload a file with the key `a//b` or `../c`. `object_store` rejects a listing that contains such a key.

use std::fmt::Write as _;

use base64_simd::STANDARD;
use md5::{Digest as _, Md5};
use quick_xml::escape::escape;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::signed_client::SignedClient;
use crate::objects::Error;

/// The maximum size of an answer: a page of 1,000 keys of 1,024 bytes, each byte written as `%XX`.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A client of one bucket.
pub struct BucketCalls {
    client: SignedClient,
    bucket: Url,
}

impl BucketCalls {
    /// Returns a client of the bucket at this URL, without contacting it.
    ///
    /// # Errors
    /// [`Error::Storage`], if `bucket` is not a URL, or a header cannot contain the access key.
    pub fn new(bucket: &str, region: String, keys: (String, Zeroizing<String>)) -> Result<Self, Error> {
        let bucket = Url::parse(bucket).map_err(|error| Error::Storage(error.to_string().into()))?;
        Ok(Self { client: SignedClient::new("s3", region, keys)?, bucket })
    }

    /// Removes every file whose key begins with `prefix`, and returns their number.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn delete_below(&self, prefix: &str) -> Result<u64, Error> {
        let mut count = 0;
        let mut before = Vec::new();
        // Later listings do not contain removed files.
        loop {
            let query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)];
            let page: Files = self.ask(Method::GET, &query, HeaderMap::new(), String::new()).await?;
            let keys = page.keys.iter().map(|file| decoded(&file.key, page.encoding.as_deref()));
            let keys: Vec<String> = keys.collect();
            if keys.is_empty() {
                return Ok(count);
            }
            if keys == before {
                return Err(Error::Storage("the store still lists files that it has removed".into()));
            }
            self.delete(&keys).await?;
            count += keys.len() as u64;
            before = keys;
        }
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        // XML cannot contain control characters, so keys with them are removed by URL, one by one.
        let (spelled, named): (Vec<_>, Vec<_>) =
            keys.iter().partition(|key| key.chars().any(char::is_control));
        for key in spelled {
            self.delete_at(key, &[]).await?;
        }
        if named.is_empty() {
            return Ok(());
        }
        let mut body =
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>".to_owned();
        for key in named {
            // Writing to a string cannot fail.
            let _ = write!(body, "<Object><Key>{}</Key></Object>", escape(key.as_str()));
        }
        body.push_str("</Delete>");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let digest = STANDARD.encode_to_string(Md5::digest(body.as_bytes()));
        headers.insert("content-md5", HeaderValue::from_str(&digest).expect("base64 is plain text"));
        let done: Deleted = self.ask(Method::POST, &[("delete", "")], headers, body).await?;
        match done.errors.first() {
            None => Ok(()),
            Some(error) => Err(Error::Storage(format!("a file cannot be removed: {}", error.code).into())),
        }
    }

    /// Aborts the unfinished multipart uploads below `prefix`, as far as the store permits that.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn abort_below(&self, prefix: &str) -> Result<(), Error> {
        let query = [("uploads", ""), ("encoding-type", "url"), ("prefix", prefix)];
        let mut before = Vec::new();
        // Later listings do not contain aborted uploads.
        loop {
            let (status, text) =
                self.call(Method::GET, self.url(&query), HeaderMap::new(), String::new()).await?;
            if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED {
                tracing::debug!(%status, "the store lists no multipart uploads: it has its own rules for them");
                return Ok(());
            }
            let page: Uploads = parsed(status, &text)?;
            let ids: Vec<String> = page.uploads.iter().map(|upload| upload.id.clone()).collect();
            if ids.is_empty() || ids == before {
                return Ok(());
            }
            for upload in &page.uploads {
                let key = decoded(&upload.key, page.encoding.as_deref());
                self.delete_at(&key, &[("uploadId", &upload.id)]).await?;
            }
            before = ids;
        }
    }

    /// Sends a DELETE request for a key: removes its file, or what `query` names.
    async fn delete_at(&self, key: &str, query: &[(&str, &str)]) -> Result<(), Error> {
        if key.split('/').any(|part| matches!(part, "." | "..")) {
            tracing::warn!("a key has a segment of dots alone, which no URL has: its owner has to remove it");
            return Ok(());
        }
        let mut url = self.url(query);
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), in_path(key)));
        let (status, text) = self.call(Method::DELETE, url, HeaderMap::new(), String::new()).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            Err(refused(status, &text))
        }
    }

    fn url(&self, query: &[(&str, &str)]) -> Url {
        let mut url = self.bucket.clone();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: String,
    ) -> Result<T, Error> {
        let (status, text) = self.call(method, self.url(query), headers, body).await?;
        parsed(status, &text)
    }

    async fn call(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: String,
    ) -> Result<(StatusCode, String), Error> {
        let answer = self.client.call(method, &url, headers, body, ANSWER_BYTES_MAX).await;
        answer.map_err(|error| Error::Storage(error.into()))
    }
}

fn parsed<T: for<'a> Deserialize<'a>>(status: StatusCode, text: &str) -> Result<T, Error> {
    if !status.is_success() {
        return Err(refused(status, text));
    }
    quick_xml::de::from_str(text).map_err(|error| Error::Storage(error.into()))
}

fn refused(status: StatusCode, text: &str) -> Error {
    let code =
        quick_xml::de::from_str::<Refusal>(text).map_or_else(|_| String::new(), |refusal| refusal.code);
    Error::Storage(format!("the store answered {status} {code}").into())
}

/// Decodes a key of a listing, if the listing has URL encoding.
fn decoded(key: &str, encoding: Option<&str>) -> String {
    if encoding != Some("url") {
        return key.to_owned();
    }
    // `&` and `=` are encoded in a key, so the whole text parses as one name.
    form_urlencoded::parse(key.as_bytes()).next().map_or_else(String::new, |(name, _)| name.into_owned())
}

/// Returns the form of a key in the path of a URL, and in its signature.
fn in_path(key: &str) -> String {
    let mut path = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[derive(Deserialize)]
struct Files {
    #[serde(rename = "Contents", default)]
    keys: Vec<FoundFile>,
    #[serde(rename = "EncodingType")]
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct FoundFile {
    #[serde(rename = "Key")]
    key: String,
}

#[derive(Deserialize)]
struct Uploads {
    #[serde(rename = "Upload", default)]
    uploads: Vec<FoundUpload>,
    #[serde(rename = "EncodingType")]
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct FoundUpload {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "UploadId")]
    id: String,
}

#[derive(Deserialize)]
struct Deleted {
    #[serde(rename = "Error", default)]
    errors: Vec<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Code")]
    code: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_whatever_the_keys_are() {
        let text = r#"<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>uploads</Name>
            <EncodingType>url</EncodingType><KeyCount>2</KeyCount>
            <Contents><Key>p/0/a//b%26c%3D%2B+d</Key><Size>1</Size></Contents><IsTruncated>false</IsTruncated>
            <Contents><Key>p/0/../c%01</Key></Contents></ListBucketResult>"#;
        let page: Files = parsed(StatusCode::OK, text).unwrap();
        let keys: Vec<_> =
            page.keys.iter().map(|file| decoded(&file.key, page.encoding.as_deref())).collect();
        assert_eq!(keys, ["p/0/a//b&c=+ d", "p/0/../c\u{1}"]);
        assert_eq!(decoded("a+b%41", None), "a+b%41");
        assert_eq!(in_path("a//b c*'~"), "a//b%20c%2A%27~");
        let nothing: Files = parsed(StatusCode::OK, "<ListBucketResult/>").unwrap();
        assert!(nothing.keys.is_empty());
        let refusal = parsed::<Files>(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>");
        let refusal = refusal.err().unwrap();
        assert!(crate::telemetry::chain(&refusal).contains("403 Forbidden AccessDenied"));
    }
}

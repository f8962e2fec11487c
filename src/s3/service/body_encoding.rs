//! The encoding of a body: plain, or in chunks that are decoded here.

use axum::http::HeaderMap;
use bytes::Bytes;
use s3s::{S3Error, S3Result, s3_error};

use crate::s3::chunked::{self, Decoder};

/// The encoding of a body.
pub(super) struct BodyEncoding {
    /// The expected number of decoded bytes.
    pub(super) declared: Option<u64>,
    decoder: Option<Decoder>,
}

impl BodyEncoding {
    /// Determines the encoding from the headers. `content_length` is the length of the body from `s3s`, which has
    /// decoded signed chunks.
    ///
    /// # Errors
    /// `MissingContentLength`, if chunks are declared without the length of their content.
    pub(super) fn of(headers: &HeaderMap, content_length: Option<i64>) -> S3Result<Self> {
        let length = content_length.map(|length| u64::try_from(length).unwrap_or_default());
        if chunked::are_decoded_by_s3s(headers) || !chunked::are_announced(headers) {
            return Ok(Self { declared: length, decoder: None });
        }
        match chunked::decoded_length(headers) {
            Ok(Some(length)) => Ok(Self { declared: Some(length), decoder: Some(Decoder::default()) }),
            _ => Err(s3_error!(
                MissingContentLength,
                "A body in aws-chunked encoding needs the header x-amz-decoded-content-length."
            )),
        }
    }

    /// Decodes the next bytes of the body; returns their content.
    ///
    /// # Errors
    /// `IncompleteBody`.
    pub(super) fn decode(&mut self, bytes: Bytes) -> S3Result<Vec<Bytes>> {
        let mut out = Vec::new();
        match &mut self.decoder {
            Some(decoder) => decoder.feed(bytes, &mut out).map_err(malformed)?,
            None => out.push(bytes),
        }
        Ok(out)
    }

    /// Ends the body, and returns the headers after it if it was decoded here.
    ///
    /// # Errors
    /// `IncompleteBody`.
    pub(super) fn finish(self) -> S3Result<Option<HeaderMap>> {
        self.decoder.map(|decoder| decoder.finish().map_err(malformed)).transpose()
    }
}

fn malformed(error: chunked::Error) -> S3Error {
    S3Error::with_message(s3s::S3ErrorCode::IncompleteBody, format!("The body is not as announced: {error}."))
}

//! The checksums that a request declares, and their verification.

use axum::http::{HeaderMap, HeaderName, StatusCode};
use s3s::dto::{ChecksumAlgorithm, ChecksumType};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::buckets::{Algorithm, Checksum, Digests};

/// The type of a checksum of the whole object.
pub(super) const FULL_OBJECT: &str = "FULL_OBJECT";
/// The type of a checksum of the checksums of the parts.
const COMPOSITE: &str = "COMPOSITE";

/// The checksums that a request declares.
pub(super) struct Claims {
    content_md5: Option<String>,
    given: Option<(Algorithm, String)>,
    trailing: Option<Algorithm>,
    wanted: Option<Algorithm>,
}

impl Claims {
    /// Reads the checksums from the headers.
    ///
    /// # Errors
    /// `InvalidRequest`, if there are several checksums, or an unknown one.
    pub(super) fn read(headers: &HeaderMap) -> S3Result<Self> {
        let mut given = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(value) = headers.get(header(algorithm)) {
                given.push((algorithm, text(value)?));
            }
        }
        let trailer = headers.get("x-amz-trailer").map(text).transpose()?;
        let named: Vec<Algorithm> =
            trailer.iter().flat_map(|names| names.split(',')).filter_map(of_header).collect();
        if given.len() + named.len() > 1 {
            return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header."));
        }
        let wanted = headers.get("x-amz-sdk-checksum-algorithm").map(text).transpose()?;
        let wanted = wanted.as_deref().map(algorithm).transpose()?;
        let content_md5 = headers.get("content-md5").map(text).transpose()?;
        Ok(Self { content_md5, given: given.pop(), trailing: named.first().copied(), wanted })
    }

    /// Returns the algorithms to compute: that of the stored checksum, `kept`, if there is one, and the declared ones.
    pub(super) fn algorithms(&self, kept: Option<Algorithm>) -> Vec<Algorithm> {
        let mut all: Vec<Algorithm> = kept.into_iter().collect();
        let said = self.given.as_ref().map(|(algorithm, _)| *algorithm).or(self.trailing).or(self.wanted);
        all.extend(said.filter(|said| Some(*said) != kept));
        all
    }

    /// Compares the checksums that the client declares, in headers and after the body, with those of the bytes.
    ///
    /// # Errors
    /// `InvalidDigest`, `BadDigest`, `InvalidRequest`.
    pub(super) fn verify(&self, found: &Digests, trailers: Option<&HeaderMap>) -> S3Result<()> {
        if let Some(said) = &self.content_md5 {
            check_md5(said, &found.md5)?;
        }
        let is_unannounced =
            |name: &&str| name.starts_with("x-amz-checksum-") && self.trailing.map(header) != Some(name);
        let mut names = trailers.into_iter().flat_map(HeaderMap::keys).map(HeaderName::as_str);
        if let Some(name) = names.find(is_unannounced) {
            return Err(malformed_trailer(name));
        }
        let behind = self.trailing.map(|algorithm| {
            let value =
                trailers.and_then(|trailers| trailers.get(header(algorithm))).map(text).transpose()?;
            let missing =
                || s3_error!(InvalidRequest, "The checksum that x-amz-trailer announces is missing.");
            value.map(|value| (algorithm, value)).ok_or_else(missing)
        });
        for (algorithm, said) in self.given.clone().into_iter().chain(behind.transpose()?) {
            check(algorithm, &said, &found.checksums)?;
        }
        Ok(())
    }
}

/// Returns the error for a checksum after the body that no header announces, and that is therefore not computed.
fn malformed_trailer(name: &str) -> S3Error {
    let code = S3ErrorCode::Custom("MalformedTrailerError".into());
    let mut error =
        S3Error::with_message(code, format!("The header x-amz-trailer does not announce {name}."));
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

fn check(algorithm: Algorithm, said: &str, found: &[Checksum]) -> S3Result<()> {
    let name = algorithm.name();
    let size = base64_simd::STANDARD.decode_to_vec(said).map(|bytes| bytes.len());
    if size.ok() != Some(algorithm.bytes()) {
        return Err(s3_error!(
            InvalidRequest,
            "Value for x-amz-checksum-{} header is invalid.",
            name.to_lowercase()
        ));
    }
    match found.iter().find(|sum| sum.algorithm == algorithm) {
        Some(sum) if sum.is(said) => Ok(()),
        _ => Err(s3_error!(BadDigest, "The {name} you specified did not match what we received.")),
    }
}

/// Compares a Content-MD5 with the digest of the bytes.
///
/// # Errors
/// `InvalidDigest`, `BadDigest`.
pub(in super::super) fn check_md5(said: &str, found: &[u8; 16]) -> S3Result<()> {
    match base64_simd::STANDARD.decode_to_vec(said) {
        Ok(said) if said == found => Ok(()),
        Ok(said) if said.len() == found.len() => {
            Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."))
        }
        _ => Err(s3_error!(InvalidDigest, "The Content-MD5 you specified is not valid.")),
    }
}

/// Returns the algorithm with this name.
///
/// # Errors
/// `InvalidRequest`.
pub(super) fn algorithm(name: &str) -> S3Result<Algorithm> {
    Algorithm::parse(name)
        .ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))
}

/// Returns the checksum algorithm of a multipart upload, and true if it covers the whole object.
///
/// # Errors
/// `InvalidRequest`.
pub(super) fn of_upload(
    name: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> S3Result<Option<(Algorithm, bool)>> {
    let Some(algorithm) = name.map(|name| algorithm(name.as_str())).transpose()? else {
        return Ok(None);
    };
    let whole = match kind.map(ChecksumType::as_str) {
        None => algorithm == Algorithm::Crc64Nvme,
        Some(kind) => kind == FULL_OBJECT,
    };
    let fits = if whole { algorithm.combines() } else { algorithm != Algorithm::Crc64Nvme };
    let unfit = || s3_error!(InvalidRequest, "{} does not go with that checksum type.", algorithm.name());
    fits.then_some(Some((algorithm, whole))).ok_or_else(unfit)
}

/// Returns the names of a checksum's algorithm and type in responses.
pub(super) fn names(checksum: (Algorithm, bool)) -> (ChecksumAlgorithm, ChecksumType) {
    let kind = if checksum.1 { FULL_OBJECT } else { COMPOSITE };
    (ChecksumAlgorithm::from_static(checksum.0.name()), ChecksumType::from_static(kind))
}

/// The checksum fields of a response: only that of the checksum's algorithm is set.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) kind: Option<ChecksumType>,
}

impl Fields {
    pub(super) fn of(checksum: Option<&Checksum>) -> Self {
        let mut fields = Self::default();
        let Some(checksum) = checksum else { return fields };
        let field = match checksum.algorithm {
            Algorithm::Crc32 => &mut fields.crc32,
            Algorithm::Crc32c => &mut fields.crc32c,
            Algorithm::Crc64Nvme => &mut fields.crc64nvme,
            Algorithm::Sha1 => &mut fields.sha1,
            Algorithm::Sha256 => &mut fields.sha256,
        };
        *field = Some(checksum.text());
        fields.kind = Some(names((checksum.algorithm, checksum.parts.is_none())).1);
        fields
    }

    /// Returns the checksum of a request, whose fields are the same.
    pub(super) fn one(self) -> Option<String> {
        self.crc32.or(self.crc32c).or(self.crc64nvme).or(self.sha1).or(self.sha256)
    }
}

/// Builds an S3 response of any type that has the checksum fields.
macro_rules! with_checksum {
    ($fields:expr, $answer:ident { $($rest:tt)* }) => {{
        let fields: $crate::s3::service::checksums::Fields = $fields;
        $answer {
            checksum_crc32: fields.crc32,
            checksum_crc32c: fields.crc32c,
            checksum_crc64nvme: fields.crc64nvme,
            checksum_sha1: fields.sha1,
            checksum_sha256: fields.sha256,
            $($rest)*
        }
    }};
}
pub(super) use with_checksum;

/// Like [`with_checksum`], for responses that also have a field for the type of the checksum.
macro_rules! with_checksum_and_type {
    ($fields:expr, $answer:ident { $($rest:tt)* }) => {{
        let mut fields: $crate::s3::service::checksums::Fields = $fields;
        let checksum_type = fields.kind.take();
        $crate::s3::service::checksums::with_checksum!(fields, $answer { checksum_type, $($rest)* })
    }};
}
pub(super) use with_checksum_and_type;

const fn header(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "x-amz-checksum-crc32",
        Algorithm::Crc32c => "x-amz-checksum-crc32c",
        Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        Algorithm::Sha1 => "x-amz-checksum-sha1",
        Algorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

fn of_header(name: &str) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| header(*algorithm).eq_ignore_ascii_case(name.trim()))
}

fn text(value: &axum::http::HeaderValue) -> S3Result<String> {
    let text =
        value.to_str().map_err(|_| s3_error!(InvalidRequest, "A checksum header is not plain text."))?;
    Ok(text.trim().to_owned())
}

//! Validates requests before `s3s`, which is less strict.

mod request;
mod date;
mod headers;
pub(super) mod intent;
mod signed;

use std::borrow::Cow;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{Method, header};
use s3s::{S3Result, s3_error};

use request::{is_sts, malformed_header, malformed_query, other_mechanism};
use signed::Signed;
pub(super) use signed::{REGION, expected_region};

/// The maximum validity of a presigned URL in seconds, a week.
const EXPIRES_MAX: u32 = 604_800;

/// Rejects a request whose signature is not version 4, does not cover the required headers, or is for another service,
/// and a request with features that `s3s` would ignore. Writes the time of signing to the header that `s3s` reads.
pub(super) fn check(request: &mut Parts) -> S3Result<()> {
    let query: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes()).collect();
    let parameter =
        |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_ref());
    headers::check(request, parameter("versionId"))?;
    if request.method == Method::PUT && parameter("uploadId").is_some() != parameter("partNumber").is_some() {
        return Err(s3_error!(InvalidArgument, "A part is put with both uploadId and partNumber."));
    }
    if parameter("Signature").is_some() || parameter("AWSAccessKeyId").is_some() {
        return Err(other_mechanism());
    }
    let authorization = request.headers.get(header::AUTHORIZATION);
    match (authorization, parameter("X-Amz-Signature")) {
        (Some(_), Some(_)) => Err(s3_error!(InvalidArgument, "Only one auth mechanism allowed.")),
        (Some(value), None) if value.as_bytes().trim_ascii().is_empty() => {
            Err(s3_error!(AccessDenied, "The request must be signed."))
        }
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| other_mechanism())?;
            let signed = Signed::of_header(text)?;
            signed.check_service(request).map_err(|message| malformed_header(&message))?;
            signed.check_headers(&request.headers)?;
            date::write(&mut request.headers)
        }
        (None, Some(_)) => {
            let names = parameter("X-Amz-SignedHeaders").unwrap_or_default();
            let signed = Signed { credential: parameter("X-Amz-Credential").unwrap_or_default(), names };
            signed.check_service(request).map_err(|message| malformed_query(&message))?;
            if is_sts(request) {
                return Err(malformed_query(
                    "a call for credentials is signed in its headers, with its body",
                ));
            }
            check_expires(parameter("X-Amz-Expires").unwrap_or_default())?;
            signed.check_headers(&request.headers)
        }
        (None, None) => Ok(()),
    }
}

/// Returns the message for a signature that does not match. It names the host and the region of the request as
/// received: behind a proxy, the host may differ from the one that the client signed.
pub(super) fn mismatch(request: &Parts) -> String {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri.authority().map(Authority::as_str)).unwrap_or_default();
    let header = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let header = header.and_then(|value| Signed::of_header(value).ok());
    let mut query = form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes());
    let credential = query.find(|(name, _)| name == "X-Amz-Credential").map(|(_, value)| value);
    let credential = header.map(|signed| Cow::from(signed.credential)).or(credential).unwrap_or_default();
    let region = credential.rsplit('/').nth(2).unwrap_or_default();
    format!(
        "The request signature we calculated does not match the signature you provided. Check your key and signing \
         method. It was calculated for the host {host} and the region {region}."
    )
}

fn check_expires(expires: &str) -> S3Result<()> {
    match expires.parse::<u32>() {
        Ok(seconds) if (1..=EXPIRES_MAX).contains(&seconds) => Ok(()),
        _ => Err(malformed_query("X-Amz-Expires must be 1 to 604800 seconds")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const GOOD: &str = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, \
                        SignedHeaders=host;x-amz-date, Signature=00";

    fn refused(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        check(&mut parts).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn signatures_of_version_4_for_s3_pass() {
        let headers = [("host", "h"), ("x-amz-date", "d"), ("user-agent", "u"), ("authorization", GOOD)];
        assert_eq!(refused("PUT", "/b/k", &headers), None);
        let query = "/b/k?X-Amz-Credential=k%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-SignedHeaders=host\
                     &X-Amz-Expires=604800&X-Amz-Signature=0";
        assert_eq!(refused("GET", query, &[("host", "h")]), None);
        assert_eq!(refused("GET", "/b/k", &[("host", "h")]), None);
    }

    #[test]
    fn other_signatures_are_refused() {
        let v2 = Some("InvalidRequest".to_owned());
        assert_eq!(refused("GET", "/b", &[("authorization", "AWS key:signature")]), v2);
        assert_eq!(refused("GET", "/b", &[("authorization", "Basic eDp5")]), v2);
        assert_eq!(refused("GET", "/b/k?AWSAccessKeyId=k&Expires=9&Signature=s", &[]), v2);
        assert_eq!(
            refused("GET", "/b/k?X-Amz-Signature=0", &[("authorization", GOOD)]),
            Some("InvalidArgument".into())
        );
    }

    #[test]
    fn headers_that_mean_something_are_signed_and_there_once() {
        let denied = Some("AccessDenied".to_owned());
        let unsigned = [("host", "h"), ("x-amz-copy-source", "b/k"), ("authorization", GOOD)];
        assert_eq!(refused("PUT", "/b/k", &unsigned), denied);
        let no_host = GOOD.replace("host;", "");
        assert_eq!(refused("GET", "/b", &[("host", "h"), ("authorization", &no_host)]), denied);
        let query = "/b/k?X-Amz-Credential=k%2Fd%2Fr%2Fs3%2Faws4_request&X-Amz-SignedHeaders=host\
                     &X-Amz-Expires=9&X-Amz-Signature=0";
        assert_eq!(refused("PUT", query, &[("host", "h"), ("x-amz-acl", "private")]), denied);
        let twice = [("x-amz-date", "d"), ("x-amz-date", "e"), ("authorization", GOOD)];
        assert_eq!(refused("GET", "/b", &twice), Some("InvalidRequest".into()));
    }

    #[test]
    fn the_host_is_signed_wherever_it_stands() {
        let no_host = GOOD.replace("host;", "");
        let http2 = [("x-amz-date", "d"), ("authorization", &*no_host)];
        assert_eq!(refused("GET", "http://h/b", &http2), Some("AccessDenied".to_owned()));
        assert_eq!(refused("GET", "http://h/b", &[("x-amz-date", "d"), ("authorization", GOOD)]), None);
    }

    #[test]
    fn a_part_has_an_upload_and_a_number() {
        let invalid = Some("InvalidArgument".to_owned());
        assert_eq!(refused("PUT", "/b/k?partNumber=1", &[]), invalid);
        assert_eq!(refused("PUT", "/b/k?uploadId=u", &[]), invalid);
        assert_eq!(refused("PUT", "/b/k?uploadId=u&partNumber=1", &[]), None);
        assert_eq!(refused("GET", "/b/k?partNumber=1", &[]), None);
    }

    #[test]
    fn a_call_for_credentials_is_signed_with_its_body() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let query = "/?X-Amz-Credential=k%2Fd%2Fr%2Fsts%2Faws4_request&X-Amz-SignedHeaders=host\
                     &X-Amz-Expires=9&X-Amz-Signature=0";
        assert_eq!(refused("POST", query, &[form]), Some("AuthorizationQueryParametersError".into()));
    }

    #[test]
    fn the_scope_sts_is_for_its_one_call() {
        let sts = GOOD.replace("/s3/", "/sts/");
        let malformed = Some("AuthorizationHeaderMalformed".to_owned());
        assert_eq!(refused("GET", "/b/k", &[("authorization", &sts)]), malformed);
        assert_eq!(refused("POST", "/b/k?uploads", &[("authorization", &sts)]), malformed);
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(refused("POST", "/", &[form, ("x-amz-date", "d"), ("authorization", &sts)]), None);
        assert_eq!(refused("POST", "/b", &[form, ("authorization", &sts)]), malformed);
    }

    #[test]
    fn request_features_that_would_be_ignored_are_rejected() {
        let not = Some("NotImplemented".to_owned());
        assert_eq!(refused("PUT", "/b/k", &[("x-amz-server-side-encryption-customer-key", "k")]), not);
        assert_eq!(refused("PUT", "/b/k", &[("x-amz-tagging", "a=b")]), not);
        assert_eq!(refused("PUT", "/b/k", &[("x-amz-tagging-directive", "COPY")]), None);
        assert_eq!(refused("PUT", "/b/k?renameObject", &[("x-amz-rename-source", "/b/j")]), not);
        assert_eq!(refused("GET", "/b/k?versionId=3", &[]), not);
        assert_eq!(refused("GET", "/b/k?versionId=null", &[]), None);
        let form = ("content-type", "multipart/form-data; boundary=x");
        assert_eq!(refused("POST", "/b", &[form]), Some("MethodNotAllowed".into()));
        let query = "/b/k?X-Amz-Credential=k%2Fd%2Fr%2Fs3%2Faws4_request&X-Amz-SignedHeaders=host\
                     &X-Amz-Expires=604801&X-Amz-Signature=0";
        assert_eq!(refused("GET", query, &[]), Some("AuthorizationQueryParametersError".into()));
    }
}

//! What is refused in front of `s3s`: it would accept it.

use std::borrow::Cow;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::chunked;

/// The algorithm of the signatures that are accepted.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The longest a presigned URL may be good for, in seconds: a week.
const EXPIRES_MAX: u32 = 604_800;
/// What is asked for by these headers is not done here, and must not be left out in silence.
const NOT_OFFERED: [&str; 6] = [
    "x-amz-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-rename-source",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];
/// Says whether a copy gets the tags of its source: there are none.
const TAGGING_DIRECTIVE: &str = "x-amz-tagging-directive";

/// Refuses a request whose signature is not of version 4, does not cover what it should, or is for another service;
/// and what would be ignored otherwise.
pub(super) fn check(request: &Parts) -> S3Result<()> {
    let query: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes()).collect();
    let parameter =
        |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_ref());
    check_single(&request.headers)?;
    check_offered(request, parameter("versionId"))?;
    check_chunks(request)?;
    if request.method == Method::PUT && parameter("uploadId").is_some() != parameter("partNumber").is_some() {
        return Err(s3_error!(InvalidArgument, "A part is put with both uploadId and partNumber."));
    }
    if parameter("Signature").is_some() || parameter("AWSAccessKeyId").is_some() {
        return Err(other_mechanism());
    }
    let authorization = request.headers.get(header::AUTHORIZATION);
    match (authorization, parameter("X-Amz-Signature")) {
        (Some(_), Some(_)) => Err(s3_error!(InvalidArgument, "Only one auth mechanism allowed.")),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| other_mechanism())?;
            let signed = Signed::of_header(text)?;
            signed.check_service(request).map_err(|message| malformed_header(&message))?;
            signed.check_headers(&request.headers)
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

/// What a signature says of itself.
struct Signed<'a> {
    credential: &'a str,
    /// The headers that it covers.
    names: &'a str,
}

impl<'a> Signed<'a> {
    fn of_header(authorization: &'a str) -> S3Result<Self> {
        let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(other_mechanism)?;
        let field = |wanted: &str| {
            let all = fields.split(',').filter_map(|field| field.trim().split_once('='));
            all.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        let (Some(credential), Some(names)) = (field("Credential"), field("SignedHeaders")) else {
            return Err(malformed_header("it needs Credential, SignedHeaders and Signature"));
        };
        Ok(Self { credential, names })
    }

    /// A signature for `sts` is for the one call of that service, one for `s3` for everything else.
    fn check_service(&self, request: &Parts) -> Result<(), String> {
        let mut scope = self.credential.rsplit('/');
        let (end, service) = (scope.next(), scope.next().unwrap_or_default());
        if end != Some("aws4_request") {
            return Err("the credential is not of the form key/date/region/service/aws4_request".to_owned());
        }
        if service == "s3" || service == "sts" && is_sts(request) {
            return Ok(());
        }
        Err("incorrect service; this endpoint belongs to \"s3\"".to_owned())
    }

    /// The host, which HTTP/2 does not have among the headers, and every header that means something here must be
    /// covered.
    fn check_headers(&self, headers: &HeaderMap) -> S3Result<()> {
        let covered = |name: &HeaderName| {
            self.names.split(';').any(|signed| signed.eq_ignore_ascii_case(name.as_str()))
        };
        let meaningful = headers.keys().filter(|name| is_amz(name)).chain([&header::HOST]);
        let open = meaningful.into_iter().find(|name| !covered(name));
        match open {
            None => Ok(()),
            Some(name) => Err(s3_error!(
                AccessDenied,
                "There were headers present in the request which were not signed: {name}."
            )),
        }
    }
}

/// Whether a request is a call of the security token service: a form posted to the root.
fn is_sts(request: &Parts) -> bool {
    let form = media_type(&request.headers) == Some("application/x-www-form-urlencoded");
    request.method == Method::POST && request.uri.path() == "/" && form
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

fn is_amz(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-amz-")
}

/// A header that is there twice could mean one thing here and another to whoever signed it.
fn check_single(headers: &HeaderMap) -> S3Result<()> {
    let single = [header::AUTHORIZATION, header::HOST, HeaderName::from_static("content-md5")];
    let twice = headers.keys().find(|name| {
        (is_amz(name) || single.contains(name)) && headers.get_all(*name).iter().nth(1).is_some()
    });
    twice.map_or(Ok(()), |name| Err(s3_error!(InvalidRequest, "The header {name} is there more than once.")))
}

fn check_offered(request: &Parts, version: Option<&str>) -> S3Result<()> {
    if request.method == Method::POST
        && media_type(&request.headers).is_some_and(|media| media == "multipart/form-data")
    {
        return Err(s3_error!(MethodNotAllowed, "Uploads by POST form are not offered; use PUT."));
    }
    let header = request.headers.keys().find(|name| {
        NOT_OFFERED.iter().any(|prefix| name.as_str().starts_with(prefix)) && **name != TAGGING_DIRECTIVE
    });
    if let Some(name) = header {
        return Err(s3_error!(
            NotImplemented,
            "A header you provided implies functionality that is not implemented: {name}."
        ));
    }
    if version.is_some_and(|version| !version.is_empty() && version != "null") {
        return Err(s3_error!(NotImplemented, "There are no versions here."));
    }
    Ok(())
}

/// Chunks hold the bytes of objects and parts alone, and say how many there are.
fn check_chunks(request: &Parts) -> S3Result<()> {
    let length = chunked::decoded_length(&request.headers)
        .map_err(|_| s3_error!(InvalidRequest, "x-amz-decoded-content-length must be a number in digits."))?;
    // Of a call for credentials something else is said.
    if length.is_none() || request.method == Method::PUT || is_sts(request) {
        return Ok(());
    }
    Err(s3_error!(NotImplemented, "Only the bytes of objects are taken in chunks."))
}

fn check_expires(expires: &str) -> S3Result<()> {
    match expires.parse::<u32>() {
        Ok(seconds) if (1..=EXPIRES_MAX).contains(&seconds) => Ok(()),
        _ => Err(malformed_query("X-Amz-Expires must be 1 to 604800 seconds")),
    }
}

fn other_mechanism() -> S3Error {
    s3_error!(
        InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
    )
}

fn malformed_header(reason: &str) -> S3Error {
    s3_error!(AuthorizationHeaderMalformed, "The authorization header is malformed; {reason}.")
}

fn malformed_query(reason: &str) -> S3Error {
    let code = S3ErrorCode::Custom("AuthorizationQueryParametersError".into());
    let mut error =
        S3Error::with_message_fmt(code, format_args!("The query parameters are malformed; {reason}."));
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
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
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts).err().map(|error| error.code().as_str().to_owned())
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
        assert_eq!(refused("POST", "/", &[form, ("authorization", &sts)]), None);
        assert_eq!(refused("POST", "/b", &[form, ("authorization", &sts)]), malformed);
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
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

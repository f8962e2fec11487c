//! Removes secrets from errors of a remote store, whose text repeats parts of the request: after a wrong signature, S3
//! returns every header that it received, including the session token, and Azure returns the signed URL.

use crate::edge::tls::server_fault;
use crate::telemetry::chain;

/// The text that `object_store` writes before the status and the body of a response.
const STATUS: &str = "Server returned non-2xx status code: ";
/// The text that `object_store` writes before the body of a response, if it reports no status.
const ANSWER: &str = "Server returned error response: ";
/// The maximum length of an error code.
const CODE_CHARS_MAX: usize = 64;

/// An error of a store, in one line that may be logged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Redacted(String);

impl From<object_store::Error> for Redacted {
    fn from(error: object_store::Error) -> Self {
        Self(described(&error))
    }
}

/// Describes an error of a store in one line without secrets.
pub(crate) fn described(error: &object_store::Error) -> String {
    let text = chain(error);
    let refuses = matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    ) || ["code: 403 ", "code: 401 "].iter().any(|status| text.contains(status));
    let code = code(&text).or_else(|| status(&text).filter(|_| !refuses));
    match (no_bucket(&text), code) {
        (Some(text), _) => text,
        (None, Some(code)) if refuses => format!("the store refuses the credentials ({code})"),
        (None, None) if refuses => "the store refuses the credentials".to_owned(),
        (None, Some(code)) => format!("the store answers {code}"),
        (None, None) => match server_fault(&text) {
            Some(fault) => format!("{}; {fault}", without_body(&text)),
            None => without_body(&text),
        },
    }
}

/// Returns the message for a missing bucket, if the store reports one.
pub(super) fn no_bucket(text: &str) -> Option<String> {
    let code = code(text).filter(|code| ["NoSuchBucket", "ContainerNotFound"].contains(code))?;
    Some(format!("there is no such bucket ({code})"))
}

/// Returns the status in the answer of a store, if the answer has no body.
fn status(text: &str) -> Option<&str> {
    let (_, status) = text.split_once("status code: ")?;
    status.split(':').next().map(str::trim)
}

/// Returns the text before the body of the store's answer, with the error code in the body.
fn without_body(text: &str) -> String {
    let body = match (text.find(STATUS), text.find(ANSWER)) {
        (Some(at), _) => {
            let status = at + STATUS.len();
            text[status..].find(": ").map(|length| status + length + ": ".len())
        }
        (None, Some(at)) => Some(at + ANSWER.len()),
        (None, None) => None,
    };
    let Some((said, body)) = body.and_then(|body| text.split_at_checked(body)) else {
        return text.to_owned();
    };
    match code(body) {
        Some(code) => format!("{said}{code}"),
        None => said.trim_end_matches([':', ' ']).to_owned(),
    }
}

/// Returns the code of an error of S3, Azure or Google, such as `NoSuchBucket`.
pub(crate) fn code(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_name =
        (1..=CODE_CHARS_MAX).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_and_the_name_of_an_error_stay_and_the_rest_of_the_answer_goes() {
        let said = "no such privilege: Error performing PUT http://store/b/k in 1ms - ";
        for (text, expected) in [
            (
                "Server returned non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>\
                 <CanonicalRequest>x-amz-security-token:secret</CanonicalRequest></Error>",
                "Server returned non-2xx status code: 403 Forbidden: SignatureDoesNotMatch",
            ),
            (
                "Server returned non-2xx status code: 502 Bad Gateway: your cookie was: secret",
                "Server returned non-2xx status code: 502 Bad Gateway",
            ),
            (
                "Server returned non-2xx status code: 403 Forbidden: ",
                "Server returned non-2xx status code: 403 Forbidden",
            ),
            (
                "Server returned error response: <Error><Code>InternalError</Code>secret</Error>",
                "Server returned error response: InternalError",
            ),
            ("Server returned error response: <Code>a secret!</Code>", "Server returned error response"),
            ("connection refused", "connection refused"),
        ] {
            assert_eq!(without_body(&format!("{said}{text}")), format!("{said}{expected}"));
        }
    }

    #[test]
    fn a_refusal_is_told_from_a_store_that_is_busy() {
        let said = |error: object_store::Error| Redacted::from(error).to_string();
        let generic =
            |text: &str| object_store::Error::Generic { store: "S3", source: text.to_owned().into() };
        let text =
            "status code: 403 Forbidden: <Error>\n<Code>SignatureDoesNotMatch</Code><StringToSign>AWS4";
        let refused = "the store refuses the credentials (SignatureDoesNotMatch)";
        let (path, source) = (String::new(), || text.to_owned().into());
        assert_eq!(
            said(object_store::Error::PermissionDenied { path: path.clone(), source: source() }),
            refused
        );
        assert_eq!(said(object_store::Error::Unauthenticated { path, source: source() }), refused);
        assert_eq!(said(generic(text)), refused);
        let busy = generic("status code: 503 Service Unavailable: <Error><Code>SlowDown</Code><Key>x</Key>");
        assert_eq!(said(busy), "the store answers SlowDown");
        let broken =
            generic("HEAD http://store/key in 6 s - Server returned non-2xx status code: 500 Internal: ");
        assert_eq!(said(broken), "the store answers 500 Internal");
    }
}

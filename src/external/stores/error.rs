//! Errors of reading from a store of another provider. They contain only the error code from a response, since
//! responses may repeat signed data.

use super::Endpoint;
use crate::objects::Error;
use crate::objects::redact::code;
use crate::telemetry::chain;

/// The reason why a file in a store of another provider cannot be opened. The text is for the user and contains no
/// secrets.
#[derive(Debug, thiserror::Error)]
pub enum ExternalStoreError {
    /// A retry does not help.
    #[error("{0}")]
    Refused(String),
    /// A retry after a pause may help.
    #[error("{0}")]
    Unavailable(String),
}

pub(super) fn no_file(path: &str) -> ExternalStoreError {
    ExternalStoreError::Refused(format!(
        "there is no file `{path}` in the object store that the upload names"
    ))
}

/// Converts a store's error in opening the file at `path`.
pub(super) fn opening(endpoint: &Endpoint, path: &str, error: &object_store::Error) -> ExternalStoreError {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    let text = chain(error);
    let code = code(&text);
    match (error, code) {
        (NotFound { .. }, _) => no_file(path),
        (PermissionDenied { .. } | Unauthenticated { .. }, code) => ExternalStoreError::Refused(format!(
            "the object store `{endpoint}` does not give the file `{path}` for the credentials of the upload ({})",
            code.unwrap_or("AccessDenied")
        )),
        (_, Some(code)) if !is_passing(code) => ExternalStoreError::Refused(format!(
            "the object store `{endpoint}` does not give the file `{path}`: {code}"
        )),
        (_, code) => {
            let code = code.unwrap_or("no usable answer");
            ExternalStoreError::Unavailable(format!(
                "the object store `{endpoint}` cannot be read from: {code}"
            ))
        }
    }
}

/// Converts a store's error in the transfer of a file.
pub(super) fn reading(host: &str, error: &object_store::Error) -> Error {
    let text = chain(error);
    let reason = code(&text).unwrap_or("the transfer was interrupted").to_owned();
    Error::Foreign { host: host.to_owned(), reason }
}

/// Returns true if a retry may succeed.
fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "InternalError"
            | "OperationAborted"
            | "RequestTimeout"
            | "ServiceUnavailable"
            | "SlowDown"
            | "Throttling"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_code_is_repeated() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><StringToSign>secret</StringToSign></Error>";
        let error = object_store::Error::PermissionDenied { path: "p".to_owned(), source: body.into() };
        let endpoint = super::super::ExternalEndpoints::parse("a:1").unwrap().admit("a:1", None).unwrap();
        let said = opening(&endpoint, "p", &error).to_string();
        assert!(said.contains("SignatureDoesNotMatch") && !said.contains("secret"), "{said}");
    }

    #[test]
    fn a_store_that_is_busy_is_asked_again() {
        let endpoint = super::super::ExternalEndpoints::parse("a:1").unwrap().admit("a:1", None).unwrap();
        let said = |body: &'static str| {
            opening(&endpoint, "p", &object_store::Error::Generic { store: "S3", source: body.into() })
        };
        assert!(matches!(said("<Code>SlowDown</Code>"), ExternalStoreError::Unavailable(_)));
        assert!(matches!(said("connection refused"), ExternalStoreError::Unavailable(_)));
        assert!(matches!(said("<Code>ExpiredToken</Code>"), ExternalStoreError::Refused(_)));
    }
}

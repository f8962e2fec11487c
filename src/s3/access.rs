//! Access control. The crate `s3s` verifies signatures, and calls this module before every operation.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{CopyObjectInput, CopySource, UploadPartCopyInput};
use s3s::path::S3Path;
use s3s::{S3Error, S3Request, S3Result, s3_error};

use super::owners::unknown;
use super::policy::{Action, Policy, Resource};
use super::session::{InvalidToken, Keys, Session};
use super::validate::intent;
use crate::coordinator::Coordinator;
use crate::metadata::Runs;
use crate::model::ProjectId;
use crate::runtime::clock::Clock;

/// The header with the session token, if the signature is in a header.
const TOKEN_HEADER: &str = "x-amz-security-token";
/// The query parameter with the session token, if the signature is in the query.
const TOKEN_PARAMETER: &str = "X-Amz-Security-Token";

/// Authenticates and authorizes requests. Cheap to clone.
#[derive(Clone)]
pub struct AccessControl {
    keys: Arc<Keys>,
    coordinator: Coordinator,
    clock: Clock,
}

/// The rights of the caller, stored as an extension of every authenticated request.
#[derive(Clone, Debug)]
pub struct Rights(Option<Arc<Policy>>, Option<ProjectId>);

impl Rights {
    /// Returns all rights.
    pub const fn all() -> Self {
        Self(None, None)
    }

    /// Returns the project whose deletion ends the caller's credentials, if there is one.
    pub const fn project(&self) -> Option<ProjectId> {
        self.1
    }

    /// Returns true if the caller may do `action` to `resource`.
    pub fn allow(&self, action: Action, resource: Resource<'_>) -> bool {
        self.0.as_ref().is_none_or(|policy| policy.allows(action, resource))
    }

    /// Fails if the caller may not do `action` to `resource`.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn require(&self, action: Action, resource: Resource<'_>) -> S3Result<()> {
        if self.allow(action, resource) { Ok(()) } else { Err(s3_error!(AccessDenied, "Access Denied.")) }
    }
}

impl AccessControl {
    /// Creates the access control for `keys`.
    pub const fn new(keys: Arc<Keys>, coordinator: Coordinator, clock: Clock) -> Self {
        Self { keys, coordinator, clock }
    }

    /// Returns the rights of a caller whose signature with `access_key` was verified.
    pub(super) async fn rights(&self, access_key: &str, headers: &HeaderMap, uri: &Uri) -> S3Result<Rights> {
        let token = session_token(headers, uri)?;
        match (self.keys.is_root(access_key), token) {
            (true, None) => Ok(Rights::all()),
            (true, Some(_)) => Err(s3_error!(InvalidToken, "These credentials have no session token.")),
            (false, None) => Err(s3_error!(AccessDenied, "Temporary credentials need their session token.")),
            (false, Some(token)) => {
                let opened = self.keys.open(access_key, &token, self.clock.now());
                self.require_project(opened.map_err(refusal)?).await
            }
        }
    }

    async fn require_project(&self, session: Session) -> S3Result<Rights> {
        if let Some(id) = session.project {
            let found = self.coordinator.project(id, Runs::None).await.map_err(|error| unknown(&error))?;
            if found.is_none() {
                return Err(s3_error!(AccessDenied, "The credentials were revoked."));
            }
        }
        Ok(Rights(session.policy.map(Arc::new), session.project))
    }
}

fn refusal(invalid: InvalidToken) -> S3Error {
    match invalid {
        InvalidToken::Foreign => {
            s3_error!(InvalidToken, "The session token does not belong to the access key.")
        }
        InvalidToken::Expired => s3_error!(ExpiredToken, "The session token has expired."),
    }
}

/// Returns the session token from the header or the query. Fails if there is more than one.
fn session_token(headers: &HeaderMap, uri: &Uri) -> S3Result<Option<String>> {
    let malformed = || s3_error!(InvalidToken, "There must be one session token, in plain text.");
    let mut tokens = Vec::new();
    for value in headers.get_all(TOKEN_HEADER) {
        tokens.push(value.to_str().map_err(|_| malformed())?.to_owned());
    }
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    tokens.extend(query.filter(|(name, _)| name == TOKEN_PARAMETER).map(|(_, value)| value.into_owned()));
    match tokens.len() {
        0 | 1 => Ok(tokens.pop()),
        _ => Err(malformed()),
    }
}

/// Returns the action that a policy must allow for an operation; `None` if no policy can allow it.
fn action(operation: &str) -> Option<Action> {
    Some(match operation {
        "ListBuckets" => Action::ListAllMyBuckets,
        "CreateBucket" => Action::CreateBucket,
        "DeleteBucket" => Action::DeleteBucket,
        "GetBucketLocation" => Action::GetBucketLocation,
        "HeadBucket" | "ListObjects" | "ListObjectsV2" | "ListObjectVersions" | "GetBucketVersioning" => {
            Action::ListBucket
        }
        "ListMultipartUploads" => Action::ListBucketMultipartUploads,
        "ListParts" => Action::ListMultipartUploadParts,
        "AbortMultipartUpload" => Action::AbortMultipartUpload,
        "GetObject" | "HeadObject" | "GetObjectTagging" | "GetObjectAttributes" => Action::GetObject,
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => Action::PutObject,
        "DeleteObject" => Action::DeleteObject,
        _ => return None,
    })
}

#[async_trait::async_trait]
impl S3Auth for AccessControl {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let secret = self.keys.secret_of(access_key);
        secret
            .map(|secret| SecretKey::from(secret.as_str()))
            .ok_or_else(|| s3_error!(InvalidAccessKeyId, "The access key is not known here."))
    }
}

#[async_trait::async_trait]
impl S3Access for AccessControl {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "The request must be signed."));
        };
        let rights = self.rights(&credentials.access_key, cx.headers(), cx.uri()).await?;
        require(cx, &rights)?;
        cx.extensions_mut().insert(rights);
        Ok(())
    }

    async fn copy_object(&self, request: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        require_source(request, |input| &input.copy_source)
    }

    async fn upload_part_copy(&self, request: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        require_source(request, |input| &input.copy_source)
    }
}

/// Fails if `rights` do not allow the operation, or if it does not support a part of the request.
///
/// # Errors
/// `AccessDenied`, or `NotImplemented`.
pub(super) fn require(cx: &S3AccessContext<'_>, rights: &Rights) -> S3Result<()> {
    let resource = match cx.s3_path() {
        S3Path::Root => Resource::Store,
        S3Path::Bucket { bucket } => Resource::Bucket(bucket),
        S3Path::Object { bucket, key } => Resource::Object(bucket, key),
    };
    match action(cx.s3_op().name()) {
        Some(action) => rights.require(action, resource),
        // Each key is authorized separately, when it is removed.
        None if cx.s3_op().name() == "DeleteObjects" => Ok(()),
        None if rights.0.is_none() => Ok(()),
        None => Err(s3_error!(AccessDenied, "Access Denied.")),
    }?;
    intent::check(cx.s3_op().name(), cx.uri(), cx.headers())
}

/// Fails if the caller may not read the source of a copy.
fn require_source<T>(request: &S3Request<T>, source: impl Fn(&T) -> &CopySource) -> S3Result<()> {
    let rights = request.extensions.get::<Rights>();
    let rights = rights.ok_or_else(|| s3_error!(AccessDenied, "Access Denied."))?;
    match source(&request.input) {
        CopySource::Bucket { bucket, key, .. } => {
            rights.require(Action::GetObject, Resource::Object(bucket, key))
        }
        _ => Err(s3_error!(NotImplemented, "The source must be named by bucket and key.")),
    }
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    fn token(headers: &[&str], uri: &str) -> Result<Option<String>, S3ErrorCode> {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(TOKEN_HEADER, value.parse().unwrap());
        }
        session_token(&map, &uri.parse().unwrap()).map_err(|error| error.code().clone())
    }

    #[test]
    fn there_is_one_session_token_or_none() {
        assert_eq!(token(&[], "/b/k?partNumber=1"), Ok(None));
        assert_eq!(token(&["a"], "/b/k"), Ok(Some("a".to_owned())));
        assert_eq!(token(&[], "/b/k?X-Amz-Security-Token=a%2Bb"), Ok(Some("a+b".to_owned())));
        assert_eq!(token(&["a", "a"], "/b/k"), Err(S3ErrorCode::InvalidToken));
        assert_eq!(token(&["a"], "/b/k?X-Amz-Security-Token=a"), Err(S3ErrorCode::InvalidToken));
    }

    #[test]
    fn a_policy_covers_what_it_names_and_nothing_else() {
        let rights = Rights(Some(Arc::new(Policy::for_path(Action::PutObject, "uploads", "p/1"))), None);
        assert!(rights.allow(Action::PutObject, Resource::Object("uploads", "p/1/x")));
        assert!(!rights.allow(Action::GetObject, Resource::Object("uploads", "p/1/x")));
        assert!(Rights::all().allow(Action::GetObject, Resource::Object("uploads", "p/1/x")));
        assert_eq!(action("CompleteMultipartUpload"), Some(Action::PutObject));
        assert_eq!(action("PutBucketPolicy"), None);
    }
}

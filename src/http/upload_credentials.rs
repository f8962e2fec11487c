//! Access of clients to the object store: its location, and credentials for it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use linkage::encoding::json::FileRef;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::external::{
    CredentialError, CredentialIssuer, ExternalEndpoint, ExternalEndpoints, Grant, Permission,
    TemporaryCredentials, UploadBucket,
};
use crate::model::{AccessKeys, ForeignFile, Keyring, NamedFile, ProjectId, Reference};

/// The object store under the address that clients use.
#[derive(Clone)]
pub struct ClientStore {
    /// Issues credentials.
    pub issuer: Arc<dyn CredentialIssuer>,
    /// The bucket for uploads.
    pub upload: Bucket,
    /// The bucket for downloads.
    pub download: Bucket,
    /// The external stores whose files an upload may name.
    pub foreign: ExternalEndpoints,
}

/// A bucket under the name that clients use.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Set if the endpoint uses TLS.
    pub secure: bool,
    /// The name of the bucket.
    pub name: String,
    /// The key prefix.
    pub prefix: String,
    /// The lifetime of credentials.
    pub duration: Duration,
}

/// The host and port of the object store for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A fixed host and port.
    At(String),
    /// This port, on the host by which the caller knows this server.
    Beside(u16),
}

/// Temporary credentials.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    /// The time at which the credentials expire, in UTC.
    #[schema(example = "2026-11-22T20:41:41.000000")]
    expiration: String,
}

/// The location that the credentials give access to.
#[derive(Serialize, ToSchema)]
#[schema(as = Place)]
pub(super) struct ObjectLocation {
    /// Host and port.
    #[schema(example = "127.0.0.1:8852")]
    endpoint: String,
    /// Set if clients use TLS.
    secure: bool,
    /// The bucket.
    #[schema(example = "uploads")]
    bucket: String,
    /// The key, or the prefix of keys.
    path: String,
}

impl From<TemporaryCredentials> for Credentials {
    fn from(credentials: TemporaryCredentials) -> Self {
        let TemporaryCredentials { access_key_id, secret_access_key, session_token, expiration } =
            credentials;
        Self {
            access_key_id,
            secret_access_key: secret_access_key.to_string(),
            session_token: session_token.to_string(),
            expiration: expiration.to_string(),
        }
    }
}

impl ClientStore {
    /// Issues credentials for a party's upload, with the location.
    pub(super) async fn admit_upload(
        &self,
        project: ProjectId,
        party: u32,
        host: Option<&str>,
    ) -> Result<(Credentials, ObjectLocation), CredentialError> {
        self.admit(&self.upload, Permission::Put, project, path(project, party), host).await
    }

    /// Issues credentials for the download of an object, with the location.
    pub(super) async fn admit_download(
        &self,
        project: ProjectId,
        key: &str,
        host: Option<&str>,
    ) -> Result<(Credentials, ObjectLocation), CredentialError> {
        self.admit(&self.download, Permission::Get, project, key.to_owned(), host).await
    }

    async fn admit(
        &self,
        bucket: &Bucket,
        permission: Permission,
        project: ProjectId,
        path: String,
        host: Option<&str>,
    ) -> Result<(Credentials, ObjectLocation), CredentialError> {
        let path = format!("{}{path}", bucket.prefix);
        let grant = Grant {
            project,
            permission,
            bucket: bucket.name.clone(),
            path: path.clone(),
            duration: bucket.duration,
        };
        let credentials = self.issuer.issue(&grant).await?;
        let (endpoint, secure, bucket) =
            (bucket.endpoint.seen_from(host), bucket.secure, bucket.name.clone());
        Ok((credentials.into(), ObjectLocation { endpoint, secure, bucket, path }))
    }

    /// Resolves an upload by reference to its files: files that the caller may have uploaded to our bucket, or files
    /// in another store that the operator has listed. `number` is the number of the upload.
    pub(super) fn reference(
        &self,
        (project, party, number): (ProjectId, u32, u32),
        encodings: FileRef,
        blocks: Option<FileRef>,
        host: Option<&str>,
    ) -> Result<(Reference, Keyring), Problem> {
        let own = path(project, party);
        let (encodings, encodings_keys) = self.named(&own, encodings, host)?;
        let (blocks, blocks_keys) = blocks.map(|blocks| self.named(&own, blocks, host)).transpose()?.unzip();
        let keyring = Keyring { encodings: encodings_keys, blocks: blocks_keys.flatten() };
        Ok((Reference { upload: number, encodings, blocks }, keyring))
    }

    fn named(
        &self,
        own: &str,
        file: FileRef,
        host: Option<&str>,
    ) -> Result<(NamedFile, Option<Box<AccessKeys>>), Problem> {
        match &file.endpoint {
            Some(endpoint) if !self.is_ours(endpoint, host) => {
                let endpoint = self.foreign.admit(endpoint, file.secure).ok_or_else(not_listed)?;
                let (file, keys) = foreign(&endpoint, file)?;
                Ok((NamedFile::Foreign(file), Some(keys)))
            }
            // The caller needs no credentials for our own store.
            _ => Ok((NamedFile::Own(self.own_key(own, &file)?), None)),
        }
    }

    fn own_key(&self, own: &str, file: &FileRef) -> Result<String, Problem> {
        let key = file.path.strip_prefix(self.upload.prefix.as_str());
        let own = key.filter(|key| key.strip_prefix(own).is_some_and(|rest| rest.starts_with('/')));
        match own {
            Some(key) if file.bucket == self.upload.name && UploadBucket::is_key(key) => Ok(key.to_owned()),
            _ => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "the upload names a file outside of the path that authorize-external-upload gives this party",
            )),
        }
    }

    fn is_ours(&self, endpoint: &str, host: Option<&str>) -> bool {
        let lower = endpoint.to_ascii_lowercase();
        let bare = lower.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        [&self.upload.endpoint, &self.download.endpoint].iter().any(|own| own.seen_from(host) == bare)
    }
}

fn not_listed() -> Problem {
    Problem::bad_request(
        "`file.endpoint` names an object store that this server does not read from: upload to the location that authorize-external-upload returns, and omit `endpoint`; the operator may list other stores with \
         --external-endpoints",
    )
}

/// Returns the file in an external store, with the caller's credentials.
fn foreign(
    endpoint: &ExternalEndpoint,
    file: FileRef,
) -> Result<(Box<ForeignFile>, Box<AccessKeys>), Problem> {
    let FileRef { bucket, path, keys, .. } = file;
    let keys = keys.ok_or_else(|| {
        Problem::bad_request(
            "`credentials` with AccessKeyId and SecretAccessKey are required in addition to `file` for a store other than ours",
        )
    })?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if !((3..=63).contains(&bucket.len()) && bucket.bytes().all(plain) && !bucket.starts_with('.')) {
        return Err(Problem::bad_request("`file.bucket` must be the name of a bucket, such as uploads"));
    }
    if !UploadBucket::is_key(&path) {
        return Err(Problem::bad_request(
            "`file.path` must be a key without empty, `.` or `..` parts, such as folder/encodings.bin",
        ));
    }
    if [Some(&keys.access_key_id), Some(&keys.secret_access_key), keys.session_token.as_ref()]
        .into_iter()
        .flatten()
        .any(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(Problem::bad_request("`credentials` must contain only visible ASCII characters"));
    }
    let (endpoint, secure) = (endpoint.to_string(), endpoint.is_secure());
    Ok((Box::new(ForeignFile { endpoint, secure, bucket, path }), keys))
}

/// Returns the path of a party's files.
fn path(project: ProjectId, party: u32) -> String {
    format!("{project}/{party}")
}

impl Endpoint {
    /// Returns the endpoint for a caller that reaches this server under the name `host`.
    fn seen_from(&self, host: Option<&str>) -> String {
        match self {
            Self::At(endpoint) => endpoint.clone(),
            Self::Beside(port) => format!("{}:{port}", host.unwrap_or("127.0.0.1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    struct Closed;

    #[async_trait]
    impl CredentialIssuer for Closed {
        async fn issue(&self, _: &Grant) -> Result<TemporaryCredentials, CredentialError> {
            Err(CredentialError::Refused("closed".to_owned()))
        }
    }

    const PROJECT: ProjectId = ProjectId::from_bytes([1; 24]);

    fn external() -> ClientStore {
        let bucket = |name: &str| Bucket {
            endpoint: Endpoint::Beside(8852),
            secure: false,
            name: name.to_owned(),
            prefix: String::new(),
            duration: Duration::from_hours(12),
        };
        let foreign = ExternalEndpoints::parse("s3.example.org,minio.lan:9000").unwrap();
        let (upload, download) = (bucket("uploads"), bucket("anonlink"));
        ClientStore { issuer: Arc::new(Closed), upload, download, foreign }
    }

    fn file(bucket: &str, path: &str, endpoint: Option<&str>) -> FileRef {
        FileRef {
            bucket: bucket.to_owned(),
            path: path.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            secure: None,
            keys: None,
        }
    }

    #[test]
    fn only_a_partys_own_files_are_read() {
        let read = |bucket: &str, path: &str| {
            let path = path.replace('P', &PROJECT.to_string());
            let reference = external().reference((PROJECT, 1, 7), file(bucket, &path, None), None, None);
            reference.map(|(reference, keyring)| {
                keyring.is_empty() && reference.encodings == NamedFile::Own(path.clone())
            })
        };
        assert_eq!(read("uploads", "P/1/encodings.bin"), Ok(true));
        assert_eq!(read("uploads", "P/1/a/b.json"), Ok(true));
        for (bucket, path) in [
            ("anonlink", "P/1/encodings.bin"),
            ("uploads", "P/12/encodings.bin"),
            ("uploads", "P/0/encodings.bin"),
            ("uploads", "P/1"),
            ("uploads", "P/1/"),
            ("uploads", "P/1/../0/encodings.bin"),
            ("uploads", "/P/1/encodings.bin"),
            ("uploads", ""),
        ] {
            assert!(read(bucket, path).is_err(), "{bucket} {path}");
        }
    }

    #[test]
    fn only_our_own_store_is_read() {
        let read = |endpoint: &str| {
            let file = file("uploads", &format!("{PROJECT}/1/x"), Some(endpoint));
            external().reference((PROJECT, 1, 7), file, None, Some("linkage.example")).is_ok()
        };
        assert!(read("linkage.example:8852") && read("http://Linkage.example:8852/"));
        assert!(!read("linkage.example:9000") && !read("169.254.169.254") && !read(""));
    }

    #[test]
    fn files_of_a_listed_store_are_read_with_the_keys_that_come_with_them() {
        let keys = |id: &str| {
            Box::new(AccessKeys {
                access_key_id: id.to_owned(),
                secret_access_key: "secret".to_owned(),
                session_token: None,
            })
        };
        let read = |endpoint: &str, bucket: &str, path: &str, keys: Option<Box<AccessKeys>>| {
            let file = FileRef { keys, ..file(bucket, path, Some(endpoint)) };
            external().reference((PROJECT, 1, 7), file, None, None)
        };
        let (reference, keyring) =
            read("https://S3.example.org", "mine", "a/b.bin", Some(keys("me"))).unwrap();
        assert_eq!(keyring, Keyring { encodings: Some(keys("me")), blocks: None });
        let expected = ForeignFile {
            endpoint: "s3.example.org".to_owned(),
            secure: true,
            bucket: "mine".to_owned(),
            path: "a/b.bin".to_owned(),
        };
        assert_eq!(reference.encodings, NamedFile::Foreign(Box::new(expected)));
        assert_eq!(reference.own_files().count(), 0);
        for (bucket, path, keys) in [
            ("mine", "a/b.bin", None),
            ("mine", "a/b.bin", Some(keys(""))),
            ("mine", "a/b.bin", Some(keys("a\nb"))),
            ("mine", "a/../b.bin", Some(keys("me"))),
            ("mine", "", Some(keys("me"))),
            ("m/ine", "a/b.bin", Some(keys("me"))),
            ("..", "a/b.bin", Some(keys("me"))),
        ] {
            assert!(read("https://minio.lan:9000", bucket, path, keys).is_err(), "{bucket} {path}");
        }
    }
}
